"""A machine file proved before anything is started: a packet's way, what becomes of it, what cannot work."""

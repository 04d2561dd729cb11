"""Proves a machine file before anything starts: a packet's path, its sizes, and what cannot work."""

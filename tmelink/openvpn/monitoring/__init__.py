"""How OpenVPN tells monitors of its state: status file and management interface, as values and text."""

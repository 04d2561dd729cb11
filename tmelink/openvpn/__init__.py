"""OpenVPN's protocol without I/O: no socket, no clock, no event loop."""

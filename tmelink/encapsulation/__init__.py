"""Tunnel headers as pure functions: IP in IP, EtherIP, GRE and VXLAN, and the outer IPv4 header."""

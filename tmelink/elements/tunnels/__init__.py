"""Tunnel elements, which add a header to what they carry: IP in IP, GRE, EtherIP, VXLAN."""

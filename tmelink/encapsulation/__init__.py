"""Tunnels' headers as pure functions: IP in IP, EtherIP, GRE and VXLAN, and the IPv4 header before them."""

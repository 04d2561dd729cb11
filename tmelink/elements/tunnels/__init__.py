"""Elements that put a header before what they carry: IP-in-IP, GRE, EtherIP, VXLAN."""

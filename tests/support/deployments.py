"""A machine file for three hosts, one of them behind NAT."""

from __future__ import annotations

LAB = """\
host north address 192.0.2.1 ssh root@north.example.com:2222 {
    sw0: tmelink/switch
    hub at sw0: tme/host/openvpn/socket/server --dev tap --server 10.0.77.0 255.255.255.0 nopool --secure
    le0 at sw0: tmelink/host inet 10.0.77.1/24
}
host south address 192.0.2.2 python /usr/bin/python3.11 vars become=true {
    le1: tmelink/host inet 10.0.77.2/24
    link0 at le1: tme/host/openvpn/socket/link --dev tap --client --nobind --remote 192.0.2.1 --secure
}
host east address 10.9.0.3 behind nat ssh east {
    le2: tmelink/host inet 10.0.77.3/24
    link1 at le2: tme/host/openvpn/socket/link --dev tap --client --nobind --remote 192.0.2.1 --secure
}
"""

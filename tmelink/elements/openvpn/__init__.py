"""Links and servers in OpenVPN's wire protocol: the sockets, clock and files around `tmelink.openvpn`."""

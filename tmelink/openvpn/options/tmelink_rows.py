"""Rows of the option table that OpenVPN does not have: what tmelink's links take besides."""

from __future__ import annotations

from tmelink.openvpn.options.table import Section, refused, works

OWN: tuple[Section, ...] = (
    (
        "tmelink's own",
        (
            works(
                "udp-offload",
                "off|send|receive|both",
                "UDP_SEGMENT to send, UDP_GRO to receive many datagrams per system call (both)",
            ),
            works(
                "busy-poll",
                "US|auto|off",
                "after traffic, poll for this many microseconds before sleeping, for shorter round trips; "
                "auto polls while it helps, up to 100 (off)",
            ),
            works(
                "super-frames",
                "",
                "super-frames cross whole, over TCP or UDP with TLS, if both ends have this option",
            ),
            works(
                "secure",
                "",
                "TLS with keys that `tmelink deploy` makes, and carries to the hosts of both ends",
            ),
            refused("vlan-trunk", "VLANS", "belongs in a file of --client-config-dir"),
            works(
                "rendezvous",
                "FILE",
                "the remote is a tmelink/rendezvous, which joins the two links that have this key; they take "
                "a direct path where their NATs allow one",
            ),
            works(
                "via",
                "HOST[:PORT] [NAME]",
                "`tmelink deploy` makes a rendezvous on this host of the file, for two ends behind NAT; "
                "PORT is its UDP port (3478); NAME, the same at both ends, tells several links apart",
            ),
            works(
                "auth-user-pass-table",
                "FILE",
                "a server's users, with the lines that `tmelink passwd USER` prints",
            ),
        ),
    ),
)

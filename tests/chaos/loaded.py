"""Importing this loads what a lab of links and servers needs: processes forked afterwards start at once."""

from __future__ import annotations

import tmelink
from tmelink.registry import element_class

KINDS = (
    "tmelink/host",
    "tmelink/switch",
    "tme/host/openvpn/socket/link",
    "tme/host/openvpn/socket/server",
)

LOADED = [element_class(kind) for kind in KINDS]

# The parser is built at the first file.
tmelink.load("host: tmelink/host inet 192.0.2.1/24\n")

"""Multicast listener discovery (RFC 3810, RFC 2710): reports the groups that a node listens to.

A bridge that snoops sends the neighbour solicitations for a node only where it heard such a report, so
without them a host on a real network is soon not found any more. Pure; when to report is `ipv6`'s business.
"""

from __future__ import annotations

from collections.abc import Iterable

from tmelink import ip
from tmelink.stack import icmp

QUERY = 130
REPORT_V1 = 131
REPORT_V2 = 143

ALL_ROUTERS_V2 = bytes.fromhex("ff020000000000000000000000000016")
"""The destination of version 2 reports."""

QUERY_DATA_V1 = 16
"""Bytes after the ICMPv6 header of a version 1 query, the group; version 2 has at least four more."""

_EXCLUDE_NONE = 4
"""CHANGE_TO_EXCLUDE_MODE: from now on this group from every source."""
_IS_EXCLUDE_NONE = 2
"""MODE_IS_EXCLUDE: the same, as the answer to a query."""

_ROUTER_ALERT = bytes((ip.ICMPV6, 0, 5, 2, 0, 0, 1, 0))
"""The hop-by-hop header that every message has, so that routers look at it (RFC 2711)."""


def report(source: bytes, groups: Iterable[bytes], *, asked: bool) -> bytes:
    """A version 2 report that `source` listens to `groups`: `asked`, or unsolicited."""
    kind = _IS_EXCLUDE_NONE if asked else _EXCLUDE_NONE
    records = [bytes((kind, 0, 0, 0)) + group for group in groups]
    message = (REPORT_V2, 0, 0, len(records))
    return _packet(source, ALL_ROUTERS_V2, message, b"".join(records))


def report_v1(source: bytes, group: bytes) -> bytes:
    """A version 1 report that `source` listens to `group`; it goes to the group."""
    return _packet(source, group, (REPORT_V1, 0, 0, 0), group)


def _packet(source: bytes, destination: bytes, message: tuple[int, int, int, int], data: bytes) -> bytes:
    body = icmp.build_v6(source, destination, *message, data)
    return ip.build_ipv6(source, destination, ip.HOP_BY_HOP, _ROUTER_ALERT + body, hop_limit=1)

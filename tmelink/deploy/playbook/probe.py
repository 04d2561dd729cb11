"""Runs on a host before it is changed: are its ports free, and do datagrams and connections reach the others?

    python3 - listen PORTS     # listen for a while in the background; print the ports that are taken
    python3 - call TARGETS     # call other hosts that listen; print what answers, and the path's MTU

PORTS is JSON, [["udp", 1194], …]; TARGETS too, [["north", "udp", "192.0.2.1", 1194], …], each with the host's
name first. Needs nothing but Python, and leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import sys
import time
from collections.abc import Sequence
from typing import Any

LISTEN_SECONDS = 60
"""For the other hosts to call; Ansible begins that right afterwards."""

TRIES = 4
ANSWER_SECONDS = 0.5
"""For an answer, in each try."""

SIZES = (1500, 1492, 1480, 1450, 1420, 1400, 1380, 1350, 1300, 1280)
"""Path MTUs that are tried, in bytes: Ethernet, PPPoE, and what tunnels leave."""

DATAGRAM = 2048
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, PMTUDISC_PROBE = 10, 23, 3
"""Of Linux (ip(7)): set DF, and send what is larger than the known path MTU all the same."""

HEADERS = {socket.AF_INET: 28, socket.AF_INET6: 48}
"""IP and UDP headers in bytes."""

KINDS = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM}


def listen(ports: Sequence[tuple[str, int]]) -> dict[str, Any]:
    """Bind the ports and answer in a process of its own; says which are taken, and that process's id."""
    bound, taken, pid = [], [], None
    for proto, port in ports:
        try:
            bound.append(_bound(KINDS[proto], port))
        except OSError as error:
            taken.append(f"{proto} {port}: {error.strerror}")
    if bound and not taken:
        pid = os.fork()
        if pid == 0:
            os.setsid()
            with open(os.devnull, "r+b") as nothing:
                for number in range(3):
                    os.dup2(nothing.fileno(), number)
            _answer(bound)
            os._exit(0)
    return {"taken": taken, "pid": pid}


def _bound(kind: socket.SocketKind, port: int) -> socket.socket:
    try:
        sock = socket.socket(socket.AF_INET6, kind)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    except OSError:  # a host without IPv6
        sock = socket.socket(socket.AF_INET, kind)
    if kind == socket.SOCK_STREAM:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("", port))
    if kind == socket.SOCK_STREAM:
        sock.listen()
    return sock


def _answer(bound: Sequence[socket.socket]) -> None:
    """Answer datagrams with no more bytes than came, and accept connections, until time is up."""
    until = time.monotonic() + LISTEN_SECONDS
    while (left := until - time.monotonic()) > 0:
        for sock in select.select(bound, [], [], left)[0]:
            with contextlib.suppress(OSError):
                if sock.type == socket.SOCK_STREAM:
                    sock.accept()[0].close()
                else:
                    data, sender = sock.recvfrom(DATAGRAM)
                    sock.sendto(data[:64], sender)


def call(targets: Sequence[tuple[str, str, str, int]]) -> list[dict[str, Any]]:
    """What each target does: `error` is empty if it answers, `mtu` the largest packet that arrives."""
    return [
        {"host": host, "proto": proto, "address": address, "port": port, **_called(proto, address, port)}
        for host, proto, address, port in targets
    ]


def _called(proto: str, address: str, port: int) -> dict[str, Any]:
    try:
        family, kind, _, _, where = socket.getaddrinfo(address, port, type=KINDS[proto])[0]
        with socket.socket(family, kind) as sock:
            sock.settimeout(ANSWER_SECONDS if proto == "udp" else TRIES * ANSWER_SECONDS)
            sock.connect(where)
            if proto == "tcp":
                return {"error": "", "mtu": None}
            if not any(_echoed(sock, 64) for _ in range(TRIES)):
                return {"error": "no answer", "mtu": None}
            return {"error": "", "mtu": _path_mtu(sock, family)}
    except OSError as error:
        return {"error": error.strerror or str(error), "mtu": None}


def _path_mtu(sock: socket.socket, family: socket.AddressFamily) -> int | None:
    if family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PMTUDISC_PROBE)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, PMTUDISC_PROBE)
    return next(
        (size for size in SIZES if any(_echoed(sock, size - HEADERS[family]) for _ in range(2))), None
    )


def _echoed(sock: socket.socket, size: int) -> bool:
    """Whether a datagram of this size is answered; what is late from an earlier one does not count."""
    mark = os.urandom(16)
    try:
        sock.send(mark + bytes(size - len(mark)))
        while not sock.recv(DATAGRAM).startswith(mark):
            pass
    except OSError:
        return False
    return True


def main(words: Sequence[str]) -> int:
    """Do what the words say; returns the exit code."""
    asked = json.loads(words[1])
    print(json.dumps(listen(asked) if words[0] == "listen" else call(asked)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

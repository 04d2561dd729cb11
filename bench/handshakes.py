"""A program of its own that joins a server as a client, again and again, several at a time.

    python -m bench.handshakes SERVER PORT SECONDS --key FILE --cert FILE --peer-fingerprint HASH

Each client is a session of tmelink's without an interface: it says goodbye as soon as the server has pushed
its options, and another one follows. Prints how many have joined, and the milliseconds that each took.
"""

from __future__ import annotations

import selectors
import socket
import sys
import time
from pathlib import Path

from tmelink.elements.openvpn.sessions import tls_settings, wall_clock
from tmelink.frame import pieces
from tmelink.openvpn.options import parse
from tmelink.openvpn.session import Exit, Restart, Step, Up
from tmelink.openvpn.tls.engine import TlsContext, TlsFiles
from tmelink.openvpn.tls.identity import Rules, parse_fingerprint
from tmelink.openvpn.tls.session import TlsSession
from tmelink.openvpn.tls.settings import TlsSettings
from tmelink.source import Place, Source, Word

TOGETHER = 4
"""Clients that shake hands at the same time, so that the server always has something to do."""


class Client:
    """One client, from its first packet until the server has taken it."""

    def __init__(self, server: tuple[str, int], settings: TlsSettings, context: TlsContext) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.connect(server)
        self.sock.setblocking(False)
        self.begun = time.monotonic()
        self.up = self.over = False
        self.session = TlsSession(settings, context, wall_clock())
        self.do(self.session.connected(self.begun))

    def do(self, step: Step) -> None:
        """Send, and see what has become of it."""
        for datagram in pieces(step.wire):
            self.sock.send(datagram)
        for event in step.events:
            self.up |= isinstance(event, Up)
            self.over |= isinstance(event, Up | Restart | Exit)

    def read(self) -> None:
        """Take what has come."""
        while True:
            try:
                datagram = self.sock.recv(65536)
            except BlockingIOError:
                return
            self.do(self.session.receive([datagram], time.monotonic()))

    def close(self) -> None:
        """Say goodbye."""
        self.do(self.session.close(time.monotonic()))
        self.sock.close()


def joined(
    server: tuple[str, int], seconds: float, settings: TlsSettings, context: TlsContext
) -> list[float]:
    """Milliseconds of each handshake within so many seconds."""
    selector = selectors.DefaultSelector()
    times: list[float] = []
    end = time.monotonic() + seconds
    clients: list[Client] = []
    while (now := time.monotonic()) < end:
        while len(clients) < TOGETHER:
            client = Client(server, settings, context)
            clients.append(client)
            selector.register(client.sock, selectors.EVENT_READ, client)
        deadlines = [client.session.deadline() or end for client in clients]
        for key, _ in selector.select(max(0.0, min(*deadlines, end) - now)):
            key.data.read()
        now = time.monotonic()
        for client in list(clients):
            if not client.over and (client.session.deadline() or end) <= now:
                client.do(client.session.tick(now))
            if client.over:
                if client.up:
                    times.append((now - client.begun) * 1e3)
                clients.remove(client)
                selector.unregister(client.sock)
                client.close()
    return times


def main(server: str, port: str, seconds: str, *options: str) -> None:
    place = Place(Source("bench", ""), 0, 0)
    line = ["--client", "--nobind", "--dev", "tun", "--explicit-exit-notify", "1", "--remote", server, port]
    words = [Word(text, place) for text in (*line, *options)]
    read = parse.parse(words, place, print, read_file=lambda path: Path(path).read_bytes())
    assert read is not None, "the options are this benchmark's own"
    assert read.tls is not None
    given = dict(zip(options[::2], options[1::2], strict=True))
    files = TlsFiles(
        certificate=Path(given["--cert"]).read_bytes(),
        private_key=Path(given["--key"]).read_bytes(),
        rules=Rules(fingerprints=frozenset([parse_fingerprint(given["--peer-fingerprint"])])),
    )
    context = TlsContext(files, server=False)
    times = joined((server, int(port)), float(seconds), tls_settings(read, read.tls), context)
    print(len(times), *(f"{each:.1f}" for each in times))


if __name__ == "__main__":
    main(*sys.argv[1:])

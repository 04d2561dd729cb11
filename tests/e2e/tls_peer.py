"""A TLS session with the smallest shell around it: one socket, one TAP or TUN device, one loop.

    python tls_peer.py peer.json

The file says what the session is: `settings` (fields of `TlsSettings`), `files` (fields of `TlsFiles`, the
PEM ones as paths), `rules`, `wrap`, `address`, `device`, `proto`. It writes a line for every event, and
takes commands on its input: `renew`, `close`, `drops`.
"""

from __future__ import annotations

import fcntl
import json
import os
import selectors
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.support.grouped import tls as tls_settings
from tests.support.wire import pieces
from tmelink.frame import Run
from tmelink.openvpn import session as events
from tmelink.openvpn.server.server import Addressed, TlsServer
from tmelink.openvpn.session import Step
from tmelink.openvpn.tls import wrap as tls_wrap
from tmelink.openvpn.tls.engine import TlsContext, TlsFiles
from tmelink.openvpn.tls.identity import Rules, parse_fingerprint
from tmelink.openvpn.tls.session import TlsSession
from tmelink.openvpn.tls.settings import Credentials, TlsSettings

TUNSETIFF = 0x400454CA
TAP, TUN, NO_PI = 2, 1, 0x1000
PEM = ("certificate", "private_key", "extra_certificates", "ca", "crl", "pkcs12")
READS = 64


def static_key(path: str) -> bytes:
    lines = Path(path).read_text().splitlines()
    return bytes.fromhex("".join(line for line in lines if len(line) == 32 and line.isalnum()))


def wrap_key(wanted: dict[str, Any] | None) -> tls_wrap.WrapKey:
    if wanted is None:
        return None
    kind, path = wanted["kind"], wanted["path"]
    if kind == "tls-auth":
        return tls_wrap.AuthKey(static_key(path), wanted.get("direction"), wanted.get("digest", "SHA1"))
    if kind == "tls-crypt":
        return tls_wrap.CryptKey(static_key(path))
    if kind == "tls-crypt-v2-client":
        return tls_wrap.parse_client_key(Path(path).read_bytes())
    return tls_wrap.parse_server_key(Path(path).read_bytes())


def load(config: dict[str, Any]) -> tuple[TlsSettings, TlsContext]:
    wanted = dict(config["settings"])
    for name in ("accepted", "pull_filters", "peer_info"):
        if name in wanted:
            wanted[name] = tuple(tuple(x) if isinstance(x, list) else x for x in wanted[name])
    if "credentials" in wanted:
        wanted["credentials"] = Credentials(*wanted["credentials"])
    settings = tls_settings(**wanted, wrap=wrap_key(config.get("wrap")))
    files = dict(config["files"])
    for name in PEM:
        if name in files:
            files[name] = Path(files[name]).read_bytes()
    if "passphrase" in files:
        files["passphrase"] = files["passphrase"].encode()
    rules = dict(config.get("rules", {}))
    if "fingerprints" in rules:
        rules["fingerprints"] = frozenset(parse_fingerprint(text) for text in rules["fingerprints"])
    if isinstance(rules.get("usage"), list):
        rules["usage"] = tuple(rules["usage"])
    return settings, TlsContext(TlsFiles(**files, rules=Rules(**rules)), server=settings.server)


class Peer:
    """The loop; `send` and `read` hide what UDP and TCP do differently."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.settings, self.context = load(config)
        self.users = config.get("users", {})
        kind = TAP if self.settings.kind == "ethernet" else TUN
        self.device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(self.device, TUNSETIFF, struct.pack("16sH22x", config["device"].encode(), kind | NO_PI))
        self.run_ip("link", "set", config["device"], "up")
        for address in config.get("addresses", []):
            self.run_ip("addr", "add", address, "dev", config["device"])
        self.remote: tuple[str, int] | None = None
        self.stream = self.settings.stream
        self.pending = b""
        self.socket = self.open_socket()
        self.session = self.new_session()

    def run_ip(self, *words: str) -> None:
        subprocess.run(["ip", *words], check=True)

    def open_socket(self) -> socket.socket:
        host, port = self.config["address"]
        if not self.stream:
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            udp.bind(("0.0.0.0", self.config.get("local_port", port)))
            if not self.settings.server:
                self.remote = (host, port)
            return udp
        if self.settings.server:
            listener = socket.create_server((host, port))
            print("listening", flush=True)
            accepted, _ = listener.accept()
            return accepted
        while True:
            try:
                return socket.create_connection((host, port))
            except ConnectionRefusedError:
                time.sleep(0.2)

    def new_session(self) -> TlsSession:
        offset = time.time() - time.monotonic() + self.config.get("clock", 0)
        return TlsSession(self.settings, self.context, lambda now: now + offset)

    def read(self) -> list[bytes]:
        datagrams: list[bytes] = []
        if not self.stream:
            for _ in range(READS):
                try:
                    data, sender = self.socket.recvfrom(65535)
                except BlockingIOError:
                    break
                if self.settings.server:
                    self.sender = sender
                    self.remote = self.remote or sender
                datagrams.append(data)
            return datagrams
        try:
            self.pending += self.socket.recv(65536)
        except BlockingIOError:
            return []
        while len(self.pending) >= 2:
            length = int.from_bytes(self.pending[:2], "big")
            if len(self.pending) < 2 + length:
                break
            datagrams.append(self.pending[2 : 2 + length])
            self.pending = self.pending[2 + length :]
        return datagrams

    def write(self, item: Any) -> None:
        for datagram in item.pieces() if isinstance(item, Run) else (item,):
            if self.stream:
                self.socket.setblocking(True)
                self.socket.sendall(len(datagram).to_bytes(2, "big") + bytes(datagram))
                self.socket.setblocking(False)
            elif self.remote is not None:
                try:
                    self.socket.sendto(datagram, self.remote)
                except ConnectionRefusedError:
                    pass

    def do(self, step: Step) -> None:
        if step.authentic and not self.stream and self.settings.server:
            self.remote = self.sender
        for item in step.wire:
            self.write(item)
        for frame in pieces(step.frames):
            os.write(self.device, frame)
        for event in step.events:
            print("event", event, flush=True)
            self.event(event)

    def event(self, event: Any) -> None:
        now = time.monotonic()
        if isinstance(event, events.Restart):
            self.session = self.new_session()
            if not self.stream:
                self.remote = None if self.settings.server else self.remote
                self.do(self.session.connected(now))
        elif isinstance(event, events.Joining):
            if self.users.get(event.username, "") == event.password:
                self.do(self.session.admit(self.config.get("push", []), now))
            else:
                self.do(self.session.refuse("wrong password", now))
        elif isinstance(event, events.Pushed):
            for option in event.options:
                words = option.split()
                if words[0] == "ifconfig":
                    self.run_ip("addr", "replace", f"{words[1]}/24", "dev", self.config["device"])

    def command(self, line: str) -> None:
        now = time.monotonic()
        if line == "renew":
            self.do(self.session.renew(now))
        elif line == "close":
            self.do(self.session.close(now))
            raise SystemExit
        elif line == "drops":
            print("drops", dict(self.session.drops), flush=True)

    def run(self) -> None:
        self.socket.setblocking(False)
        selector = selectors.DefaultSelector()
        for file in (self.socket, self.device, sys.stdin):
            selector.register(file, selectors.EVENT_READ)
        self.do(self.session.connected(time.monotonic()))
        print("running", flush=True)
        while True:
            deadline = self.session.deadline()
            wait = None if deadline is None else max(0, deadline - time.monotonic())
            for key, _ in selector.select(wait):
                now = time.monotonic()
                if key.fileobj is self.socket:
                    self.do(self.session.receive(self.read(), now))
                elif key.fileobj == sys.stdin:
                    self.command(sys.stdin.readline().strip())
                else:
                    frames = []
                    for _ in range(READS):
                        try:
                            frames.append(os.read(self.device, 2048))
                        except BlockingIOError:
                            break
                    self.do(self.session.send(frames, now))
            now = time.monotonic()
            deadline = self.session.deadline()
            if deadline is not None and now >= deadline:
                self.do(self.session.tick(now))


class Server:
    """A server for many clients over UDP, and a hub between them and its own TAP device."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        settings, context = load(config)
        offset = time.time() - time.monotonic()
        self.server = TlsServer(settings, context, lambda now: now + offset, **config["server"])
        self.device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(self.device, TUNSETIFF, struct.pack("16sH22x", config["device"].encode(), TAP | NO_PI))
        subprocess.run(["ip", "link", "set", config["device"], "up"], check=True)
        for address in config.get("addresses", []):
            subprocess.run(["ip", "addr", "add", address, "dev", config["device"]], check=True)
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(tuple(config["address"]))
        self.socket.setblocking(False)
        self.clients: set[int] = set()

    def do(self, steps: list[Addressed]) -> None:
        now = time.monotonic()
        for client, address, step, _stream in steps:
            assert isinstance(address, tuple)
            for datagram in pieces(step.wire):
                self.socket.sendto(datagram, address)
            frames = pieces(step.frames)
            for frame in frames:
                os.write(self.device, frame)
            for other in self.clients - {client}:
                if frames:
                    self.do([self.server.send(other, frames, now)])
            for event in step.events:
                print("event", client, event, flush=True)
                assert client is not None
                if isinstance(event, events.Joining):
                    push = [option.replace("@", str(client + 10)) for option in self.config["push"]]
                    self.do(self.server.admit(client, push, now))
                elif isinstance(event, events.Up):
                    self.clients.add(client)
                elif isinstance(event, events.Restart | events.Exit):
                    self.clients.discard(client)

    def run(self) -> None:
        selector = selectors.DefaultSelector()
        selector.register(self.socket, selectors.EVENT_READ)
        selector.register(self.device, selectors.EVENT_READ)
        print("running", flush=True)
        while True:
            deadline = self.server.deadline()
            wait = None if deadline is None else max(0, deadline - time.monotonic())
            for key, _ in selector.select(wait):
                now = time.monotonic()
                if key.fileobj is self.socket:
                    data, sender = self.socket.recvfrom(65535)
                    self.do(self.server.receive([data], sender, now))
                else:
                    frame = os.read(self.device, 2048)
                    self.do([self.server.send(client, [frame], now) for client in self.clients])
            self.do(self.server.tick(time.monotonic()))


if __name__ == "__main__":
    wanted = json.loads(Path(sys.argv[1]).read_text())
    (Server if "server" in wanted else Peer)(wanted).run()

"""Records what an OpenVPN server sends to a client of tmelink's, with the secrets to read it: see README.md.

unshare --net python -m tests.openvpn.recorded.record PROGRAM > tests/openvpn/recorded/NAME.json
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import select
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.e2e.managed import Management
from tests.support.pki import Authority
from tmelink.openvpn import keys
from tmelink.openvpn.session import Pushed, Up
from tmelink.openvpn.settings import ControlChannel
from tmelink.openvpn.tls.engine import TlsContext, TlsFiles
from tmelink.openvpn.tls.session import TlsSession
from tmelink.openvpn.tls.settings import TlsSettings
from tmelink.openvpn.tls.wrap import CryptKey

SERVER = ("127.0.0.1", 1194)
CLIENT, GATEWAY = bytes((10, 8, 0, 2)), bytes((10, 8, 0, 1))

RENEWAL = 6
"""Seconds after which the server renews its keys; it takes no fewer than five."""


def echo_request(sequence: int) -> bytes:
    """A ping from the client's address in the tunnel to the server's, of 28 bytes."""
    icmp = bytearray(struct.pack(">BBHHH", 8, 0, 0, 1, sequence))
    icmp[2:4] = checksum(icmp)
    head = bytearray(struct.pack(">BBHHHBBH4s4s", 0x45, 0, 28, 0, 0, 64, 1, 0, *(CLIENT, GATEWAY)))
    head[10:12] = checksum(head)
    return bytes(head + icmp)


def checksum(data: bytes | bytearray) -> bytes:
    """RFC 1071, of an even number of bytes."""
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
    return (~(total + (total >> 16)) & 0xFFFF).to_bytes(2, "big")


class Recording:
    """A client's session with its socket; every datagram of the server is kept with its time."""

    def __init__(self, session: TlsSession) -> None:
        self.session = session
        self.packets: list[list[Any]] = []
        self.events: list[Any] = []
        self.frames = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._began = time.monotonic()

    @property
    def now(self) -> float:
        return time.monotonic() - self._began

    def do(self, step: Any) -> None:
        for item in step.wire:
            for datagram in item.pieces() if hasattr(item, "pieces") else [item]:
                self._socket.sendto(datagram, SERVER)
        self.frames += len(step.frames)
        self.events += step.events

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            if select.select([self._socket], [], [], 0.02)[0]:
                datagram = self._socket.recv(2048)
                now = round(self.now, 3)
                self.packets.append([now, base64.b64encode(datagram).decode()])
                self.do(self.session.receive([datagram], now))
            else:
                self.do(self.session.tick(self.now))

    def send(self, frame: bytes) -> None:
        self.do(self.session.send([frame], self.now))


def main() -> None:
    program = sys.argv[1]
    version = subprocess.run([program, "--version"], capture_output=True, text=True).stdout.splitlines()[0]
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    authority = Authority(time.time())
    server, client = authority.issue("server", "server"), authority.issue("client", "client")
    wrap = keys.generate(secrets.token_bytes)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = {"ca": authority.own.pem, "cert": server.pem, "key": server.key_pem, "tls-crypt": wrap}
        for option, content in files.items():
            (folder / option).write_bytes(content)
            (folder / option).chmod(0o600)
        options = [f"--{option} {folder / option}" for option in files]
        options += [
            "--dev tun0 --local 127.0.0.1 --server 10.8.0.0 255.255.255.0 --topology subnet --dh none",
            f"--keepalive 2 60 --reneg-sec {RENEWAL} --management {folder / 'console'} unix",
        ]
        log = folder / "log"
        with open(log, "w") as out:
            words = " ".join(options).split()
            process = subprocess.Popen([program, "--verb", "3", *words], stdout=out, stderr=out)
        try:
            console = Management(folder / "console")
            while "Initialization Sequence Completed" not in log.read_text():
                time.sleep(0.1)
            record(console, wrap, authority, client, version)
        finally:
            process.terminate()
            process.wait()
            sys.stderr.write(log.read_text())


def record(console: Management, wrap: bytes, authority: Authority, pair: Any, version: str) -> None:
    key = keys.parse(wrap, "tls-crypt").reveal()
    context = TlsContext(
        TlsFiles(certificate=pair.pem, private_key=pair.key_pem, ca=authority.own.pem), server=False
    )
    secrets_log: list[str] = []
    context._context.set_keylog_callback(lambda _connection, line: secrets_log.append(line.decode()))
    settings = TlsSettings(
        server=False, mode="pull", kind="ip", wrap=CryptKey(key), control=ControlChannel(reneg_sec=0)
    )
    recording = Recording(TlsSession(settings, context, lambda now: time.time()))
    recording.do(recording.session.connected(recording.now))
    active = recording.session._active
    assert active is not None
    while not any(isinstance(event, Up) for event in recording.events):
        recording.run(0.1)
    subprocess.run(
        ["ping", "-c", "2", "-i", "0.2", "-W", "0.1", "10.8.0.2"], capture_output=True, check=False
    )
    recording.run(0.5)
    for epoch in (2, 3):
        # The server follows where its client goes on to the next epoch.
        sealing, _ = recording.session._keyring.in_use
        epochs: Any = sealing and sealing.keys
        epochs._send = epochs._sending_epochs.advance()
        recording.send(echo_request(epoch))
        recording.run(0.5)
    console.tell(
        'push-update-broad "route 10.40.0.0 255.255.0.0, tun-mtu 1400, ?dns search-domains a.example"'
    )
    recording.run(0.5)
    console.tell('push-update-broad "-route"')
    recording.run(RENEWAL)
    for sequence in (4, 5):
        recording.send(echo_request(sequence))
        recording.run(0.3)
    print(
        json.dumps(
            {
                "server": version.partition(" [SSL")[0],
                "recorded": time.strftime("%Y-%m-%d", time.gmtime()),
                "frames": recording.frames,
                "pushes": sum(isinstance(event, Pushed) for event in recording.events),
                "client session id": active.local.hex(),
                "unix time": int(time.time()),
                "tls-crypt": base64.b64encode(key).decode(),
                "keylog": secrets_log,
                "from the server": recording.packets,
            },
            indent=0,
        )
    )
    sys.stderr.write(f"{os.linesep.join(map(str, recording.events))}\n{recording.session.drops}\n")


if __name__ == "__main__":
    main()

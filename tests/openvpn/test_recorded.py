"""A session that OpenVPN 2.8 was recorded in, played to a client again (tests/openvpn/recorded/README.md).

All of the client is ours but its TLS library, whose place takes one that reads the recorded records with the
secrets of the key log (RFC 8446, sections 5.2 and 7). What the client itself says goes nowhere.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.support.wire import pieces
from tmelink.openvpn.data.epoch import EpochKeys
from tmelink.openvpn.session import Pushed, Restart, SessionEvent, Up
from tmelink.openvpn.settings import ControlChannel
from tmelink.openvpn.tls.session import TlsSession
from tmelink.openvpn.tls.settings import TlsSettings
from tmelink.openvpn.tls.wrap import CryptKey

RECORDED = Path(__file__).parent / "recorded" / "openvpn-2.8.json"

SUITE = "sha384"
"""The hash of TLS_AES_256_GCM_SHA384, which both ends prefer."""

HANDSHAKE, APPLICATION, FINISHED = 22, 23, 20


def expand_label(secret: bytes, label: str, context: bytes, length: int) -> bytes:
    """HKDF-Expand-Label (RFC 8446, section 7.1)."""
    name = b"tls13 " + label.encode()
    info = struct.pack(">HB", length, len(name)) + name + bytes((len(context),)) + context
    out, block = b"", b""
    for number in itertools.count(1):
        if len(out) >= length:
            return out[:length]
        block = hmac.digest(secret, block + info + bytes((number,)), SUITE)
        out += block
    raise AssertionError("never here")


class Records:
    """The records that one traffic secret protects."""

    def __init__(self, secret: bytes) -> None:
        self._key = AESGCM(expand_label(secret, "key", b"", 32))
        self._iv = int.from_bytes(expand_label(secret, "iv", b"", 12), "big")
        self._number = 0

    def open(self, head: bytes, body: bytes) -> tuple[int, bytes]:
        """A record's real type and its content."""
        nonce = (self._iv ^ self._number).to_bytes(12, "big")
        inner = self._key.decrypt(nonce, body, head).rstrip(b"\0")
        self._number += 1
        return inner[-1], inner[:-1]


class PlayedTls:
    """In place of a `TlsEngine`: reads what the recorded server sent in one negotiation."""

    def __init__(self, keylog: dict[str, bytes]) -> None:
        self.established = False
        self.peer = None
        self._secrets = keylog
        self._records = Records(keylog["SERVER_HANDSHAKE_TRAFFIC_SECRET"])
        self._unread = b""

    def step(self, ciphertext: bytes = b"") -> bytes:
        self._unread += ciphertext
        plaintext = b""
        while len(self._unread) >= 5 and len(self._unread) >= (
            end := 5 + int.from_bytes(self._unread[3:5], "big")
        ):
            head, body, self._unread = self._unread[:5], self._unread[5:end], self._unread[end:]
            if head[0] != APPLICATION:
                continue  # the server's hello, and a byte for middleboxes
            kind, content = self._records.open(head, body)
            if kind == APPLICATION:
                plaintext += content
            elif kind == HANDSHAKE and FINISHED in messages(content):
                self.established = True
                self._records = Records(self._secrets["SERVER_TRAFFIC_SECRET_0"])
        return plaintext

    def write(self, plaintext: bytes) -> None: ...

    def outgoing(self) -> bytes:
        return b""

    def export(self, label: bytes, length: int) -> bytes:
        """RFC 8446, section 7.5, with no context."""
        empty = hashlib.new(SUITE).digest()
        secret = expand_label(self._secrets["EXPORTER_SECRET"], label.decode(), empty, 48)
        return expand_label(secret, "exporter", empty, length)

    def describe(self) -> str:
        return "TLSv1.3, played"


def messages(content: bytes) -> Iterator[int]:
    """The kinds of the handshake messages in a record."""
    while content:
        yield content[0]
        content = content[4 + int.from_bytes(content[1:4], "big") :]


class PlayedContext:
    """In place of a `TlsContext`: a negotiation's TLS for each that was recorded."""

    def __init__(self, keylog: list[str]) -> None:
        secrets: dict[str, dict[str, bytes]] = {}
        for line in keylog:
            name, random, secret = line.split()
            secrets.setdefault(random, {})[name] = bytes.fromhex(secret)
        self._secrets = iter(secrets.values())

    def engine(self, unix_time: float) -> PlayedTls:
        return PlayedTls(next(self._secrets))


class Played:
    """The client that the recording was played to, and what came of it."""

    def __init__(self, recorded: dict[str, Any]) -> None:
        context: Any = PlayedContext(recorded["keylog"])
        wrap = CryptKey(base64.b64decode(recorded["tls-crypt"]))
        settings = TlsSettings(
            server=False, mode="pull", kind="ip", wrap=wrap, control=ControlChannel(reneg_sec=0)
        )
        self.session = TlsSession(settings, context, lambda now: recorded["unix time"] + now)
        self.events: list[SessionEvent] = []
        self.frames: list[bytes] = []
        self.epochs: list[int] = []
        self._take(self.session.connected(0.0))
        for now, packet in recorded["from the server"]:
            self._take(self.session.tick(now))
            self._take(self.session.receive([base64.b64decode(packet)], now))
            sealing, _ = self.session._keyring.in_use
            if sealing is not None and isinstance(sealing.keys, EpochKeys):
                self.epochs.append(sealing.keys._receive_epoch)

    def _take(self, step: Any) -> None:
        self.events += step.events
        self.frames += pieces(step.frames)


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RECORDED.read_text())
    return found


@pytest.fixture
def played(recorded: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Played:
    own = bytes.fromhex(recorded["client session id"])
    monkeypatch.setattr("tmelink.openvpn.tls.control_session.secrets.token_bytes", lambda count: own)
    return Played(recorded)


def test_every_packet_of_the_server_is_understood(played: Played, recorded: dict[str, Any]) -> None:
    """Control packets under tls-crypt and, at the renewal, under the dynamic key; nothing is dropped."""
    assert recorded["server"].startswith("OpenVPN 2.8")
    assert not played.session.drops
    assert [type(event) for event in played.events] == [Pushed, Up, Pushed, Pushed]
    assert "dynamic tls-crypt" in played.session.security().negotiated


def test_data_packets_come_in_the_epoch_format(played: Played, recorded: dict[str, Any]) -> None:
    """The server follows its client from epoch to epoch, and begins again with new keys."""
    assert "epoch data keys" in played.session.security().negotiated
    order = [epoch for epoch, _ in itertools.groupby(played.epochs)]
    assert order == [1, 2, 3, 1]
    assert len(played.frames) == recorded["frames"]
    # The kernel of the recording's host sent an ICMPv6 packet of its own besides.
    inside = {frame[12:20] for frame in played.frames if frame[0] >> 4 == 4}
    assert inside == {bytes((10, 8, 0, 1, 10, 8, 0, 2))}


def test_the_server_changes_what_it_has_pushed(played: Played) -> None:
    first, second, third = (event.options for event in played.events if isinstance(event, Pushed))
    assert "tun-mtu 1500" in first
    changed = {"route 10.40.0.0 255.255.0.0", "tun-mtu 1400", "dns search-domains a.example"}
    assert set(second) - set(first) == changed
    assert set(second) - set(third) == {"route 10.40.0.0 255.255.0.0"}


def test_a_packet_of_the_recording_that_is_changed_is_not_understood(
    recorded: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test can fail: one bit of each packet is turned."""
    own = bytes.fromhex(recorded["client session id"])
    monkeypatch.setattr("tmelink.openvpn.tls.control_session.secrets.token_bytes", lambda count: own)
    packets = []
    for now, packet in recorded["from the server"]:
        data = bytearray(base64.b64decode(packet))
        data[-1] ^= 1
        packets.append([now, base64.b64encode(data).decode()])
    played = Played(recorded | {"from the server": packets})
    assert sum(played.session.drops.values()) == len(packets)
    assert not played.frames
    assert not [event for event in played.events if not isinstance(event, Restart)]


def test_records_are_read_by_the_secrets_alone(recorded: dict[str, Any]) -> None:
    records = Records(bytes(48))
    with pytest.raises(InvalidTag):
        records.open(bytes(5), bytes(32))

"""The epoch format: its key schedule against OpenVPN's figures and RFC 5869, its way through epochs."""

from __future__ import annotations

import struct
from collections import Counter

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from tests.support.wire import pieces
from tmelink.frame import Run
from tmelink.openvpn.data import epoch
from tmelink.openvpn.data.aead import SUITES
from tmelink.openvpn.data.direction import split
from tmelink.openvpn.data.epoch import FUTURE, EpochKeys, expand_label

MATERIAL = bytes(range(256))
HEAD = b"\x48\x00\x00\x07"


def pair() -> tuple[EpochKeys, EpochKeys, Counter[str]]:
    drops: Counter[str] = Counter()
    suite = SUITES["AES-256-GCM"]
    one, other = (EpochKeys(suite, *split(MATERIAL, server=server), drops) for server in (False, True))
    return one, other, drops


def epoch_of(packet: bytes) -> int:
    return int.from_bytes(packet[4:6], "big")


def test_labels_expand_as_in_openvpn() -> None:
    # The figure of OpenVPN's tests/unit_tests/openvpn/test_crypto.c, crypto_test_ovpn_label_expand.
    secret = bytes.fromhex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5")
    assert expand_label(secret, b"unit test", 16).hex() == "185eaa1c7f228ab8eb29773214d92046"


def label(secret: bytes, name: bytes, length: int) -> bytes:
    """The same by another implementation of HKDF-Expand."""
    full = b"ovpn " + name
    info = struct.pack(">HB", length, len(full)) + full + b"\0"
    return HKDFExpand(hashes.SHA256(), length, info).derive(secret)


@pytest.mark.parametrize("number", [1, 2, 5])
def test_packets_of_an_epoch_are_what_the_format_says(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sender, _, _ = pair()
    monkeypatch.setattr(epoch, "LAST_COUNT", 1)
    for _ in range(number - 1):
        sender.seal(HEAD, 0, [b"spent"])
    [packet] = pieces(sender.seal(HEAD, 0, [b"a frame"]))
    secret = MATERIAL[:32]
    for _ in range(number - 1):
        secret = label(secret, b"datakey upd", 32)
    identity = struct.pack(">HHI", number, 0, 1)
    iv = label(secret, b"data_iv", 12)
    nonce = bytes(a ^ b for a, b in zip(identity + bytes(4), iv, strict=True))
    sealed = AESGCM(label(secret, b"data_key", 32)).encrypt(nonce, b"a frame", HEAD + identity)
    assert packet == HEAD + identity + sealed


def test_the_peer_follows_into_later_epochs_and_takes_the_last_one_too() -> None:
    one, other, drops = pair()
    [first] = pieces(one.seal(HEAD, 0, [b"first"]))
    [late] = pieces(one.seal(HEAD, 0, [b"late"]))
    assert other.open_each(4, 0, [first]) == [b"first"]
    one._send = one._sending_epochs.advance()
    one._send = one._sending_epochs.advance()
    [second] = pieces(one.seal(HEAD, 0, [b"second"]))
    assert epoch_of(second) == 3
    assert other.open_each(4, 0, [second]) == [b"second"]
    assert other.open_each(4, 0, [late]) == [b"late"]
    assert other.open_each(4, 0, [first]) == []
    # Whoever is shown a later epoch sends in no earlier one.
    [answer] = pieces(other.seal(HEAD, 0, [b"answer"]))
    assert epoch_of(answer) == 3
    assert one.open_each(4, 0, [answer]) == [b"answer"]
    assert drops == {"repeated packet": 1}


def test_epochs_too_far_ahead_are_not_followed() -> None:
    one, other, drops = pair()
    for _ in range(FUTURE + 1):
        one._send = one._sending_epochs.advance()
    assert other.open_each(4, 0, [pieces(one.seal(HEAD, 0, [b"too far"]))[0]]) == []
    assert drops == {"unknown epoch": 1}
    one, other, drops = pair()
    for _ in range(FUTURE):
        one._send = one._sending_epochs.advance()
    assert other.open_each(4, 0, [pieces(one.seal(HEAD, 0, [b"just"]))[0]]) == [b"just"]


def test_a_forged_epoch_moves_nothing() -> None:
    one, other, drops = pair()
    [packet] = pieces(one.seal(HEAD, 0, [b"a frame"]))
    forged = packet[:4] + b"\0\3" + packet[6:]
    assert other.open_each(4, 0, [forged]) == []
    assert epoch_of(pieces(other.seal(HEAD, 0, [b"x"]))[0]) == 1
    assert other.open_each(4, 0, [packet]) == [b"a frame"]
    assert drops == {"not authentic": 1}


def test_a_used_up_epoch_is_followed_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epoch, "EPOCH_LIMIT", 150)
    one, other, drops = pair()
    epochs = []
    for _ in range(10):
        sealed = one.seal(HEAD, 0, [Run(memoryview(bytes(100 * 20)), 100)])
        epochs.append(epoch_of(pieces(sealed)[0]))
        assert isinstance(sealed[0], Run)
        assert len(pieces(other.open_run(4, 0, sealed[0]))) == 20
    assert epochs == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
    # The receiver has seen as much, and asks for a later epoch by sending in one.
    assert epoch_of(pieces(other.seal(HEAD, 0, [b"x"]))[0]) == 11
    assert not drops


def test_new_keys_are_due_before_epochs_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epoch, "WORN_EPOCH", 3)
    one, _, _ = pair()
    assert not one.needs_rekey()
    one._send = one._sending_epochs.advance()
    one._send = one._sending_epochs.advance()
    assert one.needs_rekey()

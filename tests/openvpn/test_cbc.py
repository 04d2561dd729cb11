"""Data packets under CBC and HMAC."""

from __future__ import annotations

import hmac
import random
from collections import Counter

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tests.support.wire import pieces
from tmelink.frame import Run
from tmelink.openvpn.data.cbc import CbcKeys
from tmelink.openvpn.data.direction import split

MATERIAL = bytes(range(256))
HEAD = b"\x4b\x01\x02\x03"


def pair(cipher: str, auth: str) -> tuple[CbcKeys, CbcKeys, Counter[str]]:
    drops: Counter[str] = Counter()
    one, other = (CbcKeys(cipher, auth, *split(MATERIAL, server=s), drops) for s in (False, True))
    return one, other, drops


@pytest.mark.parametrize("size", [1, 11, 12, 100])
def test_a_packet_is_what_the_format_says(size: int) -> None:
    sender, receiver, _ = pair("AES-256-CBC", "SHA256")
    frame = bytes(range(size))
    for number in (1, 2, 3):
        [packet] = pieces(sender.seal(HEAD, 0, [frame]))
        assert packet[:4] == HEAD
        mac, iv, text = packet[4:36], packet[36:52], packet[52:]
        assert mac == hmac.digest(MATERIAL[64:96], iv + text, "sha256")
        plain = Cipher(algorithms.AES(MATERIAL[:32]), modes.CBC(iv)).decryptor().update(text)
        assert plain[:4] == number.to_bytes(4, "big")
        assert plain[4 : 4 + size] == frame
        assert plain[4 + size :] == bytes([plain[-1]]) * plain[-1]
        assert pieces(receiver.open_each(4, 0, [packet])) == [frame]


@pytest.mark.parametrize("cipher", ["AES-128-CBC", "AES-192-CBC", "none"])
@pytest.mark.parametrize("auth", ["SHA1", "SHA384", "none"])
def test_runs_come_back(cipher: str, auth: str) -> None:
    sender, receiver, drops = pair(cipher, auth)
    chance = random.Random(1)
    wanted = [chance.randbytes(size) for size in [70] * 20 + [33, 1400, 1400]]
    sealed = sender.seal(HEAD, 0, wanted)
    assert isinstance(sealed[0], Run)
    got = []
    for item in sealed:
        got += receiver.open_run(4, 0, item) if isinstance(item, Run) else receiver.open_each(4, 0, [item])
    assert pieces(got) == wanted
    assert all(
        len(packet) - 4 - size <= sender.overhead
        for packet, size in zip(pieces(sealed), map(len, wanted), strict=True)
    )
    assert not drops


def test_every_changed_byte_is_noticed_and_repetitions_too() -> None:
    sender, receiver, drops = pair("AES-128-CBC", "SHA1")
    [packet] = pieces(sender.seal(HEAD, 0, [b"a frame"]))
    for at in range(4, len(packet)):
        broken = bytearray(packet)
        broken[at] ^= 1
        assert receiver.open_each(4, 0, [bytes(broken)]) == []
        assert receiver.open_each(4, 0, [packet[:at]]) == []
    assert receiver.open_each(4, 0, [packet]) == [b"a frame"]
    assert receiver.open_each(4, 0, [packet]) == []
    assert drops["repeated packet"] == 1


def test_ivs_do_not_repeat() -> None:
    sender, _, _ = pair("AES-128-CBC", "none")
    ivs = {packet[4:20] for packet in pieces(sender.seal(HEAD, 0, [b"a frame"] * 200))}
    assert len(ivs) == 200


@pytest.mark.parametrize("cipher", ["AES-128-CBC", "none"])
def test_what_fits_fits_exactly(cipher: str) -> None:
    sender, _, _ = pair(cipher, "SHA256")
    for room in range(90, 130):
        longest = sender.max_payload(room)
        [packet, longer] = pieces(
            [*sender.seal(b"", 0, [bytes(longest)]), *sender.seal(b"", 0, [bytes(longest + 1)])]
        )
        assert len(packet) <= room < len(longer)

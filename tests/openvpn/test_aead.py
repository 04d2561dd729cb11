"""AEAD data packets: the format against a plain reckoning, runs against single packets, replays, limits."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from tests.support.wire import pieces
from tmelink.frame import Run
from tmelink.openvpn.data import aead
from tmelink.openvpn.data.aead import RUN, SUITES, AeadKeys
from tmelink.openvpn.data.direction import split
from tmelink.openvpn.data.keys import DataKeys, make
from tmelink.openvpn.data.replay import USUAL, Lateness
from tmelink.openvpn.session import Item

MATERIAL = bytes(range(256))
V2 = b"\x4b\x01\x02\x03"
V1 = b"\x33"
FORMATS = [(name, epoch) for name in SUITES for epoch in (False, True)]


def pair(
    name: str, *, epoch: bool = False, window: Lateness = USUAL
) -> tuple[DataKeys, DataKeys, Counter[str]]:
    drops: Counter[str] = Counter()
    ends = [
        make(name, "SHA1", *split(MATERIAL, server=server), drops, epoch=epoch, window=window)
        for server in (False, True)
    ]
    return ends[0], ends[1], drops


def frames(count: int, size: int = 100) -> list[bytes]:
    chance = random.Random(count)
    return [chance.randbytes(size) for _ in range(count)]


def opened(keys: DataKeys, packets: list[Item], at: int = 4, skip: int = 0) -> list[bytes]:
    got: list[Item] = []
    for item in packets:
        if isinstance(item, Run):
            got += keys.open_run(at, skip, item)
        else:
            got += keys.open_each(at, skip, [item])
    return pieces(got)


def test_aes_gcm_packet_is_what_the_format_says() -> None:
    sender, _, _ = pair("AES-256-GCM")
    [packet] = pieces(sender.seal(V2, 0, [b"a frame"]))
    # client to server: key 0..31, implicit IV 64..71; the packet id is 1.
    sealed = AESGCM(MATERIAL[:32]).encrypt(b"\0\0\0\1" + MATERIAL[64:72], b"a frame", V2 + b"\0\0\0\1")
    assert packet == V2 + b"\0\0\0\1" + sealed[-16:] + sealed[:-16]
    assert packet.hex() == "4b010203000000013ea004838ef8c4bb81e3d057e94a260aaaeb1dcf0adbc3"


def test_v1_authenticates_the_packet_id_alone() -> None:
    sender, receiver, _ = pair("CHACHA20-POLY1305")
    [packet] = pieces(sender.seal(V1, 1, [b"a frame"]))
    key = ChaCha20Poly1305(MATERIAL[:32])
    sealed = key.encrypt(b"\0\0\0\1" + MATERIAL[64:72], b"a frame", b"\0\0\0\1")
    assert packet == V1 + b"\0\0\0\1" + sealed[-16:] + sealed[:-16]
    assert opened(receiver, [packet], at=1, skip=1) == [b"a frame"]


@pytest.mark.parametrize(("name", "epoch"), FORMATS)
@pytest.mark.parametrize("count", [1, 2, RUN - 1, RUN, 30, 64])
def test_a_run_is_its_packets_one_by_one(name: str, epoch: bool, count: int) -> None:
    wanted = frames(count)
    for last in (wanted[-1], wanted[-1][:33]):
        together, receiver, drops = pair(name, epoch=epoch)
        apart, other, _ = pair(name, epoch=epoch)
        group = [*wanted[:-1], last]
        run = together.seal(V2, 0, [Run(memoryview(b"".join(group)), 100)])
        singly = [packet for frame in group for packet in apart.seal(V2, 0, [frame])]
        assert pieces(run) == pieces(singly)
        assert isinstance(run[0], Run) == (count >= RUN)
        assert opened(receiver, run) == group
        assert opened(other, singly) == group
        assert opened(receiver, run) == []
        assert drops["repeated packet"] == count


def test_frames_of_many_sizes_keep_their_order() -> None:
    chance = random.Random(2)
    sender, receiver, drops = pair("AES-128-GCM")
    for _ in range(100):
        sizes = [chance.choice((20, 20, 20, 60, 1500)) for _ in range(chance.randint(1, 150))]
        wanted = [chance.randbytes(size) for size in sizes]
        sealed = sender.seal(V2, 0, wanted)
        assert opened(receiver, sealed) == wanted
    assert not drops


def test_no_run_is_longer_than_one_send_takes() -> None:
    sender, _, _ = pair("AES-256-GCM")
    sealed = sender.seal(V2, 0, [Run(memoryview(bytes(300 * 1500)), 1500), Run(memoryview(bytes(9000)), 30)])
    for run in sealed:
        if not isinstance(run, Run):
            continue
        assert len(run.data) <= aead.MAX_RUN
        assert len(run.data) <= run.size * aead.MAX_PIECES
    assert len(pieces(sealed)) == 600


@pytest.mark.parametrize(("name", "epoch"), FORMATS)
def test_one_bad_packet_does_not_spoil_its_run(name: str, epoch: bool) -> None:
    wanted = frames(20)
    for place in (0, 7, 19):
        sender, receiver, drops = pair(name, epoch=epoch)
        [run] = sender.seal(V2, 0, wanted)
        assert isinstance(run, Run)
        data = bytearray(run.data)
        data[place * run.size + 40] ^= 1
        assert opened(receiver, [Run(memoryview(data), run.size)]) == wanted[:place] + wanted[place + 1 :]
        assert drops == {"not authentic": 1}


def test_packets_repeated_or_shuffled_within_a_run() -> None:
    wanted = frames(20)
    sender, receiver, drops = pair("AES-256-GCM")
    packets = pieces(sender.seal(V2, 0, wanted))
    order = [0, 1, 1, 3, 2, *range(5, 20), 4]
    run = Run(memoryview(b"".join(packets[n] for n in order)), len(packets[0]))
    assert opened(receiver, [run]) == [wanted[n] for n in [0, 1, 3, 2, *range(5, 20), 4]]
    assert drops == {"repeated packet": 1}


@pytest.mark.parametrize(("name", "epoch"), [*FORMATS, ("AES-256-CBC", False)])
def test_what_was_overtaken_too_long_ago_is_too_late(name: str, epoch: bool) -> None:
    sender, receiver, drops = pair(name, epoch=epoch, window=Lateness(64, 15))
    packets = [pieces(sender.seal(V2, 0, [frame]))[0] for frame in frames(6)]

    def arrives(now: float, number: int) -> bool:
        receiver.age(now)
        return bool(opened(receiver, [packets[number]]))

    # Number 3 overtakes those before it at 100 s, number 5 number 4 at 110 s.
    assert [arrives(now, number) for now, number in ((100, 3), (101, 0), (110, 5), (115, 1))] == [True] * 4
    assert not arrives(115.5, 2)
    assert arrives(124, 4)
    assert drops == {"repeated packet": 1}


def test_without_a_time_nothing_is_too_late() -> None:
    sender, receiver, drops = pair("AES-256-GCM", window=Lateness(64, 0))
    packets = [pieces(sender.seal(V2, 0, [frame]))[0] for frame in frames(2)]
    for now, packet in ((100.0, packets[1]), (1e6, packets[0])):
        receiver.age(now)
        assert opened(receiver, [packet])
    assert not drops


def test_every_changed_byte_is_noticed() -> None:
    for name, epoch in FORMATS:
        sender, receiver, _ = pair(name, epoch=epoch)
        [packet] = pieces(sender.seal(V2, 0, [b"a frame"]))
        for at in range(len(packet)):
            broken = bytearray(packet)
            broken[at] ^= 0x10
            assert receiver.open_each(4, 0, [bytes(broken)]) == []
            assert receiver.open_each(4, 0, [packet[:at]]) == []
        assert receiver.open_each(4, 0, [packet]) == [b"a frame"]


def test_the_other_direction_has_other_keys() -> None:
    sender, _, drops = pair("AES-256-GCM")
    assert opened(sender, sender.seal(V2, 0, [b"a frame"])) == []
    assert drops == {"not authentic": 1}


def test_new_keys_are_due_before_ids_or_usage_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aead, "WORN_ID", 30)
    monkeypatch.setattr(AeadKeys, "last_id", 40)
    sender, receiver, drops = pair("AES-256-GCM")
    assert opened(receiver, sender.seal(V2, 0, frames(29))) == frames(29)
    assert not sender.needs_rekey()
    sender.seal(V2, 0, frames(1))
    assert sender.needs_rekey()
    sender.seal(V2, 0, frames(10))
    assert sender.seal(V2, 0, frames(10)) == []
    assert drops == {"packet ids used up": 10}


def test_the_usage_limit_counts_blocks_and_packets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aead, "WORN_USAGE", 8 * 10)
    for name, limited in (("AES-128-GCM", True), ("CHACHA20-POLY1305", False)):
        sender, receiver, _ = pair(name)
        first, second = frames(10), frames(1)
        packets = sender.seal(V2, 0, first[:9])  # nine times seven blocks and one packet
        opened(receiver, packets)
        assert not sender.needs_rekey()
        assert not receiver.needs_rekey()
        opened(receiver, sender.seal(V2, 0, second))
        assert sender.needs_rekey() is limited
        assert receiver.needs_rekey() is limited


def test_too_many_forgeries_close_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aead, "MAX_FAILURES", 3)
    sender, receiver, drops = pair("AES-256-GCM")
    [packet] = pieces(sender.seal(V2, 0, [b"a frame"]))
    for _ in range(3):
        receiver.open_each(4, 0, [packet[:-1] + b"x"])
    assert receiver.open_each(4, 0, [packet]) == []
    assert drops == {"not authentic": 3, "too many forgeries": 1}


def test_any_bytes_are_opened_or_counted() -> None:
    chance = random.Random(4)
    for name, epoch in FORMATS:
        _, receiver, drops = pair(name, epoch=epoch)
        for _ in range(300):
            data = chance.randbytes(chance.randint(0, 60))
            assert receiver.open_each(4, 0, [data]) == []
        size = chance.randint(1, 60)
        receiver.open_run(4, 0, Run(memoryview(chance.randbytes(size * 20)), size))
        assert drops.total() == 320
        assert isinstance(receiver, AeadKeys)

"""Two ends behind NATs meet at a rendezvous, and find a direct path where their NATs allow one."""

from __future__ import annotations

import random
from itertools import product

import pytest

from tmelink.transport import stun
from tmelink.transport.hole_punching import SILENT_SECONDS, HolePunch
from tmelink.transport.rendezvous import (
    KEY_BYTES,
    NONCE_SECONDS,
    REGISTERED_SECONDS,
    Registrations,
    key_name,
    read_key,
)
from tmelink.transport.stun import InetAddress, StunAttribute, StunKind, StunMessage

HUB = ("192.0.2.1", 3478)
KEY = bytes(range(32))
KINDS = ("full cone", "address-restricted", "port-restricted", "symmetric")
BLOCKED = {("port-restricted", "symmetric"), ("symmetric", "port-restricted"), ("symmetric", "symmetric")}
"""The pairs that RFC 5128 and everybody else finds without a direct path."""


class Nat:
    """A NAT of one of four kinds (RFC 3489, section 5) with one socket behind it."""

    def __init__(self, kind: str, address: str) -> None:
        self.kind = kind
        self.address = address
        self.mapped: dict[InetAddress | None, int] = {}
        self.contacted: set[InetAddress] = set()

    def out(self, to: InetAddress) -> InetAddress:
        """Where a datagram to `to` comes from, seen from outside."""
        key = to if self.kind == "symmetric" else None
        self.contacted.add(to)
        return self.address, self.mapped.setdefault(key, 40000 + len(self.mapped))

    def lets_in(self, port: int, source: InetAddress) -> bool:
        if port not in self.mapped.values():
            return False
        if self.kind == "symmetric":
            return self.mapped.get(source) == port
        if self.kind == "port-restricted":
            return source in self.contacted
        return self.kind == "full cone" or source[0] in {host for host, _ in self.contacted}


class World:
    """A rendezvous and two ends behind NATs; `at` is the time, and each step of it half a second."""

    def __init__(self, one: str, other: str) -> None:
        token = random.Random(f"{one} {other}").randbytes
        self.at = 0.0
        self.hub = Registrations([KEY], token)
        self.nats = [Nat(one, "198.51.100.1"), Nat(other, "198.51.100.2")]
        self.ends = [HolePunch(KEY, role, HUB, 0.0, token=token) for role in ("client", "server")]
        self.cut = False
        self.hub_is_up = True

    def run(self, seconds: float) -> None:
        until = self.at + seconds
        while self.at < until:
            for number, end in enumerate(self.ends):
                self._send(number, end.tick(self.at))
            self.at += 0.5

    def _send(self, number: int, sent: list[tuple[bytes, InetAddress]]) -> None:
        for message, to in sent:
            source = self.nats[number].out(to)
            if to == HUB:
                if self.hub_is_up:
                    for reply, where in self.hub.receive(message, source, self.at):
                        self._arrive(reply, HUB, where)
            elif not self.cut:
                self._arrive(message, source, to)

    def _arrive(self, message: bytes, source: InetAddress, to: InetAddress) -> None:
        for number, nat in enumerate(self.nats):
            if nat.address == to[0] and nat.lets_in(to[1], source):
                self._send(number, self.ends[number].receive(message, source, self.at))

    @property
    def direct(self) -> tuple[bool, bool]:
        return self.ends[0].direct, self.ends[1].direct


@pytest.mark.parametrize(("one", "other"), list(product(KINDS, KINDS)))
def test_a_direct_path_is_found_where_the_nats_allow_one(one: str, other: str) -> None:
    world = World(one, other)
    world.run(4)
    expected = (one, other) not in BLOCKED
    assert world.direct == (expected, expected)
    world.run(4)
    for end in world.ends:
        said = end.why(world.at)
        assert said.startswith("direct to" if expected else "through 192.0.2.1:3478: nothing comes back"), (
            said
        )


def test_a_direct_path_that_dies_is_left_for_the_rendezvous_and_taken_again() -> None:
    world = World("port-restricted", "full cone")
    world.run(4)
    assert world.direct == (True, True)
    world.cut = True
    world.run(SILENT_SECONDS + 1.5)
    assert world.direct == (False, False)
    assert world.ends[0].route == HUB
    world.cut = False
    world.run(6)
    assert world.direct == (True, True)


def test_an_end_that_waits_alone_says_so_and_a_rendezvous_that_is_off_too() -> None:
    world = World("full cone", "full cone")
    alone = world.ends.pop()
    world.run(2)
    assert world.ends[0].why(world.at) == "through 192.0.2.1:3478: the other end is not there yet"
    world.ends.append(alone)
    world.run(4)
    assert world.direct == (True, True)
    world.hub_is_up = False
    world.cut = True
    world.run(50)
    assert world.ends[0].why(world.at) == "through 192.0.2.1:3478, which does not answer"


def test_an_end_that_comes_from_another_address_is_found_there() -> None:
    world = World("port-restricted", "port-restricted")
    world.run(4)
    world.nats[1] = Nat("port-restricted", "198.51.100.9")
    world.run(1)
    world.run(30)
    assert world.ends[0].peer is not None
    assert world.ends[0].peer[0] == "198.51.100.9"
    assert world.direct == (True, True)


def test_packets_that_would_enter_the_link_do_not_go_directly() -> None:
    world = World("full cone", "full cone")
    world.ends[0] = HolePunch(KEY, "client", HUB, 0.0, usable=lambda _where: False)
    world.run(6)
    assert world.direct[0] is False
    assert "would enter the link itself" in world.ends[0].why(world.at)


# Strangers


def registration(key: bytes = KEY, role: str = "client", nonce: bytes | None = None) -> bytes:
    attributes = {StunAttribute.USERNAME: f"{key_name(KEY)}:{role}".encode()}
    if nonce is not None:
        attributes[StunAttribute.NONCE] = nonce
    return StunMessage(StunKind.REQUEST, bytes(12), attributes).encode(key)


def nonce_of(hub: Registrations, address: InetAddress, now: float) -> bytes:
    ((reply, _to),) = hub.receive(registration(), address, now)
    message = stun.decode(reply)
    assert message is not None
    assert message.kind == StunKind.ERROR
    return message.attributes[StunAttribute.NONCE]


def test_a_registration_that_was_recorded_is_not_believed_from_elsewhere_or_later() -> None:
    hub = Registrations([KEY])
    here, elsewhere = ("198.51.100.1", 5), ("198.51.100.66", 5)
    recorded = registration(nonce=nonce_of(hub, here, 0.0))
    hub.receive(recorded, here, 0.0)
    assert hub.knows(here)
    hub.receive(recorded, elsewhere, 0.0)
    hub.receive(recorded, here, 3 * NONCE_SECONDS)
    assert not hub.knows(elsewhere)
    hub.tick(REGISTERED_SECONDS)
    assert not hub.knows(here)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (registration(key=bytes(32)), "unknown rendezvous key"),
        (registration(role="king"), "bad registration"),
        (registration()[:-1], "bad registration"),
        (registration() + b"\0\0\0\0", "bad registration"),
        (b"\0", "bad registration"),
        (b"", "bad registration"),
    ],
)
def test_who_has_no_key_gets_no_answer(message: bytes, reason: str) -> None:
    hub = Registrations([KEY])
    assert hub.receive(message, ("198.51.100.1", 5), 0.0) == []
    assert hub.drops == {reason: 1}


def test_any_bytes_are_taken_without_a_fault() -> None:
    source = random.Random(6)
    hub, end = Registrations([KEY]), HolePunch(KEY, "client", HUB, 0.0)
    valid = registration()
    for _ in range(2000):
        changed = bytearray(valid)
        for _ in range(source.randrange(1, 4)):
            changed[source.randrange(len(changed))] = source.randrange(256)
        message = bytes(changed[: source.randrange(len(changed) + 1)])
        if message != valid:
            assert hub.receive(message, ("198.51.100.1", 5), 0.0) == []
            assert end.receive(message, ("198.51.100.1", 5), 0.0) == []
    assert not end.hears(("198.51.100.1", 5))


def test_an_answer_to_nothing_that_was_asked_proves_no_path() -> None:
    end = HolePunch(KEY, "client", HUB, 0.0)
    answer = StunMessage(StunKind.SUCCESS, bytes(12)).encode(KEY)
    assert end.receive(answer, ("198.51.100.66", 5), 0.0) == []
    assert not end.direct


# The messages


@pytest.mark.parametrize("where", [("203.0.113.9", 65535), ("2001:db8::9", 1)])
def test_addresses_survive_their_encoding(where: InetAddress) -> None:
    transaction = bytes(range(12))
    value = stun.address_value(where, transaction)
    sent = StunMessage(StunKind.SUCCESS, transaction, {StunAttribute.XOR_MAPPED_ADDRESS: value}).encode(KEY)
    read = stun.decode(sent)
    assert read is not None
    assert read.address(StunAttribute.XOR_MAPPED_ADDRESS) == where
    assert read.is_authentic(KEY)
    assert not read.is_authentic(bytes(32))


def test_an_address_as_rfc_5769_has_it() -> None:
    """RFC 5769, section 2.2: 192.0.2.1, port 32853."""
    transaction = bytes.fromhex("b7e7a701bc34d686fa87dfae")
    assert stun.address_value(("192.0.2.1", 32853), transaction) == bytes.fromhex("0001a147e112a643")


@pytest.mark.parametrize("text", [b"", b"00" * 31, b"zz" * 32, b"\xff" * 64])
def test_a_file_that_is_no_key(text: bytes) -> None:
    with pytest.raises(ValueError, match="64 hexadecimal digits"):
        read_key(text)
    assert len(read_key(b"0a" * KEY_BYTES + b"\n")) == KEY_BYTES

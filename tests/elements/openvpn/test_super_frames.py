"""Links with --super-frames over the loopback interface, and the options that it goes with."""

from __future__ import annotations

import logging
import socket

import pytest

from tests.support.aio import eventually, run
from tests.support.links import link, listening
from tests.support.machines import Machine, opened
from tests.support.packets import Flow, noise
from tests.support.sockets import free_port
from tmelink.element import connect
from tmelink.elements.openvpn.link import Link
from tmelink.frame import Burst, Gso
from tmelink.openvpn.data.super_frames import REFUSAL, REFUSED
from tmelink.source import Mistake, Place, Source, Word

SMALL = bytes(range(12)) + b"\x88\xb5" + bytes(range(50))
WHOLE = "--super-frames"

COUNT = 40
"""Super-frames that are sent at once: more than a socket takes, less than a stream's queue does."""


def ends(server: str = WHOLE, client: str = WHOLE) -> tuple[Link, Link]:
    port = free_port(socket.SOCK_STREAM)
    return (
        link(f"--proto tcp-server --local 127.0.0.1 --lport {port} {server}"),
        link(f"--proto tcp-client --remote 127.0.0.1 {port} {client} --connect-retry 1"),
    )


def machine(on: Link, *, offload: bool = True) -> Machine:
    made = Machine(offload=offload)
    connect(on.port(), made.port())
    return made


@pytest.mark.parametrize("offload", [True, False])
def test_a_machine_gets_what_the_other_one_sent(offload: bool) -> None:
    sent: list[tuple[bytes, Gso | None]] = []
    cut: list[tuple[bytes, Gso | None]] = []
    for number in range(COUNT):
        flow, payload = Flow(sequence=number << 16), noise(64_000, seed=number)
        sent += [(SMALL, None), flow.super_frame(payload, 1400)]
        cut += [(SMALL, None), *((piece, None) for piece in flow.pieces(payload, 1400))]

    async def body() -> None:
        server, client = ends()
        sender, receiver = machine(client), machine(server, offload=offload)
        async with opened(server, client):
            await eventually(lambda: server.up and client.up)
            frames, labels = zip(*sent, strict=True)
            sender.ports[0].send(Burst(list(frames), list(labels)))
            expected = sent if offload else cut
            await receiver.until(lambda: len(receiver.got) == len(expected))
            assert receiver.got == expected
            for each in (server, client):
                assert not any(counters.drops for counters in each.counters().values())
            said = client.counters()["wire sent"].frames - len(sent)
            assert 2 <= said <= 3, "beside frames: its options, asking for the other's, and an answer"

    run(body)


@pytest.mark.parametrize("asking", ["server", "client"])
def test_a_peer_that_does_not_ask_is_refused_once_and_for_as_long_as_it_does_not(asking: str) -> None:
    async def body() -> None:
        server, client = ends(*(WHOLE, "") if asking == "server" else ("", WHOLE))
        end, other = (server, client) if asking == "server" else (client, server)
        told, heard = listening(end, f"asking {asking}"), listening(other, f"not asking {asking}")
        machine(server)
        machine(client)
        async with opened(server, client):
            await eventually(lambda: sum(REFUSED in text for _, text in told) >= 2)
            assert [text for level, text in told if level > logging.INFO] == [REFUSAL]
            assert not end.up
            words = "'super-frames' is present in remote config but missing in local config"
            assert any(level == logging.WARNING and words in text for level, text in heard)

    run(body)


def mistakes(options: str) -> list[tuple[str, str | None]]:
    words = [Word(word, Place(Source("test", options), 1, 1)) for word in options.split()]
    found: list[Mistake] = []
    assert Link.parse(words, words[0].place, found.append) is None
    return [(mistake.message, mistake.hint) for mistake in found]


def test_what_it_does_not_go_with_is_told() -> None:
    unsealed = "--super-frames needs TLS over UDP: each is sealed as one record"
    assert mistakes(f"--remote 192.0.2.1 {WHOLE}") == [(unsealed, OVER_UDP)]
    for other in ("fragment 1200", "comp-lzo no", "compress stub-v2"):
        name = other.split()[0]
        message = f"--super-frames over UDP and --{name} exclude each other"
        assert (message, f"leave out --{name}") in mistakes(f"--remote 192.0.2.1 {WHOLE} --{other}")
    paced = "--super-frames and --shaper exclude each other: --shaper paces single frames"
    assert mistakes(f"--proto tcp-server --shaper 1000 {WHOLE}") == [(paced, None)]
    many = "--super-frames is for a link between two peers, and not for a server"
    for words in ("--client --remote 192.0.2.1 --proto tcp-client", "--server 10.8.0.0 255.255.255.0"):
        assert many in dict(mistakes(f"{words} {WHOLE}"))


OVER_UDP = "write --tls-server and --tls-client, or --proto tcp-server and tcp-client"

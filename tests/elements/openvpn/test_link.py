"""Links over the loopback interface: two ends, or one end and a bare socket that plays the peer.

Among them, one test for each defect of TME's link that a user would run into.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import tracemalloc

import pytest

from tests.support.aio import eventually, run
from tests.support.links import OCC, PING, End, link, listening
from tests.support.machines import Events, Machine, frame, opened
from tests.support.sockets import bare_peer, dial, framed, free_port, received
from tmelink.element import connect
from tmelink.elements.builtin.switch import Switch
from tmelink.elements.openvpn import connector
from tmelink.errors import ElementError


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_udp_carries_frames_both_ways_and_nobody_has_to_speak_first(host: str) -> None:
    async def body() -> None:
        one, two = free_port(host=host), free_port(host=host)
        async with (
            End(f"--dev tap --local {host} --lport {one} --remote {host} {two}") as a,
            End(f"--dev tap --local {host} --lport {two} --remote {host} {one}") as b,
        ):
            a.machine.send(frame(1), frame(2, 1514))
            await b.machine.until(lambda: len(b.machine.frames) == 2)
            assert b.machine.frames == [frame(1), frame(2, 1514)]
            b.machine.send(frame(3))
            await a.machine.until(lambda: bool(a.machine.frames))
            assert a.machine.frames == [frame(3)]

    run(body)


def test_the_wire_holds_the_bare_frame_and_nothing_else() -> None:
    async def body() -> None:
        peer = bare_peer()
        port = free_port()
        here = f"--local 127.0.0.1 --lport {port}"
        async with End(f"--dev tap {here} --remote 127.0.0.1 {peer.getsockname()[1]} --disable-occ") as end:
            end.machine.send(frame(7))
            assert await received(peer) == frame(7)
        peer.close()

    run(body)


def test_pings_and_occ_messages_never_reach_the_machine() -> None:
    async def body() -> None:
        peer = bare_peer()
        port = free_port()
        async with End(
            f"--dev tap --local 127.0.0.1 --lport {port} --remote 127.0.0.1 {peer.getsockname()[1]}"
        ) as end:
            for datagram in (PING, OCC + b"\x00", OCC + b"\x01V4,dev-type tap\0", b"short", frame(1)):
                peer.sendto(datagram, ("127.0.0.1", port))
            await end.machine.until(lambda: bool(end.machine.frames))
            assert end.machine.frames == [frame(1)]
            assert end.drops("wire received") == {"too short": 1}
        peer.close()

    run(body)


def test_a_stranger_is_not_heard_and_counted() -> None:
    async def body() -> None:
        peer, stranger = bare_peer(), bare_peer()
        port = free_port()
        async with End(
            f"--dev tap --local 127.0.0.1 --lport {port} --remote 127.0.0.1 {peer.getsockname()[1]}"
        ) as end:
            stranger.sendto(frame(666), ("127.0.0.1", port))
            peer.sendto(frame(1), ("127.0.0.1", port))
            await end.machine.until(lambda: bool(end.machine.frames))
            assert end.machine.frames == [frame(1)]
            assert end.drops("wire received") == {"not the remote": 1}
        peer.close()
        stranger.close()

    run(body)


def test_a_floating_link_may_send_before_it_knows_a_peer_and_follows_it() -> None:
    async def body() -> None:
        first, second = bare_peer(), bare_peer()
        port = free_port()
        async with End(f"--dev tap --local 127.0.0.1 --lport {port} --float --disable-occ") as end:
            end.machine.send(frame(1))
            assert end.drops("wire sent") == {"no peer yet": 1}
            for number, peer in enumerate((first, second), 2):
                peer.sendto(frame(number), ("127.0.0.1", port))
                await end.machine.until(lambda n=number: frame(n) in end.machine.frames)  # type: ignore[misc]
                end.machine.send(frame(10 * number))
                assert await received(peer) == frame(10 * number)
        first.close()
        second.close()

    run(body)


def test_a_frame_over_the_mtu_is_counted_and_the_next_one_passes() -> None:
    async def body() -> None:
        peer = bare_peer()
        port = free_port()
        there = f"--remote 127.0.0.1 {peer.getsockname()[1]} --disable-occ"
        async with End(f"--dev tap --local 127.0.0.1 --lport {port} {there} --tun-mtu 1000") as end:
            end.machine.send(frame(1, 1514), frame(2, 1014))
            assert await received(peer) == frame(2, 1014)
            assert end.drops("wire sent") == {"too long to send": 1}
        peer.close()

    run(body)


@pytest.mark.parametrize(("option", "least"), [("", 200_000), ("--rcvbuf 50000", 50_000)])
def test_a_udp_link_has_room_for_what_arrives_while_it_is_busy(option: str, least: int) -> None:
    async def body() -> None:
        async with End(f"--dev tap --local 127.0.0.1 --lport {free_port()} {option}") as end:
            sock = end.link.peer._wire._port.sock  # type: ignore[union-attr]
            size = sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
            # Linux doubles what it is asked for, and gives no more than net.core.rmem_max allows.
            assert size >= 2 * least
            assert not option or size == 2 * least

    run(body)


def test_a_port_in_use_is_an_error_that_says_what_to_do() -> None:
    async def body() -> None:
        taken = bare_peer()
        end = End(f"--dev tap --local 127.0.0.1 --lport {taken.getsockname()[1]} --remote 127.0.0.1")
        with pytest.raises(ElementError, match="in use by another program: choose another port with --lport"):
            await end.link.open()
        await end.link.close()
        taken.close()

    run(body)


SERVER = "--dev tap --local 127.0.0.1 --lport {port} --proto tcp-server --disable-occ"
CLIENT = "--dev tap --remote 127.0.0.1 {port} --proto tcp-client --disable-occ"


@pytest.mark.parametrize("server_first", [True, False])
def test_either_tcp_end_may_start_first_and_either_may_restart(server_first: bool) -> None:
    async def body() -> None:
        port = free_port(socket.SOCK_STREAM)
        ends = [End(SERVER.format(port=port)), End(CLIENT.format(port=port))]
        if not server_first:
            ends.reverse()
        a, b = ends
        async with a, b:
            for turn in range(3):
                await a.until_connected()
                await b.until_connected()
                a.machine.send(frame(turn))
                await b.machine.until(lambda t=turn: frame(t) in b.machine.frames)  # type: ignore[misc]
                b.machine.send(frame(turn + 100))
                await a.machine.until(lambda t=turn: frame(t + 100) in a.machine.frames)  # type: ignore[misc]
                restarted, other = (a, b) if turn % 2 else (b, a)
                await restarted.link.close()
                await eventually(lambda o=other: not o.connected)  # type: ignore[misc]
                await restarted.link.open()

    run(body)


def test_a_tcp_server_that_waits_stops_nobody() -> None:
    async def body() -> None:
        port = free_port(socket.SOCK_STREAM)
        one, two = free_port(), free_port()
        async with (
            End(SERVER.format(port=port)) as waiting,
            End(f"--dev tap --local 127.0.0.1 --lport {one} --remote 127.0.0.1 {two}") as a,
            End(f"--dev tap --local 127.0.0.1 --lport {two} --remote 127.0.0.1 {one}") as b,
        ):
            waiting.machine.send(frame(0))
            assert waiting.drops("wire sent") == {"not connected": 1}
            a.machine.send(frame(1))
            await b.machine.until(lambda: b.machine.frames == [frame(1)])

    run(body)


def test_frames_that_arrive_together_over_tcp_are_all_delivered() -> None:
    async def body() -> None:
        port = free_port(socket.SOCK_STREAM)
        async with End(SERVER.format(port=port)) as end:
            peer = await dial(port)
            peer.send(framed(*(frame(n) for n in range(20)), PING))
            await end.machine.until(lambda: len(end.machine.frames) == 20)
            peer.close()

    run(body)


def test_a_big_tcp_transfer_holds_the_sender_and_loses_nothing() -> None:
    async def body() -> None:
        port = free_port(socket.SOCK_STREAM)
        async with End(SERVER.format(port=port)) as end:
            peer = await dial(port)
            await end.until_connected()
            sent = 0
            while not end.machine.held:
                end.machine.send(*(frame(n, 1514) for n in range(sent, sent + 32)))
                sent += 32
            loop = asyncio.get_running_loop()
            stream = bytearray()
            async with asyncio.timeout(10):
                while len(stream) < sent * (2 + len(frame(0, 1514))):
                    stream += await loop.sock_recv(peer, 1 << 20)
            assert bytes(stream) == framed(*(frame(n, 1514) for n in range(sent)))
            await end.machine.until(lambda: end.machine.held == [True, False])
            assert end.drops("wire sent") == {}
            peer.close()

    run(body)


def test_three_links_between_two_switches_take_bounded_memory() -> None:
    """A broadcast goes round and round between two processes; what is sent beside it still arrives."""

    async def body() -> None:
        # Without probes, which would cut the loop.
        one, two = (Switch(name, Switch.Arguments(loop_probe=0)) for name in ("one", "two"))
        stations = [Machine(offload=False) for _ in range(2)]
        links = []
        for station, switch in zip(stations, (one, two), strict=True):
            connect(station.port(), switch.port())
        for _ in range(3):
            ports = free_port(), free_port()
            for own, peer, switch in ((ports[0], ports[1], one), (ports[1], ports[0], two)):
                end = link(
                    f"--dev tap --local 127.0.0.1 --lport {own} --remote 127.0.0.1 {peer} --disable-occ"
                )
                connect(end.port(), switch.port())
                links.append(end)
        async with opened(one, two, *links):
            stations[0].send(b"\xff" * 6 + b"\2\0\0\0\0\1" + bytes(48))
            crossed = links[0].counters()["wire sent"]
            tracemalloc.start()
            try:
                await eventually(lambda: links[0].counters()["wire sent"].frames > crossed.frames + 200)
                before, _ = tracemalloc.get_traced_memory()
                await eventually(lambda: links[0].counters()["wire sent"].frames > crossed.frames + 800)
                after, _ = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            # What the stations' own machines keep of the copies that reach them is the test's.
            kept = sum(len(station.frames) for station in stations) * 200
            assert after - before < (1 << 20) + kept
            stations[1].frames.clear()
            stations[0].send(frame(7))
            await stations[1].until(lambda: frame(7) in stations[1].frames)

    run(body)


@pytest.mark.parametrize("role", ["client", "server"])
def test_a_tcp_peer_that_never_reads_costs_a_bounded_queue(role: str) -> None:
    """The machine is held; what it sends all the same is dropped and counted, and the end is no slower."""

    async def body() -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        port = free_port(socket.SOCK_STREAM)
        options = SERVER.format(port=port)
        if role == "client":
            there = listening.getsockname()[1]
            options = f"--dev tap --proto tcp4-client --nobind --remote 127.0.0.1 {there} --disable-occ"
        async with End(options) as end:
            peer = await dial(port) if role == "server" else None
            await end.until_connected()
            await eventually(lambda: end.link.peer is not None)
            for number in range(20_000):
                end.machine.send(frame(number, 1514))
                if number % 500 == 0:
                    await asyncio.sleep(0)
            assert end.machine.held[-1]
            queued = end.link.details().queued
            assert queued is not None
            assert queued < 16 << 20
            assert end.drops("wire sent")["queue full"] > 1000
            if peer is not None:
                peer.close()
        listening.close()

    run(body)


def test_a_passer_by_cannot_end_a_connection_but_the_returned_peer_can() -> None:
    async def body() -> None:
        port = free_port(socket.SOCK_STREAM)
        async with End(SERVER.format(port=port)) as end:
            peer = await dial(port)
            peer.send(framed(frame(1)))
            await end.machine.until(lambda: end.machine.frames == [frame(1)])
            passer_by = await dial(port)
            end.machine.send(frame(2))
            assert await received(peer) == framed(frame(2))
            returned = await dial(port)
            returned.send(framed(frame(3)))
            await end.machine.until(lambda: frame(3) in end.machine.frames)
            assert await received(peer) == b""
            end.machine.send(frame(4))
            assert await received(returned) == framed(frame(4))
            for sock in (peer, passer_by, returned):
                sock.close()

    run(body)


@pytest.mark.parametrize("length", [b"\0\0", b"\xff\xff"])
def test_a_length_that_cannot_be_resets_the_connection(length: bytes) -> None:
    async def body() -> None:
        port = free_port(socket.SOCK_STREAM)
        async with End(SERVER.format(port=port)) as end:
            peer = await dial(port)
            peer.send(framed(frame(1)) + length + b"x" * 50)
            await end.machine.until(lambda: bool(end.machine.frames))
            with pytest.raises(ConnectionResetError):
                await received(peer)
            await eventually(lambda: end.drops("wire received") == {"bad length": 1})
            peer.close()
            again = await dial(port)
            again.send(framed(frame(2)))
            await end.machine.until(lambda: frame(2) in end.machine.frames)
            again.close()

    run(body)


def test_a_tcp_server_with_a_remote_refuses_others() -> None:
    async def body() -> None:
        port = free_port(socket.SOCK_STREAM)
        async with End(SERVER.format(port=port) + " --remote 127.0.0.2") as end:
            stranger = await dial(port)
            assert await received(stranger) == b""
            assert end.drops("wire received") == {"connection not from the remote": 1}
            stranger.close()

    run(body)


def test_the_next_remote_is_tried_when_one_does_not_answer() -> None:
    async def body() -> None:
        closed, port = free_port(socket.SOCK_STREAM), free_port(socket.SOCK_STREAM)
        remotes = f"--remote 127.0.0.1 {closed} --remote 127.0.0.1 {port}"
        async with (
            End(SERVER.format(port=port)) as server,
            End(f"--dev tap {remotes} --proto tcp-client --disable-occ") as client,
        ):
            await client.until_connected()
            client.machine.send(frame(1))
            await server.machine.until(lambda: server.machine.frames == [frame(1)])

    run(body)


def test_a_refused_connection_is_told_in_plain_words() -> None:
    async def body() -> None:
        closed = free_port(socket.SOCK_STREAM)
        end = End(CLIENT.format(port=closed))
        told = listening(end.link, "a refused connection")
        async with end:
            await eventually(lambda: len(told) > 1)
        assert told == [
            (logging.INFO, f"waiting for 127.0.0.1:{closed} tcp-client"),
            (logging.INFO, f"127.0.0.1:{closed}: Connection refused"),
        ]

    run(body)


@pytest.mark.parametrize("fault", [RuntimeError("a fault of our own"), ElementError("cannot be")])
def test_a_first_attempt_that_fails_neither_hangs_nor_dies_unheard(
    fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def body() -> None:
        end = End(
            f"--dev tap --local 127.0.0.1 --lport {free_port()} --remote 127.0.0.1 --connect-retry-max 1"
        )
        events = Events()

        def refuse(*_: object) -> None:
            raise fault

        monkeypatch.setattr(connector, "UdpPeer", refuse)
        end.link.status = events
        async with asyncio.timeout(10), end:
            await eventually(lambda: bool(events.failures))
        assert events.failures == [fault] or "gave up after 1 tries" in str(events.failures[0])

    run(body)


def test_a_link_gives_up_after_as_many_tries_as_it_was_told() -> None:
    async def body() -> None:
        closed = free_port(socket.SOCK_STREAM)
        end = End(f"--dev tap --remote 127.0.0.1 {closed} --proto tcp-client --connect-retry-max 1")
        events = Events()

        end.link.status = events
        async with end:
            await eventually(lambda: bool(events.failures))
        assert "gave up after 1 tries" in str(events.failures[0])

    run(body)


def test_a_peer_that_never_pings_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async def body() -> None:
        peer = bare_peer()
        port = free_port()
        there = f"--remote 127.0.0.1 {peer.getsockname()[1]} --ping-restart 1"
        async with End(f"--dev tap --local 127.0.0.1 --lport {port} {there}") as end:
            for number in (1, 2):
                before = end.link.peer
                peer.sendto(frame(number), ("127.0.0.1", port))
                await end.machine.until_number(number)
                await eventually(lambda before=before: end.link.peer not in (None, before))  # type: ignore[misc]
        peer.close()

    with caplog.at_level("WARNING", "tmelink"):
        run(body)
    assert caplog.text.count("never a ping, as TME and NME do") == 1


def test_keepalive_restarts_a_silent_udp_link_and_it_comes_back() -> None:
    async def body() -> None:
        peer = bare_peer()
        port = free_port()
        there = f"--remote 127.0.0.1 {peer.getsockname()[1]} --ping-restart 1"
        async with End(f"--dev tap --local 127.0.0.1 --lport {port} {there}") as end:
            first = end.link.peer
            assert first is not None
            await eventually(lambda: end.link.peer not in (None, first))
            peer.sendto(frame(1), ("127.0.0.1", port))
            await end.machine.until(lambda: end.machine.frames == [frame(1)])
        peer.close()

    run(body)

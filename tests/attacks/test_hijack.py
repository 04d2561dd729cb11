"""Attackers with the tls-crypt key that all share, and with session ids that they saw on the wire.

The control channel's wrapping is a fence and not an identity. In OpenVPN 2.6 a control packet moves nothing
either: only a data packet that the client's own keys open does.
"""

from __future__ import annotations

import struct

from tests.support.hub import FRAME, STATIC, Hub, addresses
from tests.support.tls_pair import carries, equals, up
from tests.support.wire import Wire, pieces, wall
from tmelink.openvpn.data import packet
from tmelink.openvpn.data.packet import Opcode
from tmelink.openvpn.tls import wrap as tls_wrap

ELSEWHERE = ("203.0.113.66", 6666)


def forged(session: bytes, acked: bytes, number: int) -> bytes:
    """An ACK_V1 of a client's session, as whoever has the tls-crypt key can make one."""
    codec = tls_wrap.Crypt(STATIC, server=False)
    head = packet.header(Opcode.ACK_V1, 0, session)
    return codec.seal(head, b"\1" + struct.pack(">I", 0) + acked, number, int(wall(0)))


def test_a_control_packet_from_elsewhere_moves_no_client() -> None:
    hub = Hub(tls_wrap.CryptKey(STATIC))
    address = addresses(1)[0]
    end = hub.client(address, 0, tls_wrap.CryptKey(STATIC))
    hub.run(5)
    session = end.sent[0][1:9]
    server = hub.server.session(0)._active
    assert server is not None
    for number in range(1000, 1010):
        for step in hub.server.receive([forged(session, server.local, number)], ELSEWHERE, hub.now):
            assert step.client != 0 or step.address == address
    assert hub.server.address(0) == address
    hub.take([hub.server.send(0, [FRAME], hub.now)])
    hub.run(6)
    assert end.frames == [FRAME]


def test_a_sniffed_session_id_takes_no_clients_place() -> None:
    """Somebody else begins a session of the same id elsewhere; the client's renewal of keys goes on."""
    hub = Hub(reneg_sec=20, hand_window=10)
    address = addresses(1)[0]
    end = hub.client(address, 0)
    hub.run(5)
    session = end.sent[0][1:9]
    [greeted] = hub.server.receive([end.sent[0]], ELSEWHERE, hub.now)
    [reply] = pieces(greeted.step.wire)
    acknowledged = packet.header(Opcode.ACK_V1, 0, session) + b"\1" + bytes(4) + reply[1:9]
    hub.server.receive([acknowledged], ELSEWHERE, hub.now)
    hub.run(35)
    hub.send(address, FRAME)
    hub.run(36)
    active = hub.server.session(0)._active
    assert active is not None
    assert active.current is not None
    assert (active.current.key_id, active.current.ready) == (1, True), "keys were renewed"
    assert (0, FRAME) in hub.frames


def test_two_ends_move_for_data_packets_only() -> None:
    wire = equals(wrap=tls_wrap.CryptKey(STATIC), floats=True, ping_restart=60)
    up(wire)
    session = wire.server.session
    assert session._active is not None
    home = session._active.address = ("192.0.2.1", 1)
    before = session._liveness.last_received
    for number in range(1000, 1010):
        sealed = forged(wire.client.sent[0][1:9], session._active.local, number)
        assert not session.receive([sealed], wire.now + 5, ELSEWHERE).authentic
    assert session._active.address == home
    assert session._liveness.last_received == before
    assert session.drops == {"control packet from another address": 10}
    moved = wire.client.session.send([FRAME], wire.now)
    assert session.receive(moved.wire, wire.now, ("192.0.2.1", 2)).authentic
    assert session._active.address == ("192.0.2.1", 2)


def test_a_data_packet_from_elsewhere_is_not_even_opened_without_float() -> None:
    wire = up(equals())
    session = wire.server.session
    assert session._active is not None
    session._active.address = ("192.0.2.1", 1)
    sealed = wire.client.session.send([FRAME], wire.now)
    assert not session.receive(sealed.wire, wire.now, ELSEWHERE).authentic
    assert session.drops == {"data packet from another address": 1}
    # Whoever copied it has not used it up.
    assert session.receive(sealed.wire, wire.now, ("192.0.2.1", 1)).frames == [FRAME]


def test_answers_go_to_who_asks_and_frames_to_the_peer() -> None:
    """Newcomers beside a peer that is up: each hears its own handshake, and only a whole one moves frames."""
    wire: Wire = up(equals(floats=True))
    session = wire.server.session
    reset = bytes((Opcode.CONTROL_HARD_RESET_CLIENT_V2 << 3,)) + b"stranger" + bytes(5)
    step = session.receive([reset], wire.now, ELSEWHERE)
    assert [address for address, _ in step.answers] == [ELSEWHERE]
    assert not step.wire
    assert not step.authentic
    [[reply]] = [pieces(items) for _, items in step.answers]
    assert len(reply) <= 3 * len(reset)
    carries(wire)


def test_a_crowd_from_one_host_keeps_nobody_else_out() -> None:
    """Half-done handshakes, as many as there may be and more, all from one host."""
    wire = up(equals())
    session = wire.server.session

    def begin(address: tuple[str, int], name: bytes) -> None:
        reset = bytes((Opcode.CONTROL_HARD_RESET_CLIENT_V2 << 3,)) + name + bytes(5)
        step = session.receive([reset], wire.now, address)
        [[reply]] = [pieces(items) for _, items in step.answers]
        acknowledged = packet.header(Opcode.ACK_V1, 0, name) + b"\1" + bytes(4) + reply[1:9]
        session.receive([acknowledged], wire.now, address)

    begin(("192.0.2.7", 1), b"honest..")
    for number in range(100):
        begin((ELSEWHERE[0], 1000 + number), b"x" + number.to_bytes(7, "big"))
    remotes = [newcomer.remote for newcomer in session._newcomers]
    assert b"honest.." in remotes
    assert len(remotes) <= 16


def test_an_answer_that_acknowledges_nothing_leads_no_client_away() -> None:
    """Blind: the address is known, the session id is not. OpenVPN takes the first that comes."""
    wire = equals()
    step = wire.client.session.connected(wire.now)
    for number in range(1, 20):
        forged = bytes((Opcode.CONTROL_HARD_RESET_SERVER_V2 << 3,)) + bytes(7) + bytes((number,)) + bytes(5)
        wire.client.session.receive([forged], wire.now, ("192.0.2.1", 1194))
    wire.do(wire.server, wire.server.session.connected(wire.now))
    wire.do(wire.client, step)
    wire.run(5)
    carries(wire)

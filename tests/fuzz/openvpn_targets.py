"""What OpenVPN's protocol brings from a network: control channel and data channel."""

from __future__ import annotations

import contextlib
from collections import Counter
from functools import cache
from random import Random

from tests.fuzz.target import STATIC, pieces, target
from tests.support import hub
from tests.support.grouped import plain, tls
from tests.support.wire import wall
from tmelink.errors import ProtocolError
from tmelink.frame import Run
from tmelink.openvpn import occ
from tmelink.openvpn.data import packet, records
from tmelink.openvpn.data.aead import SUITES, AeadKeys
from tmelink.openvpn.data.compress import CompressionFramer
from tmelink.openvpn.data.direction import split
from tmelink.openvpn.data.fragment import Fragments
from tmelink.openvpn.data.record_length import RecordLength
from tmelink.openvpn.data.slices import MOST, Slices
from tmelink.openvpn.plain.point_to_point import PointToPoint
from tmelink.openvpn.secret import Secret
from tmelink.openvpn.server.auth_token import AuthTokens
from tmelink.openvpn.server.server import TlsServer
from tmelink.openvpn.settings import Compression
from tmelink.openvpn.tls import key_method, peer_info, push_messages, wrap
from tmelink.openvpn.tls.cookie import Cookies
from tmelink.openvpn.tls.session import TlsSession

# OpenVPN's control channel


@target
def control_packet(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        opcode, _, _ = packet.parse_header(data)
        packet.parse_body(opcode, data[packet.HEADER :])


@cache
def _codecs() -> list[wrap.WrapCodec]:
    crypt = wrap.CryptKey(STATIC)
    return [wrap.codec(key, server=True) for key in (None, wrap.AuthKey(STATIC, 0), crypt)]


@target
def control_wrapping(data: bytes) -> None:
    for codec in _codecs():
        with contextlib.suppress(ProtocolError):
            codec.open(data)


@cache
def _server_key() -> wrap.ServerKey:
    return wrap.parse_server_key(wrap.generate_server_key())


@target
def client_key(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        _, wrapped = wrap.split_wrapped_key(data)
        wrap.unwrap_client_key(_server_key().key, wrapped)


@cache
def _cookies() -> list[Cookies]:
    return [Cookies(key, 60) for key in (None, wrap.CryptKey(STATIC), _server_key())]


@target
def first_packet(data: bytes) -> None:
    for cookies in _cookies():
        with contextlib.suppress(ProtocolError):
            cookies.greet(data, ("192.0.2.1", 1194), 1.0, 1.7e9)


@target
def introduction(data: bytes) -> None:
    for from_client in (False, True):
        with contextlib.suppress(ProtocolError):
            found = key_method.parse(data, from_client=from_client)
            if found is not None:
                info = peer_info.parse(found[0].peer_info)
                peer_info.proto(info)
                peer_info.options_cipher(found[0].options)
                occ.differences(found[0].options, "V4,dev-type tap")


@target
def push_message(data: bytes) -> None:
    for message in push_messages.split_messages(data)[0]:
        push_messages.parse_reply(message)
        push_messages.parse_update(message)
        push_messages.parse_refusal(message)
        push_messages.parse_farewell(message, push_messages.RESTART)
        push_messages.parse_login_address(message)
        push_messages.parse_pending(message)


@target
def server_datagrams(data: bytes) -> None:
    for wrapping in (None, _server_key()):
        server = TlsServer(tls(server=True, wrap=wrapping), hub.SERVER, wall)
        for number, datagram in enumerate(pieces(data)):
            server.receive([datagram], ("192.0.2.1", 1 + number % 3), number / 10)
            server.tick(number / 10)


@cache
def _client_key() -> wrap.ClientKey:
    return wrap.ClientKey(STATIC, wrap.wrap_client_key(_server_key().key, STATIC, b""))


@target
def client_datagrams(data: bytes) -> None:
    for wrapping in (None, _client_key()):
        client = TlsSession(tls(server=False, mode="pull", wrap=wrapping), hub.CLIENTS[0], wall)
        client.connected(0.0)
        for number, datagram in enumerate(pieces(data)):
            client.receive([datagram], number / 10, ("192.0.2.1", 1194))
            client.tick(number / 10)


@cache
def _tokens() -> AuthTokens:
    return AuthTokens(STATIC[:32], lifetime=60, renewal=10)


@target
def auth_token(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        _tokens().judge("amy", "SESS_ID_AT_" + data.decode("utf-8", "replace"), 1.7e9, None)


# OpenVPN's data channel


def _link(data: bytes, **options: object) -> None:
    session = PointToPoint(plain(**options), Random(1).randbytes, 1_700_000_000)
    session.connected(0.0)
    for number, datagram in enumerate(pieces(data)):
        session.receive([datagram], number / 10)


@target
def bare_link(data: bytes) -> None:
    _link(data)


@target
def bare_ip_link(data: bytes) -> None:
    _link(data, kind="ip", fragment=600, framing="stub-v2")


@target
def super_frame_link(data: bytes) -> None:
    _link(data, proto="tcp-client", super_frames=True)


@target
def record_slices(data: bytes) -> None:
    joined = Slices(Counter())
    for number, piece in enumerate(pieces(data)):
        sealed = joined.join([piece], 8, number / 10)
        sealed += joined.join(Run(memoryview(piece), 1 + number), 8, number / 10) if piece else []
        for record in sealed:
            records.open(_record_keys(), 4, record)


@cache
def _record_keys() -> AeadKeys:
    return AeadKeys(SUITES["AES-256-GCM"], *split(STATIC, server=False), Counter())


@target
def loss_report(data: bytes) -> None:
    chosen = RecordLength()
    for piece in pieces(data):
        chosen.reported(piece)
        assert 0 <= chosen.most <= MOST


@target
def static_key_link(data: bytes) -> None:
    _link(data, key=Secret(STATIC), cipher="AES-256-CBC")


@target
def fragments(data: bytes) -> None:
    joined = Fragments(100, 2000, Counter())
    for piece in pieces(data):
        with contextlib.suppress(ProtocolError):
            joined.join(piece, 0.0)


@cache
def _framers() -> list[CompressionFramer]:
    return [
        CompressionFramer(Compression(kind, "asym"), 1600) for kind in ("lz4", "lz4-v2", "stub-v2", "stub")
    ]


@target
def compression(data: bytes) -> None:
    for framer in _framers():
        with contextlib.suppress(ProtocolError):
            framer.unframe(data)


@target
def occ_message(data: bytes) -> None:
    one = occ.Occ("V4,dev-type tap", "V4,dev-type tap", largest=1500, mtu_test=True)
    for body in pieces(data):
        one.receive(body, 5.0, Random(1).randbytes)

"""Parsers that a network, a file or a guest reaches, each as a function of some bytes.

A target lets through what its parser declares to raise, and nothing else. What it needs is made once, when
it is first called; state by which one input would change the next is made anew.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from functools import cache
from ipaddress import IPv4Interface, IPv6Interface
from random import Random
from typing import Final

from tests.support.grouped import plain
from tests.support.options_of import read as read_options
from tmelink import ethernet
from tmelink.control import protocol
from tmelink.encapsulation import vxlan
from tmelink.encapsulation.codec import TunnelCodec
from tmelink.encapsulation.etherip import EtherIpCodec
from tmelink.encapsulation.gre import GreCodec
from tmelink.encapsulation.ipip import IpipCodec
from tmelink.encapsulation.outer import Outer
from tmelink.errors import MachineError, ProtocolError
from tmelink.frame import Burst, Counters
from tmelink.machine import load
from tmelink.offload import coalesce
from tmelink.offload.check import checked
from tmelink.offload.mss import clamp_mss
from tmelink.offload.segment import cut
from tmelink.offload.virtio import decode_header
from tmelink.openvpn import keys, occ
from tmelink.openvpn.data import packet
from tmelink.openvpn.data.compress import CompressionFramer
from tmelink.openvpn.data.fragment import Fragments
from tmelink.openvpn.options.config_file import read as read_config
from tmelink.openvpn.plain.point_to_point import PointToPoint
from tmelink.openvpn.secret import Secret
from tmelink.openvpn.settings import Compression
from tmelink.openvpn.tls import key_method, peer_info, push_messages, wrap
from tmelink.openvpn.tls.cookie import Cookies
from tmelink.source import Mistake
from tmelink.stack.interface import Interface
from tmelink.transport import socks, vde

Target = Callable[[bytes], None]

TARGETS: Final[dict[str, Target]] = {}
STATIC: Final = bytes(range(256))
MAC: Final = b"\x02\0\0\0\0\1"


def target(function: Target) -> Target:
    """Add one."""
    TARGETS[function.__name__] = function
    return function


def pieces(data: bytes) -> list[bytes]:
    """Datagrams, each after its length in one byte."""
    found = []
    while data:
        found.append(data[1 : 1 + data[0]])
        data = data[1 + data[0] :]
    return found


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


# Frames and packets


@target
def host_stack(data: bytes) -> None:
    interface = Interface(MAC, inet=IPv4Interface("10.0.0.1/24"), inet6=IPv6Interface("fd00::1/64"), mtu=1500)
    kinds = (ethernet.IPV4, ethernet.IPV6, ethernet.ARP)
    for piece in pieces(data):
        kind = kinds[piece[0] % 3] if piece else ethernet.IPV4
        interface.receive([ethernet.build(MAC, b"\x02\0\0\0\0\2", kind, piece[1:])], 1.0)
    interface.tick(100.0)


@target
def super_frame(data: bytes) -> None:
    gso = decode_header(data[:10])
    if gso is not None:
        for ip in (False, True):
            label = checked(data[10:], gso, 65535, ip=ip)
            if label is not None:
                cut(Burst([data[10:]], [label]), Counters(), ip=ip)


@target
def tcp_options(data: bytes) -> None:
    for ip in (False, True):
        clamp_mss(data, 1200, 1180, ip=ip)


@target
def joined_frames(data: bytes) -> None:
    for ip in (False, True):
        coalesce(pieces(data), ip=ip)


@cache
def _tunnels() -> list[TunnelCodec]:
    return [
        IpipCodec(),
        EtherIpCodec(),
        GreCodec("ethernet", key=1, checksum=True),
        GreCodec("ip", sequence=True),
    ]


@target
def tunnel_packet(data: bytes) -> None:
    for codec in _tunnels():
        for number in codec.protocols:
            with contextlib.suppress(ProtocolError):
                codec.open(number, memoryview(data))


@target
def outer_packet(data: bytes) -> None:
    outer = Outer(bytes((192, 0, 2, 1)), 64, Counter())
    for piece in pieces(data):
        with contextlib.suppress(ProtocolError):
            outer.unwrap(piece, 1.0)


@target
def vxlan_packet(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        vxlan.open_frame(memoryview(data), 7)


# Programs beside tmelink


@target
def vde_request(data: bytes) -> None:
    with contextlib.suppress(ProtocolError, ValueError):
        vde.parse(data)
    with contextlib.suppress(ProtocolError):
        vde.path(data)


@target
def socks_datagram(data: bytes) -> None:
    socks.unwrap(memoryview(data))


@target
def control_socket(data: bytes) -> None:
    for line in protocol.Lines(200).feed(data + b"\n"):
        answer = protocol.read_request(line)
        if isinstance(answer, protocol.Failure):
            protocol.encode(answer)
        protocol.read_message(line)


# Files


@target
def key_file(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        keys.parse(data)
    with contextlib.suppress(ValueError):
        wrap.parse_client_key(data)


@target
def config_file(data: bytes) -> None:
    mistakes: list[Mistake] = []
    read_config(data, "a.ovpn", mistakes.append)
    for mistake in mistakes:
        mistake.render()


@target
def options(data: bytes) -> None:
    text = data.decode("utf-8", "replace").replace("\n", " ").replace("\r", " ")
    with contextlib.suppress(ValueError):
        read_options(text)


@target
def machine_file(data: bytes) -> None:
    with contextlib.suppress(MachineError):
        load(data.decode("utf-8", "replace") + "\n")

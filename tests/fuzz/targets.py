"""Parsers that a network, a file or a guest reaches, each as a function of some bytes.

A target lets through what its parser declares to raise, and nothing else. What it needs is made once, when
it is first called; state by which one input would change the next is made anew.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from functools import cache
from ipaddress import IPv4Interface, IPv6Interface

from tests.devices.memory import Memory
from tests.fuzz import openvpn_targets
from tests.fuzz.target import MAC, TARGETS, pieces, target
from tests.support.options_of import read as read_options
from tmelink import ethernet
from tmelink.control import protocol
from tmelink.devices.am7990 import RAP, RDP, Lance
from tmelink.devices.virtio_net import VirtioNetDevice
from tmelink.elements.builtin import loop_probe
from tmelink.encapsulation import vxlan
from tmelink.encapsulation.codec import TunnelCodec
from tmelink.encapsulation.etherip import EtherIpCodec
from tmelink.encapsulation.gre import GreCodec
from tmelink.encapsulation.ipip import IpipCodec
from tmelink.encapsulation.ipx import from_frame, parse_ipx
from tmelink.encapsulation.l2tpv3 import L2tpSession
from tmelink.encapsulation.outer import Outer
from tmelink.errors import MachineError, ProtocolError
from tmelink.frame import Burst, Counters
from tmelink.importers import hecnet, qemu_line
from tmelink.inline import netem_words
from tmelink.machine import load
from tmelink.offload import coalesce
from tmelink.offload.check import checked
from tmelink.offload.mss import clamp_mss
from tmelink.offload.segment import cut
from tmelink.offload.virtio import decode_header
from tmelink.openvpn import keys
from tmelink.openvpn.options.config_file import read as read_config
from tmelink.openvpn.tls import wrap
from tmelink.source import Mistake, Source
from tmelink.stack.interface import Interface
from tmelink.stack.router import Router
from tmelink.stack.too_big import fitted_frame
from tmelink.transport import socks, vde
from tmelink.transport.handshakes import HandshakeError
from tmelink.transport.http_login import User, answer, is_stale
from tmelink.transport.streams import FRAMINGS, Framer

__all__ = ["TARGETS", "openvpn_targets"]


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


@target
def l2tp_message(data: bytes) -> None:
    for udp in (False, True):
        L2tpSession(7, cookie=b"1234", counter=udp, udp=udp).open(memoryview(data))


@target
def ipx_frame(data: bytes) -> None:
    found = from_frame(bytes(12) + data[:2].ljust(2, b"\0") + data[2:])
    if found is not None:
        with contextlib.suppress(ProtocolError):
            parse_ipx(found)


@target
def probe(data: bytes) -> None:
    frame = loop_probe.build_probe(loop_probe.Probe(bytes(8), 1, 1))[:14] + data
    found = loop_probe.parse_probe(frame)
    if found is not None:
        loop_probe.handed_on(frame, found, loop_probe.ProbeHop(bytes(8), came=True, went=False))


@target
def long_frame(data: bytes) -> None:
    for longest in (90, 1280):
        with contextlib.suppress(ProtocolError):
            fitted_frame(data, longest)


@target
def gateway(data: bytes) -> None:
    router = Router(MAC, inet=IPv4Interface("10.0.0.1/24"), inet6=IPv6Interface("fd00::1/64"))
    for piece in pieces(data):
        if len(piece) > 1 and piece[0] & 1:
            router.from_tunnel(Burst([piece[1:]]), 1.0)
        elif piece:
            kind = (ethernet.IPV4, ethernet.IPV6)[piece[0] >> 1 & 1]
            router.from_ethernet(Burst([ethernet.build(MAC, b"\x02\0\0\0\0\2", kind, piece[1:])]), 1.0)
    router.tick(100.0)


# Guests


def _repeated(data: bytes, size: int) -> bytes:
    return ((data or b"\0") * (size // max(1, len(data)) + 1))[:size]


@target
def lance(data: bytes) -> None:
    memory = Memory(1 << 12)
    memory.data[:] = _repeated(data, 1 << 12)
    chip = Lance(memory)
    for register, value in ((1, 0), (2, 0), (0, 1), (0, 2), (0, 8)):
        chip.write(RAP, register)
        chip.write(RDP, value)
    for piece in pieces(data):
        if len(piece) > 2:
            chip.write((RAP, RDP)[piece[0] & 1], int.from_bytes(piece[1:3], "big"))
            chip.ready(piece)
            chip.receive(piece)
        chip.poll()


@target
def virtio(data: bytes) -> None:
    memory = Memory(1 << 12)
    memory.data[:] = _repeated(data, 1 << 12)
    device = VirtioNetDevice(memory, MAC)
    for piece in pieces(data):
        if len(piece) > 4:
            device.write(piece[0] * 4, int.from_bytes(piece[1:5], "little"))
            device.read(piece[0] * 4)
        device.receive(piece)


# Programs beside tmelink


@target
def stream(data: bytes) -> None:
    for prefix in FRAMINGS.values():
        framer = Framer(1600, prefix)
        for piece in pieces(data):
            framer.room()[: len(piece)] = piece
            framer.feed(len(piece))


@target
def http_challenge(data: bytes) -> None:
    lines = data.decode("latin-1").splitlines()
    is_stale(lines)
    with contextlib.suppress(HandshakeError):
        answer(User("auto", "amy", "secret"), "host:1194", lines)


@target
def impairment_words(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        netem_words.request(data.decode("utf-8", "replace").split())


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
def imported_hecnet(data: bytes) -> None:
    with contextlib.suppress(MachineError):
        hecnet.machine_file(Source("bridge.conf", data.decode("utf-8", "replace")), 4711)


@target
def imported_qemu(data: bytes) -> None:
    with contextlib.suppress(ValueError):  # a quote that is not closed
        qemu_line.machine_file(Source("start.sh", "qemu-system-x86_64 " + data.decode("utf-8", "replace")))


@target
def machine_file(data: bytes) -> None:
    with contextlib.suppress(MachineError):
        load(data.decode("utf-8", "replace") + "\n")

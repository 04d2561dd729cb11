"""Packet sockets: every frame of one interface, read and written raw (packet(7)).

This module knows the socket, its filter and its options, and when interfaces come and go. The element decides
what happens to the frames.
"""

from __future__ import annotations

import asyncio
import ctypes
import socket
import struct
import subprocess
import sys

from tmelink.errors import ElementError, MissingCapability
from tmelink.system.namespaces import require_linux

OUTGOING = 4
"""sll_pkttype of a frame that this host sends."""

CONTROL = 16 + 24
"""Bytes of control data to receive with a frame: one cmsghdr and a tpacket_auxdata of 20 bytes, aligned."""

RECEIVE_BUFFER = 4 * 1024 * 1024
"""Bytes that wait in the kernel while other elements run: thirty milliseconds at 1 Gbit/s."""

COMPILE_SECONDS = 10
"""For tcpdump to compile a filter; host names in one have to be looked up."""

# socket.SOL_PACKET and the option names are not in Python's socket module (linux/if_packet.h).
_SOL_PACKET = 263
_ADD_MEMBERSHIP, _STATISTICS, _AUXDATA, _VNET_HDR, _IGNORE_OUTGOING = 1, 6, 8, 15, 23
_MR_PROMISC = 1
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE = 26, 33
_ETH_P_ALL = 0x0003
_ARPHRD_ETHER, _ARPHRD_LOOPBACK = 1, 772
_RTMGRP_LINK = 1
_VLAN_VALID, _VLAN_TPID_VALID = 0x10, 0x40
_VLAN = 0x8100
_AUXILIARY = struct.Struct("=IIIHHHH")
_STATUS_LOW = 0 if sys.byteorder == "little" else 3  # the byte of its status that nearly always decides

Program = list[tuple[int, int, int, int]]
"""A filter for the kernel: (code, jt, jf, k) for each instruction (linux/filter.h)."""


def open_packets() -> socket.socket:
    """A packet socket that is not bound yet and receives nothing.

    Frames come and go with a virtio_net_hdr before them, so that super-frames and unfinished checksums are
    labelled. Raises `MissingCapability`.
    """
    require_linux("a packet socket")
    try:
        packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    except PermissionError as error:
        raise MissingCapability("opening a packet socket", "CAP_NET_RAW") from error
    packets.setblocking(False)
    packets.setsockopt(_SOL_PACKET, _VNET_HDR, 1)
    packets.setsockopt(_SOL_PACKET, _AUXDATA, 1)
    try:
        packets.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER)
    except PermissionError:
        # Without CAP_NET_ADMIN the host's limit (net.core.rmem_max) holds.
        packets.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    return packets


def bind(packets: socket.socket, interface: str) -> None:
    """Receive and send on `interface`, in promiscuous mode; raises `ElementError`."""
    try:
        packets.bind((interface, _ETH_P_ALL))
        hardware = packets.getsockname()[3]
        if hardware not in (_ARPHRD_ETHER, _ARPHRD_LOOPBACK):
            raise ElementError(f"the interface {interface} carries no Ethernet frames")
        # On the loopback each frame is seen twice, once going out and once coming in.
        packets.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, hardware == _ARPHRD_LOOPBACK)
        membership = struct.pack("=iHH8s", socket.if_nametoindex(interface), _MR_PROMISC, 0, b"")
        packets.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, membership)
    except OSError as error:
        raise ElementError(f"listening on the interface {interface}: {error.strerror}") from error


def is_bound(packets: socket.socket) -> bool:
    """Whether its interface is still there; the kernel lets go of one that is removed."""
    return bool(packets.getsockname()[0])


async def compile_filter(expression: str, interface: str) -> Program:
    """The kernel's program for a pcap-filter(7) expression; raises `ElementError` with tcpdump's message.

    tcpdump compiles it because it does so for the very interface: its link type, and VLAN tags that the
    kernel keeps beside the frame. libpcap alone has no stable binding that could be depended on.
    """
    command = ("tcpdump", "-i", interface, "-p", "-ddd", expression)
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except FileNotFoundError:
        raise ElementError("a filter needs the program tcpdump; install it or write 'filter none'") from None
    try:
        async with asyncio.timeout(COMPILE_SECONDS):
            output, errors = await process.communicate()
    except TimeoutError:
        raise ElementError(f"tcpdump took over {COMPILE_SECONDS} s to compile the filter") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        message = errors.decode(errors="replace").strip().splitlines()
        raise ElementError(
            f"filter '{expression}': {message[-1].removeprefix('tcpdump: ') if message else ''}"
        )
    # The first line is the number of those that follow.
    instructions = [tuple(map(int, line.split())) for line in output.decode().splitlines()[1:]]
    return [(code, if_true, if_false, k) for code, if_true, if_false, k in instructions]


def attach_filter(packets: socket.socket, program: Program) -> None:
    """Let the kernel hand over only frames that `program` accepts."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in program))
    fprog = struct.pack("HL", len(program), ctypes.addressof(code))
    packets.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)


def stripped_tag(auxiliary: bytes) -> bytes | None:
    """The four bytes of the VLAN tag that the kernel took out of a frame, or None if there was none."""
    if not auxiliary[_STATUS_LOW] & _VLAN_VALID:
        return None
    status, _, _, _, _, tag, protocol = _AUXILIARY.unpack_from(auxiliary)
    return struct.pack("!HH", protocol if status & _VLAN_TPID_VALID else _VLAN, tag)


def lost(packets: socket.socket) -> int:
    """Frames that found the receive buffer full since the last call."""
    _seen, dropped = struct.unpack("=II", packets.getsockopt(_SOL_PACKET, _STATISTICS, 8))
    return int(dropped)


def watch_links() -> socket.socket:
    """A socket that becomes readable when an interface comes, changes or goes (rtnetlink(7))."""
    watch = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
    watch.bind((0, _RTMGRP_LINK))
    return watch


def index_of(interface: str) -> int | None:
    """The index of an interface, or None if there is none of that name."""
    try:
        return socket.if_nametoindex(interface)
    except OSError:
        return None

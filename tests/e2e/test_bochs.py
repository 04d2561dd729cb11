"""Bochs, by its "socket" network module: its network card boots, gets an address and answers pings."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.support.netns import Net

pytestmark = [pytest.mark.needs_root, pytest.mark.needs("ip", "ping", "bochs")]

BOOT_SECONDS = 60
"""Until the guest asks for an address, which takes two seconds on an idle processor."""

CONFIGURATION = """
display_library: rfb, options="timeout=0"
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/vgabios/vgabios.bin
cpu: ips=20000000
megs: 32
pci: enabled=1, chipset=i440fx, slot1=e1000
e1000: enabled=1, mac=52:54:00:77:00:07, ethmod=socket, ethdev=5021:127.0.0.1, \
bootrom=/usr/lib/ipxe/qemu/pxe-e1000.rom
boot: network
log: {folder}/bochs.log
"""
"""A PC without a disk, which boots what its network card brings along: iPXE."""

DISCOVER, OFFER, REQUEST, ACK = 1, 2, 3, 5
"""DHCP's messages (RFC 2132, section 9.6)."""

MESSAGE = bytes([53, 1])

GUEST, OWN, MASK = (socket.inet_aton(each) for each in ("10.0.78.2", "10.0.78.1", "255.255.255.0"))


def answer(asked: bytes, kind: int) -> bytes:
    """What a DHCP server says to a guest that is to boot from it (RFC 2131, section 2)."""
    fixed = bytes([2, 1, 6, 0]) + asked[4:8] + bytes(2) + asked[10:12] + bytes(4) + GUEST + OWN + bytes(4)
    options = MESSAGE + bytes([kind, 54, 4]) + OWN + bytes([51, 4, 0, 0, 14, 16, 1, 4]) + MASK + b"\xff"
    return fixed + asked[28:44] + bytes(64) + b"guest".ljust(128, b"\0") + asked[236:240] + options


async def serve() -> list[int]:
    """Answer on tap0 until the guest has its address; the messages that came."""
    heard: list[int] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"tap0")
        server.bind(("", 67))
        server.settimeout(BOOT_SECONDS)
        while REQUEST not in heard:
            asked = server.recv(2048)
            heard.append(asked[asked.index(MESSAGE, 240) + len(MESSAGE)])
            server.sendto(answer(asked, ACK if heard[-1] == REQUEST else OFFER), ("255.255.255.255", 68))
    return heard


def test_a_guest_gets_an_address_and_answers(net: Net, tmp_path: Path) -> None:
    host = net.namespace()
    host.tmelink(
        "tap0: tme/host/tun/tap interface tap0 inet 10.0.78.1/24\n"
        'bochs at tap0: tmelink/udp local "127.0.0.1:5022" remote "127.0.0.1:5021"\n'
    )
    (tmp_path / "bochsrc").write_text(CONFIGURATION.format(folder=tmp_path))
    # Debian's Bochs waits for its debugger to be told to go on.
    (tmp_path / "debugger").write_text("c\n")
    host.start("bochs", "-q", "-f", str(tmp_path / "bochsrc"), "-rc", str(tmp_path / "debugger"))
    heard = host.call(serve)
    assert heard[0] == DISCOVER
    assert heard[-1] == REQUEST, "the offer has reached the guest"
    host.ping("10.0.78.2", count=2)
    host.ping("10.0.78.2", count=2, size=1400)

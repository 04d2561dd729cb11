"""A program in Unicorn's x86 with a LANCE: it sends and answers ARP and ping over a link to another host.

    pip install tmelink unicorn
    python examples/unicorn_lance.py

The program is `lance_driver.s` beside this file. Its memory is the LANCE's bus; an access to the chip's two
ports goes to the element, and while the program halts, other things of the event loop run.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Literal

from unicorn import UC_ARCH_X86, UC_MODE_32, Uc
from unicorn.x86_const import UC_X86_REG_EIP

import tmelink
from tmelink.elements.builtin.am7990 import Am7990
from tmelink.elements.builtin.host import Host

RAM = 0x10000
PORTS = 0x100000
START = 0x1000
SLICE = 20_000
"""Instructions before the event loop has its turn."""

MAC = bytes.fromhex("02004c414e43")
IP, PEER = bytes((10, 0, 77, 1)), bytes((10, 0, 77, 2))

PROGRAM = bytes.fromhex(
    "bc00900000fc66c705003000000000a100200000a30230000066a10420000066a306300000c7050830000000000000c7"
    "050c30000000000000c7051030000000310040c7051430000000320040bf00310000b8004000808907c74704c0f90000"
    "c7870001000000000000054006000083c70881ff2031000075dd31ff31ed66c70502001000000066c705000010000400"
    "66c70502001000010066c70500001000003066c70502001000020066c70500001000000066c70502001000030066c705"
    "00001000000066c70502001000000066c70500001000010066a10000100066a9000174f466c705000010004201e86b02"
    "0000b8ffffffff890366894304c7430c08060001c743100800060466c743140001e82c020000c743200000000066c743"
    "240000a10c200000894326b92a000000e84002000066a1000010006625007f6683c84066a3000010008b04fd00310000"
    "85c0783469f74006000081c600400000a900000040751366817e0c0806741c66837e0c080f8495000000c604fd033100"
    "00804783e703ebc1f4ebaa8b46263b050820000075e466817e14000174248b461c3b050c20000075d18b4616a3102000"
    "00668b461a66a314200000e8eb000000ebb8e8960100008b46168903894320668b461a66894304668943248b461c8943"
    "26c7430c08060001c743100800060466c743140002e848010000b92a000000e871010000ff0518200000e96bffffff80"
    "7e0e450f8561ffffff807e17010f8557ffffff8b461e3b05082000000f8548ffffff807e22087422807e22000f8538ff"
    "ffff817e26123400010f852bffffffff0520200000e920ffffffe8fe0000000fb70cfd0631000083e90451565789dff3"
    "a45f5e8b46068903668b460a668943048b461a89431e8b461e89431ac64322006683432408668353240059e8d5000000"
    "ff051c200000e9cffeffffe8ad000000a110200000890366a11420000066894304c7430c08004500c74310003c0000c7"
    "43140000400166c743180000a10820000089431aa10c20000089431e578d7b22b90a00000031c0f3ab5fc6432208c743"
    "26123400018d530eb90a000000e81c000000668943188d5322b914000000e80b00000066894324b94a000000eb4731c0"
    "f86613028d52024975f76683d00066f7d0c3a10020000089431666a1042000006689431aa10820000089431cc38b04ed"
    "0032000085c078f569dd4006000081c300600000c3a10020000089430666a1042000006689430a83f93c7305b93c0000"
    "00f7d9c704ed043200000000000066890ced0432000089d80d000000838904ed0032000066c7050000100048004583e5"
    "03c3"
)

HALTED = START + PROGRAM.rindex(b"\xf4") + 1
"""Where the program goes on after its `hlt`, which is its last byte of that value."""

MACHINE = """
le0: tme/ic/am7990
link0 at le0: tme/host/openvpn/socket/link --local 127.0.0.1 --lport {0} --remote 127.0.0.1 --rport {1}
link1: tme/host/openvpn/socket/link --local 127.0.0.1 --lport {1} --remote 127.0.0.1 --rport {0}
peer at link1: tmelink/host inet 10.0.77.2/24
"""


class Computer:
    """A processor and memory; a `Bus` for the card."""

    byteorder: Literal["little", "big"] = "little"

    def __init__(self, card: Am7990) -> None:
        self.cpu = Uc(UC_ARCH_X86, UC_MODE_32)
        self.cpu.mem_map(0, RAM)
        self.cpu.mem_write(START, PROGRAM)
        self.cpu.mem_write(0x2000, MAC + bytes(2) + IP + PEER)
        self.cpu.mmio_map(PORTS, 0x1000, self._in, card, self._out, card)
        self.interrupted = asyncio.Event()
        card.attach(self)

    async def run(self) -> None:
        """Execute instructions until cancelled."""
        at = START
        while True:
            self.cpu.emu_start(at, -1 & 0xFFFFFFFF, count=SLICE)
            at = self.cpu.reg_read(UC_X86_REG_EIP)
            if at == HALTED:
                await self.interrupted.wait()
            await asyncio.sleep(0)

    def count(self, address: int) -> int:
        """A 32-bit number that the program keeps."""
        return int.from_bytes(self.cpu.mem_read(address, 4), "little")

    def _in(self, cpu: Uc, offset: int, size: int, card: Any) -> int:
        return card.read(offset)

    def _out(self, cpu: Uc, offset: int, size: int, value: int, card: Any) -> None:
        card.write(offset, value)

    # The bus

    def holds(self, address: int, length: int) -> bool:
        return address >= 0 and address + length <= RAM

    def read(self, address: int, length: int) -> bytes:
        return bytes(self.cpu.mem_read(address, length))

    def write(self, address: int, data: bytes) -> None:
        self.cpu.mem_write(address, data)

    def interrupt(self, raised: bool) -> None:
        if raised:
            self.interrupted.set()
        else:
            self.interrupted.clear()


def free_ports() -> tuple[int, ...]:
    with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket(type=socket.SOCK_DGRAM) as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        return tuple(each.getsockname()[1] for each in (one, other))


async def main() -> None:
    async with tmelink.load(MACHINE.format(*free_ports())).run() as lab:
        card, peer = lab["le0"], lab["peer"]
        assert isinstance(card, Am7990)
        assert isinstance(peer, Host)
        computer = Computer(card)
        running = asyncio.create_task(computer.run())
        try:
            result = await peer.ping("10.0.77.1", count=3, interval=0.01, timeout=5)
            print(result)
        finally:
            running.cancel()
        print(f"the program answered ARP {'yes' if computer.count(0x2018) else 'no'}")
        print(f"the program answered {computer.count(0x201C)} pings")
        print(f"the program's own ping was answered {computer.count(0x2020)} times")


if __name__ == "__main__":
    asyncio.run(main())

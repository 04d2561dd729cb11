"""The LANCE as an element: a plain card until it has a bus, then rings fed from its queue."""

from __future__ import annotations

import asyncio

import pytest

import tmelink
from tests.devices.memory import Memory
from tests.support.aio import run
from tmelink.elements.builtin.am7990 import RAP, RDP, Am7990

WORKSTATION = """
obio0: tme/generic/bus size 24
le0 at obio0 addr 0x1C0000 ipl 3: tme/ic/am7990 x 1
le0 at obio0 dma
le0 at n0
"""
MAC = bytes.fromhex("080020112233")


def frame(number: int = 0) -> bytes:
    return MAC + MAC + b"\x08\x00" + bytes([number]) * 46


def loaded() -> tmelink.Machine:
    return tmelink.load("n0: tmelink/nic\n" + WORKSTATION, network_only=True)


def test_without_a_bus_it_is_a_card() -> None:
    async def body() -> None:
        async with loaded().run() as lab:
            le0, n0 = lab.nic("le0"), lab.nic("n0")
            assert isinstance(le0, Am7990)
            n0.send(frame())
            assert await le0.recv() == frame()
            le0.send(frame(1))
            assert await n0.recv() == frame(1)
            with pytest.raises(RuntimeError, match="le0 has no bus"):
                le0.read(RDP)

    run(body)


def test_with_a_bus_frames_wait_for_the_ring() -> None:
    async def body() -> None:
        async with loaded().run() as lab:
            le0, n0 = lab["le0"], lab.nic("n0")
            assert isinstance(le0, Am7990)
            memory = Memory(0x1000, byteorder="big")
            le0.attach(memory)
            # Mode and address, no groups; rings of two at 0x100 and of one at 0x200.
            memory.put_words(0, 0, 0x0008, 0x1120, 0x3322, 0, 0, 0, 0, 0x100, 1 << 13, 0x200, 0)

            def give(number: int) -> None:
                memory.put_words(0x100 + 8 * number, 0x400 + 0x80 * number, 0x8000, -0x80 & 0xFFFF, 0)

            give(0)
            give(1)
            for register, value in ((1, 0), (2, 0), (3, 4), (0, 0x43)):
                le0.write(RAP, register)
                le0.write(RDP, value)
            for number in range(4):
                n0.send(frame(number))
            assert memory.raised
            assert len(le0.waiting) == 2
            assert [memory.read(0x400 + 0x80 * at, 60) for at in (0, 1)] == [frame(0), frame(1)]
            # The driver says nothing when it gives buffers back, nor when it has something to send.
            give(0)
            give(1)
            memory.write(0x600, frame(9))
            memory.put_words(0x200, 0x600, 0x8300, -60 & 0xFFFF, 0)
            assert await asyncio.wait_for(n0.recv(), 10) == frame(9)
            assert not le0.waiting
            assert [memory.read(0x400 + 0x80 * at, 60) for at in (0, 1)] == [frame(2), frame(3)]
            lab.disconnect("le0")
            memory.put_words(0x200, 0x600, 0x8300, -60 & 0xFFFF, 0)
            le0.write(RDP, 8)
            assert memory.word(0x202) == 0x4300
            assert memory.word(0x206) == 0x0800

    run(body)


def test_a_large_frame_waits_for_all_its_buffers() -> None:
    """A hundred frames of 1514 bytes over four buffers of 512, which the driver gives back one by one."""

    async def body() -> None:
        async with loaded().run() as lab:
            le0, n0 = lab["le0"], lab.nic("n0")
            assert isinstance(le0, Am7990)
            memory = Memory(0x2000, byteorder="big")
            le0.attach(memory)
            memory.put_words(0, 0, 0x0008, 0x1120, 0x3322, 0, 0, 0, 0, 0x100, 2 << 13, 0x200, 0)

            def give(number: int) -> None:
                memory.put_words(0x100 + 8 * number, 0x400 + 0x200 * number, 0x8000, -0x200 & 0xFFFF, 0)

            for number in range(4):
                give(number)
            for register, value in ((1, 0), (2, 0), (3, 4), (0, 0x43)):
                le0.write(RAP, register)
                le0.write(RDP, value)
            sent = [MAC + MAC + b"\x08\x00" + bytes([number]) * 1500 for number in range(100)]
            got: list[bytes] = []
            data = b""
            at = 0
            for each in sent:
                n0.send(each)
            for _ in range(5000):
                # The driver: it takes what the chip has filled, and gives one buffer back at a time.
                status, length = memory.word(0x102 + 8 * at), memory.word(0x106 + 8 * at) & 0xFFF
                if not status & 0x8000:
                    assert not status & 0x4400, f"frame {len(got)} has no buffer for its end"
                    data += memory.read(0x400 + 0x200 * at, 0x200)
                    if status & 0x0100:
                        got.append(data[: length - 4])
                        data = b""
                    give(at)
                    at = (at + 1) % 4
                    le0.write(RAP, 0)
                elif len(got) == len(sent):
                    break
                else:
                    await asyncio.sleep(0.002)
            assert got == sent

    run(body)

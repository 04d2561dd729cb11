"""Two emulators of 1985 in one program, each with a loop and a thread of its own, on one Ethernet.

    python examples/two_cards.py

The first asks, the second answers; between them is a lab in a thread of tmelink's.
"""

from __future__ import annotations

import select
import threading

import tmelink

MACHINE = """
ask: tmelink/nic mac 02:00:00:00:00:01
answer: tmelink/nic mac 02:00:00:00:00:02
sw0: tmelink/switch
ask at sw0
answer at sw0
"""

ASK, ANSWER = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
LOOPBACK = bytes.fromhex("9000")
"""The EtherType of the Ethernet configuration testing protocol."""


def answering(nic: tmelink.ThreadedNic) -> None:
    """An emulator that sleeps until there is a frame, with whatever else it waits for."""
    buffer = bytearray(1514)
    try:
        while True:
            select.select([nic], [], [])
            if length := nic.recv_into(buffer, timeout=0):
                nic.send(buffer[6:12] + buffer[:6] + buffer[12:length])
    except tmelink.ClosedError:
        pass


def main() -> None:
    with tmelink.start(MACHINE) as lab:
        nic = lab.nic("ask")
        nic.on_link(lambda up: print("link up" if up else "link down"))
        emulator = threading.Thread(target=answering, args=(lab.nic("answer"),))
        emulator.start()
        nic.send(ANSWER + ASK + LOOPBACK + b"hello".ljust(46, b"."))
        print("got", nic.recv(timeout=10))
        lab.disconnect("ask")
    emulator.join()


if __name__ == "__main__":
    main()

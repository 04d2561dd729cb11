"""An emulator with one machine, which answers ARP and ping: `python -IS emulator.py SOCKET ADDRESS`.

It speaks QEMU's stream format on a unix socket, and imports nothing that takes long, so that it runs at once.
On SIGUSR1 it goes mad: it sends frames of any bytes, then a length that no frame has, and connects anew.
"""

from __future__ import annotations

import random
import signal
import socket
import sys
import time

TRIES = 50
"""To connect, a tenth of a second apart."""


class MadError(Exception):
    """SIGUSR1 came."""


def go_mad(_number: int, _frame: object) -> None:
    raise MadError


def answer(frame: bytearray, mac: bytes, own: bytes) -> bytearray | None:
    """What the machine answers to a frame."""
    if frame[12:14] == b"\x08\x06" and frame[20:22] == b"\0\1" and frame[38:42] == own:
        frame[32:42] = frame[22:32]
        frame[20:22], frame[22:32] = b"\0\2", mac + own
    elif frame[12:14] == b"\x08\0" and frame[23] == 1 and frame[30:34] == own and frame[34] == 8:
        frame[26:30], frame[30:34] = frame[30:34], frame[26:30]
        total = int.from_bytes(frame[36:38], "big") + 0x0800
        frame[34], frame[36:38] = 0, ((total & 0xFFFF) + (total >> 16)).to_bytes(2, "big")
    else:
        return None
    frame[0:6], frame[6:12] = frame[6:12], mac
    return frame


def connected(path: str) -> socket.socket:
    for _ in range(TRIES):
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(path)
        except OSError:
            sock.close()
            time.sleep(0.1)
        else:
            return sock
    sys.exit(1)


def serve(sock: socket.socket, mac: bytes, own: bytes) -> None:
    """Answer until the connection ends."""
    stream = sock.makefile("rb")
    while len(head := stream.read(4)) == 4:
        reply = answer(bytearray(stream.read(int.from_bytes(head, "big"))), mac, own)
        if reply is not None:
            sock.sendall(len(reply).to_bytes(4, "big") + reply)


def rave(sock: socket.socket) -> None:
    for _ in range(50):
        junk = random.randbytes(random.randrange(1500))
        sock.sendall(len(junk).to_bytes(4, "big") + junk)
    sock.sendall(b"\xff" * 4 + random.randbytes(1000))


def main() -> None:
    path, address = sys.argv[1:]
    own = bytes(map(int, address.split(".")))
    signal.signal(signal.SIGUSR1, go_mad)
    while True:
        try:
            with connected(path) as sock:
                try:
                    serve(sock, b"\2\0" + own, own)
                except MadError:
                    rave(sock)
        except (OSError, MadError):
            pass


if __name__ == "__main__":
    main()

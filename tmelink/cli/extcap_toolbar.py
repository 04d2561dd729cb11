"""The toolbar of an interface in Wireshark: a filter and a direction that change while it captures.

Wireshark and the program talk through two fifos, in messages of the "extcap" chapter of its guide: a
`T`, three bytes of length, the number of a control, a command, and a text.
"""

from __future__ import annotations

import contextlib
import struct
import threading
from collections.abc import Callable
from typing import IO

FILTER, DIRECTION = 0, 1
"""The numbers of the controls."""

CONTROLS = f"""\
control {{number={FILTER}}}{{type=string}}{{display=Filter}}{{tooltip=what is captured from now on}}
control {{number={DIRECTION}}}{{type=selector}}{{display=Direction}}{{tooltip=seen from the first element}}
value {{control={DIRECTION}}}{{value=both}}{{display=both directions}}{{default=true}}
value {{control={DIRECTION}}}{{value=out}}{{display=what the first element sends}}
value {{control={DIRECTION}}}{{value=in}}{{display=what the first element receives}}"""
"""What `--extcap-interfaces` says of them."""

_SET, _STATUS, _WARNING = 1, 6, 8
_NO_CONTROL = 255
_HEAD = struct.Struct("!cBHBB")


def message(control: int, command: int, text: str = "") -> bytes:
    """A message as it is in the fifos."""
    payload = text.encode()
    length = len(payload) + 2
    return _HEAD.pack(b"T", length >> 16, length & 0xFFFF, control, command) + payload


def read(stream: IO[bytes]) -> tuple[int, int, str] | None:
    """The next message: control, command and text; None at the end, and where it is not one."""
    head = stream.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    begin, high, low, control, command = _HEAD.unpack(head)
    length = (high << 16 | low) - 2
    if begin != b"T" or length < 0:
        return None
    return control, command, stream.read(length).decode(errors="replace")


class Toolbar:
    """The toolbar's settings; `changed` is called, in a thread, when somebody changes them."""

    def __init__(self, filter: str, direction: str) -> None:
        self.filter = filter
        self.direction = direction
        self.changed: Callable[[], None] = lambda: None
        self._out: IO[bytes] | None = None

    def open(self, heard: str | None, said: str | None) -> None:
        """Follow the toolbar through the fifos that Wireshark names; without them there is no toolbar."""
        if said is not None:
            self._out = open(said, "wb", buffering=0)  # noqa: SIM115 - as long as the process lives
            self._send(FILTER, _SET, self.filter)
            self._send(DIRECTION, _SET, self.direction)
        if heard is not None:
            # It ends with the process: Wireshark may keep the fifo open until then.
            threading.Thread(target=self._follow, args=(heard,), daemon=True).start()

    def status(self, text: str) -> None:
        """Show a text in Wireshark's status bar."""
        self._send(_NO_CONTROL, _STATUS, text)

    def warn(self, text: str) -> None:
        """Show a warning."""
        self._send(_NO_CONTROL, _WARNING, text)

    def _send(self, control: int, command: int, text: str) -> None:
        if self._out is not None:
            with contextlib.suppress(OSError):  # Wireshark has closed it
                self._out.write(message(control, command, text))

    def _follow(self, heard: str) -> None:
        with open(heard, "rb") as stream:
            while (told := read(stream)) is not None:
                control, command, text = told
                before = self.filter, self.direction
                if command == _SET and control == FILTER:
                    self.filter = text
                elif command == _SET and control == DIRECTION:
                    self.direction = text
                if (self.filter, self.direction) != before:
                    self.changed()

"""Filter expressions of pcap-filter(7), compiled once and run by libpcap: "udp port 53", "not ip6".

libpcap is loaded when the first expression is compiled; a program without filters needs none. Compiling asks
no interface and no privilege.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from collections.abc import Sequence
from functools import cache

from tmelink.errors import UnsupportedHere
from tmelink.frame import Frame, Kind

SNAPLEN = 65_535
"""Bytes of a frame that a filter may look at; more than any frame but a super-frame has."""

_LINK_TYPES: dict[Kind, int] = {"ethernet": 1, "ip": 12}
"""DLT_EN10MB and DLT_RAW (pcap-linktype(7))."""

_NO_NETMASK = 0xFFFFFFFF


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("jt", ctypes.c_ubyte),
        ("jf", ctypes.c_ubyte),
        ("k", ctypes.c_uint),
    )


class _BpfProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint), ("instructions", ctypes.POINTER(_Instruction)))


@cache
def _library() -> ctypes.CDLL:
    name = ctypes.util.find_library("pcap")
    if name is None:
        raise UnsupportedHere(
            "filter expressions need libpcap: install libpcap0.8, or tcpdump, which brings it"
        )
    library = ctypes.CDLL(name)
    library.pcap_open_dead.restype = ctypes.c_void_p
    library.pcap_open_dead.argtypes = [ctypes.c_int, ctypes.c_int]
    library.pcap_close.argtypes = [ctypes.c_void_p]
    library.pcap_geterr.restype = ctypes.c_char_p
    library.pcap_geterr.argtypes = [ctypes.c_void_p]
    library.pcap_compile.argtypes = [
        ctypes.c_void_p,
        ctypes.POINTER(_BpfProgram),
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_uint,
    ]
    library.pcap_freecode.argtypes = [ctypes.POINTER(_BpfProgram)]
    library.bpf_filter.restype = ctypes.c_uint
    library.bpf_filter.argtypes = [
        ctypes.POINTER(_Instruction),
        ctypes.c_char_p,
        ctypes.c_uint,
        ctypes.c_uint,
    ]
    return library


_LONGEST_HEADER = 60
"""Bytes of the longest IPv4 header, which is what a program adds to an offset."""


def _looks_at(program: _BpfProgram) -> int:
    """How many bytes of a frame a program looks at, at most (the instructions are those of bpf(4))."""
    most, computed = 0, False
    for index in range(program.length):
        each = program.instructions[index]
        kind, mode, size = (
            each.code & 0x07,
            each.code & 0xE0,
            {0x00: 4, 0x08: 2, 0x10: 1}.get(each.code & 0x18),
        )
        if kind in (0, 1) and mode in (0x20, 0x40, 0xA0):  # LD or LDX, of ABS, IND or MSH
            most = max(most, each.k + (size or 1) + (_LONGEST_HEADER if mode == 0x40 else 0))
        # An offset from anything but the length of a header: TAX, or LDX from memory.
        computed = computed or (kind == 7 and not each.code & 0xF8) or (kind == 1 and mode == 0x60)
    return SNAPLEN if computed else min(most, SNAPLEN)


class PcapFilter:
    """A compiled expression: `matches(frame)`. Raises `ValueError` with libpcap's message for a wrong one."""

    def __init__(self, expression: str, kind: Kind = "ethernet") -> None:
        self.expression = expression
        self._library = _library()
        self._program = _BpfProgram()
        handle = self._library.pcap_open_dead(_LINK_TYPES[kind], SNAPLEN)
        try:
            if self._library.pcap_compile(
                handle, ctypes.byref(self._program), expression.encode(), 1, _NO_NETMASK
            ):
                message = self._library.pcap_geterr(handle).decode(errors="replace")
                raise ValueError(f"'{expression}' is not a valid filter expression: {message}")
        finally:
            self._library.pcap_close(handle)
        self._run = self._library.bpf_filter
        self._looks_at = _looks_at(self._program)

    def matches(self, frame: Frame) -> bool:
        """Whether the expression holds for a frame."""
        data = frame if isinstance(frame, bytes) else bytes(frame[: self._looks_at])
        return bool(self._run(self._program.instructions, data, len(frame), len(data)))

    def matching(self, frames: Sequence[Frame]) -> list[bool]:
        """For each frame whether the expression holds."""
        return [self.matches(frame) for frame in frames]

    def __del__(self) -> None:
        if self._program.instructions:
            self._library.pcap_freecode(ctypes.byref(self._program))

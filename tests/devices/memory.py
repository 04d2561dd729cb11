"""Guest memory for the device models, which notices every access that it should not see."""

from __future__ import annotations

from typing import Literal


class Memory:
    """A `Bus`: `size` bytes at `base`."""

    def __init__(self, size: int, base: int = 0, byteorder: Literal["little", "big"] = "little") -> None:
        self.byteorder: Literal["little", "big"] = byteorder
        self.base = base
        self.data = bytearray(size)
        self.raised = False

    def holds(self, address: int, length: int) -> bool:
        return self.base <= address and address + length <= self.base + len(self.data)

    def read(self, address: int, length: int) -> bytes:
        assert length >= 0
        assert self.holds(address, length), f"read of {length} bytes at {address:#x}"
        at = address - self.base
        return bytes(self.data[at : at + length])

    def write(self, address: int, data: bytes) -> None:
        assert self.holds(address, len(data)), f"write of {len(data)} bytes at {address:#x}"
        at = address - self.base
        self.data[at : at + len(data)] = data

    def interrupt(self, raised: bool) -> None:
        assert raised != self.raised, "told without a change"
        self.raised = raised

    def word(self, address: int) -> int:
        return int.from_bytes(self.read(address, 2), self.byteorder)

    def put_words(self, address: int, *words: int) -> None:
        self.write(address, b"".join(word.to_bytes(2, self.byteorder) for word in words))

"""A capture for a program: written to a file as it goes on, or kept in memory, as pcapng.

Knows ports and files, and nothing of labs.
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from tmelink.element import Port
from tmelink.inline import pcapng
from tmelink.inline.capture import Capture, CaptureOptions

MEMORY_BYTES = 64 << 20
"""Bytes that are kept where no file was named; what comes later is counted as dropped."""


class CaptureFile:
    """Captures connections until `close`, or until the `with` block ends.

    `file` is a path, or an object with `write` that takes bytes, which stays open; None keeps the capture in
    memory, and `pcapng()` returns it. `seen` and `dropped` count frames. `call` runs a function where the lab
    runs. Raises `ValueError` for a wrong filter and `OSError` for a file that cannot be written.
    """

    def __init__(
        self,
        ports: Sequence[Port],
        options: CaptureOptions,
        file: Path | str | BinaryIO | None = None,
        *,
        call: Callable[[Callable[[], None]], None] = lambda function: function(),
    ) -> None:
        self._call = call
        self._written = [0] * len(ports)
        self._capture = Capture(ports, options, self._write)
        self._memory = io.BytesIO() if file is None else None
        self._owned = contextlib.ExitStack()
        if isinstance(file, str | Path):
            file = self._owned.enter_context(open(file, "wb"))  # noqa: SIM115 - closed with the stack
        self._file: BinaryIO = file or self._memory  # type: ignore[assignment]
        self._closed = False
        self._error: OSError | None = None
        call(self._capture.open)

    @property
    def seen(self) -> int:
        """Frames that were captured so far."""
        return sum(self._capture.seen)

    @property
    def dropped(self) -> int:
        """Of those, how many are missing in the file."""
        return self.seen - sum(self._written)

    def pcapng(self) -> bytes:
        """What was captured so far, as the bytes of a file; for a capture without a file."""
        if self._memory is None:
            raise ValueError("this capture is written to a file")
        return self._memory.getvalue()

    def close(self) -> None:
        """Capture no more, and write how many frames there were; a second call does nothing.

        Raises `OSError` if the file could not be written.
        """
        if self._closed:
            return
        self._closed = True
        self._call(self._capture.close)
        with self._owned:
            for number, (seen, written) in enumerate(zip(self._capture.seen, self._written, strict=True)):
                self._file.write(pcapng.statistics(number, time.time_ns(), seen, seen - written))
        if self._error is not None:
            raise self._error

    def __enter__(self) -> CaptureFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _write(self, blocks: bytes, frames: Sequence[int]) -> None:
        if self._error is not None or (self._memory is not None and self._memory.tell() > MEMORY_BYTES):
            return
        try:
            self._file.write(blocks)
        except OSError as error:
            # The traffic continues; whoever closes the capture gets the error.
            self._error = error
            return
        self._written = [a + b for a, b in zip(self._written, frames, strict=True)]

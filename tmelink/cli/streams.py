"""A command's standard input, output and error, any of which may be closed, full, or without a reader.

A lab goes on without them (`say`); any other command that cannot write what it was asked for fails, in words.
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import sys
from typing import TextIO

from tmelink.errors import TmelinkError
from tmelink.tmesh.source_file import MAX_BYTES, decoded

log = logging.getLogger("tmelink.run")


class _Output(io.TextIOWrapper):
    """Standard output, which remembers that it has failed: argparse, and an unbuffered stream, do not."""

    failure: OSError | None = None

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self.failure = error
            raise

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self.failure = error
            raise


_lost = False
"""Whether output of a lab has been lost, and the loss was logged."""


def open_all() -> None:
    """Open /dev/null for each closed standard stream, so that no socket gets its number.

    What libraries and child processes write there would go out on the network.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number is the one that is missing.
            os.open(os.devnull, os.O_RDWR)
    # Python has none where the descriptor was closed; standard input is missed where it is asked for.
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - as long as the process lives
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    old = sys.stdout
    if type(old) is io.TextIOWrapper:
        encoding, errors, lines, unbuffered = old.encoding, old.errors, old.line_buffering, old.write_through
        sys.stdout = _Output(old.detach(), encoding, errors, None, lines, unbuffered)


def is_terminal() -> bool:
    """Whether somebody types on standard input."""
    return sys.stdin is not None and sys.stdin.isatty()


def source() -> TextIO:
    """Standard input; raises `TmelinkError` if it is closed."""
    if sys.stdin is None:
        raise TmelinkError("standard input is closed: give a file, or a text to read there")
    return sys.stdin


def read() -> str:
    """The text on standard input, decoded as a machine file is; raises `TmelinkError`."""
    try:
        data = source().buffer.read(MAX_BYTES + 1)
    except OSError as error:
        raise TmelinkError(f"standard input: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise TmelinkError(f"standard input: longer than {MAX_BYTES >> 20} MiB")
    return decoded(data)


def say(text: str) -> None:
    """Print what a lab has to say; what standard output does not take is lost, and that is logged once."""
    try:
        print(text, flush=True)
    except OSError as error:
        global _lost
        if not _lost:
            _lost = True
            log.warning(
                "standard output: %s; the lab keeps running, and its output is lost", error.strerror or error
            )


def complain(text: object) -> None:
    """Print a line on standard error, if that takes it."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def is_output(error: OSError) -> bool:
    """Whether an error comes from standard output, or from a pipe whose reader has gone."""
    return error.errno == errno.EPIPE or error is getattr(sys.stdout, "failure", None)


def finish(code: int) -> int:
    """Flush the output; returns the exit code, which becomes 1 if a result could not be written."""
    with contextlib.suppress(OSError):
        _flush(sys.stdout)
    failure: OSError | None = getattr(sys.stdout, "failure", None)
    if failure is not None:
        _discard(sys.stdout)
        if not _lost:
            code = code or 1
            if failure.errno != errno.EPIPE:
                # Whoever has closed a pipe, as `head` does, has read enough, and knows.
                complain(f"tmelink: standard output: {failure.strerror or failure}")
    try:
        _flush(sys.stderr)
    except OSError:
        _discard(sys.stderr)
    return code


def _flush(stream: TextIO) -> None:
    if not stream.closed:
        stream.flush()


def _discard(stream: TextIO) -> None:
    """Let what is left in a stream's buffer go nowhere: the interpreter tries once more at the end."""
    with contextlib.suppress(OSError, io.UnsupportedOperation):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)

"""Wireshark on the screen of the computer that `tmelink web` runs on, with a capture that goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

PROGRAM = "wireshark"

CAPTURE = (sys.executable, "-m", "tmelink", "capture")


def can_open() -> bool:
    """Whether Wireshark is installed and this process has a screen."""
    screen = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(screen) and shutil.which(PROGRAM) is not None


def open_for(lab: str, connection: str) -> None:
    """Start it; it ends when somebody closes it, and the capture with it. Raises `OSError`."""
    capture = subprocess.Popen(
        [*CAPTURE, lab, connection, "-w", "-"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        shown = subprocess.Popen(
            [PROGRAM, "-k", "-i", "-"], stdin=capture.stdout, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    except OSError:
        capture.kill()
        raise
    finally:
        assert capture.stdout is not None
        capture.stdout.close()
    _STARTED.extend((capture, shown))
    # Those that have ended by now are reaped; the others stay with whoever sits at the screen.
    _STARTED[:] = [each for each in _STARTED if each.poll() is None]


_STARTED: list[subprocess.Popen[bytes]] = []

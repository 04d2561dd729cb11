"""The exit codes of all commands, which `docs/commands.md` lists; the help of a command names its own."""

from __future__ import annotations

DONE = 0
FAILED = 1
USAGE = 2
"""argparse's own."""
NOT_RUNNING = 3
FOUND = 4
INTERRUPTED = 130
"""As a shell reports a program that SIGINT ended: 128 and the signal's number."""

MEANINGS = {
    DONE: "the command succeeded",
    FAILED: "the machine file has mistakes, or the command failed",
    USAGE: "wrong usage: an unknown command, option or argument",
    NOT_RUNNING: "no lab of that name is running",
    FOUND: "`status`: something is not up; `doctor`: it found something",
    INTERRUPTED: "interrupted",
}

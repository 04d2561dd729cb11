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
    DONE: "the command did what it was asked to do",
    FAILED: "the machine file has mistakes, or something failed",
    USAGE: "wrong usage: an unknown command, option or argument",
    NOT_RUNNING: "no lab of that name runs",
    FOUND: "`status`: something is not up; `doctor`: it found something",
    INTERRUPTED: "interrupted",
}

"""The end of a command's help: examples with what they do, and the exit codes."""

from __future__ import annotations

EXIT_CODES = "exit codes:\n  0  done\n  1  it failed\n  2  wrong usage"
NO_LAB = "\n  3  no such lab is running"


def epilog(*examples: tuple[str, str], more: str = "") -> str:
    """Examples, each with what it does, and the exit codes; `more` are lines with further ones."""
    width = max(len(command) for command, _ in examples)
    lines = [f"  {command:<{width}}  {what}" for command, what in examples]
    return "\n".join(["examples:", *lines, "", EXIT_CODES + more])

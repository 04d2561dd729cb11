"""The reference page of the command line, from the parser's declarations: `python -m tmelink.cli.page`."""

from __future__ import annotations

from tmelink.catalogue import cell
from tmelink.cli import exit_codes
from tmelink.cli.reference import CommandReference, Rows, program

_HEAD = """# The commands

This page lists every command of the program. `tmelink COMMAND --help` and `man tmelink-COMMAND` show the
same. Made by `python -m tmelink.cli.page`; do not edit it.

## Exit codes

| code | meaning |
|---|---|
"""


def page() -> str:
    """The page as Markdown."""
    codes = "\n".join(f"| {code} | {cell(meaning)} |" for code, meaning in exit_codes.MEANINGS.items())
    return "\n".join(
        [f"{_HEAD}{codes}\n", *(line for command in program().actions for line in _command(command))]
    )


def _command(command: CommandReference, level: str = "##") -> list[str]:
    summary = f"{command.summary[:1].upper()}{command.summary[1:]}."
    lines = [f"{level} `tmelink {command.name}`", "", summary, "", "```", command.usage, "```", ""]
    lines += _table("argument", command.arguments)
    for action in command.actions:
        lines += _command(action, level + "#")
    common = {"-h, --help", "-v, --verbose", "-q, --quiet"}
    lines += _table("option", [row for row in command.options if row[0] not in common])
    for title, text in command.sections:
        if title == "examples":
            lines += ["```", *text, "```", ""]
    return lines


def _table(head: str, rows: Rows) -> list[str]:
    if not rows:
        return []
    cells = [f"| `{cell(written)}` | {cell(text)} |" for written, text in rows]
    return [f"| {head} | |", "|---|---|", *cells, ""]


if __name__ == "__main__":
    print(page(), end="")

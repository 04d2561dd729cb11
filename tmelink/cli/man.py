"""The manual pages, one for the program and one for each command: `python -m tmelink.cli.man FOLDER`.

Written in man(7), from the declarations that the parser uses.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tmelink.cli.reference import CommandReference, Rows, program

FILES = """\
.TP
.I FILE.conf
A machine file. docs/language.md in the source describes the language.
.B tmelink elements
lists what a file can create.
.TP
.I /run/tmelink, $XDG_RUNTIME_DIR/tmelink
The control sockets of running labs: root's, and those of other users.
"""


def pages() -> dict[str, str]:
    """The text of each page by its file's name."""
    top = program()
    found = {"tmelink.1": _program(top)}
    for command in top.actions:
        found[f"tmelink-{command.name}.1"] = _command(command, [each.name for each in top.actions])
    return found


def _program(top: CommandReference) -> str:
    parts = [_head("tmelink", top.summary), _synopsis(top.usage)]
    parts += [".SH DESCRIPTION", _text(_sentence(top.summary)), ".PP"]
    parts.append("A machine file describes machines, their network interfaces, and the links between them.")
    parts += [".SH COMMANDS"]
    for command in top.actions:
        parts += [".TP", rf".BR tmelink\-{_text(command.name)} (1)", _text(_sentence(command.summary))]
    parts += [_options("OPTIONS", top.options), *_sections(top), ".SH FILES", FILES.rstrip()]
    return "\n".join(parts) + "\n"


def _command(command: CommandReference, siblings: list[str]) -> str:
    parts = [_head(f"tmelink-{command.name}", command.summary), _synopsis(command.usage)]
    parts += [".SH DESCRIPTION", _text(_sentence(command.summary))]
    if command.arguments:
        parts.append(_options("ARGUMENTS", command.arguments))
    if command.actions:
        parts.append(".SH ACTIONS")
        for action in command.actions:
            parts += [".SS", _text(action.usage), _text(_sentence(action.summary))]
            parts += [*_rows(action.arguments), *_rows(action.options)]
    parts += [_options("OPTIONS", command.options), *_sections(command), ".SH SEE ALSO"]
    at = siblings.index(command.name)
    near = [name for name in siblings[max(0, at - 2) : at + 3] if name != command.name]
    parts.append(" ,\n".join([".BR tmelink (1)", *(rf".BR tmelink\-{_text(name)} (1)" for name in near)]))
    return "\n".join(parts).replace("(1) ,", "(1),") + "\n"


def _head(name: str, summary: str) -> str:
    escaped = _text(name)
    return (
        f'.\\" Made by python -m tmelink.cli.man; do not edit it.\n.TH {_text(name.upper())} 1 "" tmelink\n'
        f".SH NAME\n{escaped} \\- {_text(summary)}"
    )


def _synopsis(usage: str) -> str:
    words = usage.split(" ")
    bold = 2 if len(words) > 1 and words[1].islower() else 1
    rest = " ".join(words[bold:])
    return f".SH SYNOPSIS\n.B {_text(' '.join(words[:bold]))}\n{_text(rest)}"


def _options(title: str, rows: Rows) -> str:
    return "\n".join([f".SH {title}", *_rows(rows)])


def _rows(rows: Rows) -> list[str]:
    return [
        line for written, text in rows for line in (".TP", f".B {_text(written)}", _text(_sentence(text)))
    ]


def _sections(command: CommandReference) -> list[str]:
    titles = {"exit codes": "EXIT STATUS"}
    parts = []
    for title, lines in command.sections:
        parts += [f".SH {titles.get(title, title.upper())}", ".nf", *(_text(line) for line in lines), ".fi"]
    return parts


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}" + ("" if text.endswith(".") else ".")


def _text(text: str) -> str:
    """`text` as roff shows it: hyphens that can be copied, and no line that begins with a macro."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("…", "\\[u2026]").replace("'", "\\[aq]")
    return f"\\&{text}" if text.startswith((".", "'")) else text


def main(folder: Path) -> None:
    """Write every page, and remove those of commands that are gone."""
    folder.mkdir(parents=True, exist_ok=True)
    found = pages()
    for path in folder.glob("*.1"):
        if path.name not in found:
            path.unlink()
    for name, text in found.items():
        (folder / name).write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

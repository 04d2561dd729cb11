"""Every command as data, from the declarations of its parser: for the manual pages and the reference page."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from tmelink.cli import COMMANDS, parser

Rows = list[tuple[str, str]]
"""How something is written, and what it does."""


@dataclass(frozen=True)
class CommandReference:
    """A command of the program, or an action of one, such as `service install`."""

    name: str
    summary: str
    usage: str
    arguments: Rows
    options: Rows
    sections: list[tuple[str, list[str]]]
    """Titles and lines of what the help ends with: examples, exit codes."""
    actions: list[CommandReference]


def commands() -> list[CommandReference]:
    """All commands, in the order of the program's help."""
    (choices,) = _choices(parser(COMMANDS))
    return [_command(name, sub, _help(choices, name)) for name, sub in choices.choices.items()]


def program() -> CommandReference:
    """The program itself; its actions are the commands."""
    top = parser(COMMANDS)
    summary = top.description or ""
    usage = "tmelink [OPTION…] COMMAND …"
    return CommandReference(
        "tmelink", summary.rstrip("."), usage, [], _options(top), _sections(top), commands()
    )


def _command(name: str, sub: argparse.ArgumentParser, summary: str) -> CommandReference:
    positionals = [action for action in sub._actions if not action.option_strings]
    arguments = [(_metavar(a), a.help or "") for a in positionals if not isinstance(a, _Choices)]
    words = [*sub.prog.split(), "[OPTION…]"]
    words += [_usage(action) for action in positionals]
    actions = [
        _command(f"{name} {action}", parser, _help(choices, action))
        for choices in _choices(sub)
        for action, parser in choices.choices.items()
    ]
    return CommandReference(name, summary, " ".join(words), arguments, _options(sub), _sections(sub), actions)


_Choices = argparse._SubParsersAction


def _choices(sub: argparse.ArgumentParser) -> list[argparse._SubParsersAction[argparse.ArgumentParser]]:
    return [action for action in sub._actions if isinstance(action, _Choices)]


def _help(choices: argparse._SubParsersAction[argparse.ArgumentParser], name: str) -> str:
    return next((each.help or "" for each in choices._choices_actions if each.dest == name), "")


def _metavar(action: argparse.Action) -> str:
    return str(action.metavar or action.dest.upper())


def _usage(action: argparse.Action) -> str:
    text = _metavar(action)
    match action.nargs:
        case "?":
            return f"[{text}]"
        case "*" | argparse.REMAINDER:
            return f"[{text}…]"
        case "+":
            return f"{text}…"
        case argparse.PARSER:
            return f"{text} …"
        case _:
            return text


def _options(sub: argparse.ArgumentParser) -> Rows:
    return [
        (_written(action), action.help or "")
        for action in sub._actions
        if action.option_strings and action.help is not argparse.SUPPRESS
    ]


def _written(action: argparse.Action) -> str:
    names = ", ".join(action.option_strings)
    if action.nargs == 0:
        return names
    value = "|".join(map(str, action.choices)) if action.choices and not action.metavar else _metavar(action)
    return f"{names} [{value}]" if action.nargs == "?" else f"{names} {value}"


def _sections(sub: argparse.ArgumentParser) -> list[tuple[str, list[str]]]:
    sections = []
    for block in (sub.epilog or "").split("\n\n"):
        title, *lines = block.splitlines() or [""]
        if title.endswith(":"):
            sections.append((title.removesuffix(":"), [line.removeprefix("  ") for line in lines]))
    return sections

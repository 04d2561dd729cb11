"""The parser of the command line, which names what a mistyped command or option may have meant."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from tmelink.source import suggestion


class CommandParser(argparse.ArgumentParser):
    """argparse's parser; its complaints about unknown options and commands come with a suggestion."""

    def options(self) -> list[str]:
        """Every option that it takes, hidden ones left out."""
        return [
            option
            for action in self._actions
            if action.help is not argparse.SUPPRESS
            for option in action.option_strings
        ]

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does; a command's own parser refuses what it does not know."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.refuse(unknown)
        return found, unknown

    def refuse(self, unknown: Sequence[str]) -> NoReturn:
        """End with a complaint about words that nothing takes, and what they may have meant."""
        known = self.options()
        hints = [suggestion(word.partition("=")[0], known) for word in unknown if word.startswith("-")]
        hint = next(filter(None, hints), None)
        self.error(f"unrecognized arguments: {' '.join(unknown)}" + (f" ({hint})" if hint else ""))


def unknown_command(word: str, commands: Sequence[str]) -> str:
    """The complaint about a command that does not exist."""
    hint = suggestion(word, commands) or "'tmelink --help' lists the commands"
    return f"tmelink: unknown command '{word}' ({hint})"

"""From a link's words to a list of settings: every option found, judged by the table, its arguments read.

Knows OpenVPN's command line and what options do to the reading itself: --config, --cd, <connection>,
ignore-unknown-option and setenv opt. Does not know what a setting means. Files are read by the function that
the caller gives.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tmelink.openvpn.options.config_file import Block, Directive, quoted, read, read_block
from tmelink.openvpn.options.rows import ROWS
from tmelink.openvpn.options.table import OptionStatus, Row
from tmelink.openvpn.secret import Material
from tmelink.source import Mistake, Place, Report, Word, suggestion

ReadFile = Callable[[str], bytes]
"""Gives a file's contents; raises `OSError`."""

_NAME = re.compile("[a-z][a-z0-9-]*", re.IGNORECASE)

_WRITTEN = [f"--{name}" for name in ROWS]

DEPTH = 10
"""Configuration files that may include one another, as in OpenVPN."""

FILES = 100
"""Configuration files read for one link: ten that name one another twice would be read a thousand times."""


@dataclass(frozen=True, slots=True)
class Understood:
    """How one option of a file or a machine file was understood; `option` hides what is secret."""

    option: str
    place: Place
    status: OptionStatus
    reason: str


@dataclass(frozen=True, slots=True)
class OptionSetting:
    """An option that works: its row, its arguments as values, and the directory its file names start from."""

    row: Row
    values: tuple[Any, ...]
    place: Place
    places: tuple[Place, ...]
    block: Block | None
    base: str

    @property
    def name(self) -> str:
        """The name under which OpenVPN knows the option today."""
        return self.row.same or self.row.name


Fault = tuple[OptionSetting | None, str, str | None]
"""The option at fault (None for the link as a whole), what is wrong, what to write instead."""


@dataclass(frozen=True, slots=True)
class Connection:
    """A <connection> block: its options, and where it stands."""

    settings: tuple[OptionSetting, ...]
    place: Place


class OptionList:
    """What was read: `settings` in order, `connections`, and how each option was `understood`."""

    def __init__(self, report: Report, read_file: ReadFile, base: str | None = None) -> None:
        self.settings: list[OptionSetting] = []
        self.connections: list[Connection] = []
        self.understood: list[Understood] = []
        self.cd: str | None = None
        self._report = report
        self._read_file = read_file
        self._base = base
        self._pass_over: set[str] = set()
        self._pass_over_all = False
        self._open_files: list[str] = []
        self._files = 0

    def read_words(self, words: Sequence[Word]) -> None:
        """Read a link's arguments; a word that is neither an option nor its argument is a --config file."""
        at = 0
        while at < len(words):
            word = words[at]
            at += 1
            base = self._base if self._base is not None else posixpath.dirname(word.place.source.name)
            if not word.text.startswith("--"):
                if not self._include(word, word, base, None) and _meant(word):
                    # The arguments of what was meant to be an option are not files either.
                    at = next((n for n in range(at, len(words)) if words[n].text.startswith("-")), len(words))
                continue
            end = next((n for n in range(at, len(words)) if words[n].text.startswith("--")), len(words))
            row = ROWS.get(word.text[2:])
            taken = words[at:end] if row is None or row.most is None else words[at : min(end, at + row.most)]
            directive = Directive(Word(word.text[2:], word.place), tuple(taken))
            self._read_option(directive, base)
            at += len(taken)
            for extra in words[at:end]:
                self._include(extra, word, base, row)
            at = end

    def resolve(self, setting: OptionSetting, path: str) -> str:
        """A file name of `setting` as the process can open it: --cd goes before the file it stands in."""
        return posixpath.join(self.cd if self.cd is not None else setting.base, path)

    def material(self, setting: OptionSetting | None) -> Material | None:
        """The file or inline block that `setting` names."""
        if setting is None:
            return None
        if setting.block is not None:
            return Material(inline=setting.block.text)
        return Material(path=self.resolve(setting, setting.values[0]))

    # One option

    def _read_option(
        self, directive: Directive, base: str, connection: list[OptionSetting] | None = None
    ) -> None:
        """Judge one option and keep it; `connection` collects the settings of a <connection> block."""
        lenient = self._pass_over_all or directive.name.text in self._pass_over
        if directive.name.text == "setenv" and [w.text for w in directive.arguments[:1]] == ["opt"]:
            if len(directive.arguments) == 1:
                self._record(directive, "ignored", "nothing follows 'setenv opt'")
                return
            directive = Directive(directive.arguments[1], directive.arguments[2:])
            lenient = True
        row = ROWS.get(directive.name.text)
        if row is None or not _fits(directive, row):
            if lenient:
                self._record(directive, "ignored", "unknown, and ignored as you ask")
            elif row is None:
                self._unknown(directive)
            else:
                self._misfit(directive, row)
            return
        if directive.block is not None and not row.inline:
            self._mistake(directive, directive.name.place, f"--{row.name} cannot be written as a block")
            return
        if connection is not None and not row.connection:
            self._mistake(
                directive,
                directive.name.place,
                f"--{row.name} is not allowed in <connection>",
                "put it before the block",
            )
            return
        if connection is None and row.connection and self.connections:
            self._record(directive, "ignored", "it is below a <connection> block: put it above")
            return
        status, why = row.status, row.about
        if status == "refused" and not lenient:
            self._mistake(directive, directive.name.place, f"--{row.name}: {why}", row.instead)
        elif status != "works":
            self._record(directive, "ignored", why if status == "ignored" else f"{why}; ignored as you ask")
        else:
            setting = self._setting(directive, row, base)
            if setting is not None:
                self._keep(directive, setting, base, connection)

    def _setting(self, directive: Directive, row: Row, base: str) -> OptionSetting | None:
        if directive.block is not None:
            return OptionSetting(row, (), directive.name.place, (), directive.block, base)
        values = []
        for at, word in enumerate(directive.arguments):
            argument = row.arguments[min(at, len(row.arguments) - 1)]
            try:
                values.append(argument.convert(word.text))
            except ValueError as error:
                self._mistake(directive, word.place, f"--{row.name}: {error}")
                return None
        places = tuple(word.place for word in directive.arguments)
        return OptionSetting(row, tuple(values), directive.name.place, places, None, base)

    def _keep(
        self, directive: Directive, setting: OptionSetting, base: str, connection: list[OptionSetting] | None
    ) -> None:
        """Keep a setting, or do at once what it asks of the reading."""
        name = setting.name
        status, why = setting.row.status, setting.row.about
        if name == "setenv":
            self._setenv(directive)
            return
        if name == "connection" and directive.block is None:
            self._mistake(directive, directive.name.place, "--connection is a block of a configuration file")
            return
        self._record(directive, status, why)
        if name == "config":
            self._include(directive.arguments[0], directive.name, base, None)
        elif name == "cd":
            self.cd = self.resolve(setting, setting.values[0])
        elif name == "ignore-unknown-option":
            self._pass_over.update(word.text.removeprefix("--") for word in directive.arguments)
        elif name == "connection":
            self._connection(directive, base)
        elif connection is not None:
            connection.append(setting)
        else:
            self.settings.append(setting)

    def _setenv(self, directive: Directive) -> None:
        variable, *value = (word.text for word in directive.arguments)
        if variable == "GENERIC_CONFIG":
            self._mistake(directive, directive.name.place, "this file is a template to be filled in first")
        elif variable == "FORWARD_COMPATIBLE" and value == ["1"]:
            self._pass_over_all = True
            self._record(directive, "works", "unknown options are ignored")
        else:
            self._record(directive, "ignored", "tmelink does not run this script")

    def _connection(self, directive: Directive, base: str) -> None:
        """Read a <connection> block; what stood before it holds for it too."""
        assert directive.block is not None
        own: list[OptionSetting] = []
        place = directive.name.place
        for inner in read_block(directive.block, place.source, self._report):
            self._read_option(inner, base, own)
        if not any(setting.name == "remote" for setting in own):
            self._report(Mistake(place, "a <connection> block needs a remote"))
            return
        before = [s for s in self.settings if s.row.connection and s.name != "remote"]
        self.connections.append(Connection((*before, *own), place))

    def _include(self, file: Word, option: Word, base: str, surplus: Row | None) -> bool:
        """Read a configuration file; whether it can be. `surplus` is the row of an option too full for it."""
        path = posixpath.join(self.cd if self.cd is not None else base, file.text)
        if path in self._open_files:
            self._report(Mistake(file.place, f"{path} includes itself"))
            return False
        if len(self._open_files) >= DEPTH:
            self._report(Mistake(file.place, f"configuration files include one another deeper than {DEPTH}"))
            return False
        self._files += 1
        if self._files > FILES:
            if self._files == FILES + 1:
                self._report(Mistake(file.place, f"more than {FILES} configuration files for one link"))
            return False
        try:
            data = self._read_file(path)
        except (OSError, ValueError) as error:
            reason = (isinstance(error, OSError) and error.strerror) or str(error)
            if surplus is not None:
                message = (
                    f"'{file}' is one word too many for {option}, and not a configuration file: {reason}"
                )
                self._report(Mistake(file.place, message, surplus.takes()))
            else:
                self._report(_unreadable(file, option, path, reason))
            return False
        self._open_files.append(path)
        for directive in read(data, path, self._report):
            self._read_option(directive, posixpath.dirname(path))
        self._open_files.pop()
        return True

    # What is told of it

    def _unknown(self, directive: Directive) -> None:
        name = directive.name.text
        self._mistake(
            directive,
            directive.name.place,
            f"unknown option --{name}" if _may_show(name) else "this is not an option",
            suggestion(f"--{name}", _WRITTEN) if _may_show(name) else None,
        )

    def _misfit(self, directive: Directive, row: Row) -> None:
        count = len(directive.arguments)
        place = directive.name.place
        if row.most is not None and count > row.most:
            place = directive.arguments[row.most].place
            message = f"--{row.name}: one argument too many"
        else:
            message = f"--{row.name}: an argument is missing"
        self._mistake(directive, place, message, row.takes())

    def _mistake(self, directive: Directive, place: Place, message: str, hint: str | None = None) -> None:
        self._report(Mistake(place, message, hint))
        reason = message.removeprefix(f"--{directive.name}: ")
        self._record(directive, "refused", f"{reason} ({hint})" if hint else reason)

    def _record(self, directive: Directive, status: OptionStatus, reason: str) -> None:
        self.understood.append(Understood(_shown(directive), directive.name.place, status, reason))


def _fits(directive: Directive, row: Row) -> bool:
    count = len(directive.arguments) if directive.block is None else 1
    return row.least <= count and (row.most is None or count <= row.most)


def _may_show(name: str) -> bool:
    """Whether an unknown name is surely no part of a key or password that lost its block."""
    return len(name) < 32 and _NAME.fullmatch(name) is not None


def _shown(directive: Directive) -> str:
    """An option as `tmelink ovpn` shows it: no inline text, no secret arguments."""
    if directive.block is not None:
        return f"<{directive.name}>"
    row = ROWS.get(directive.name.text)
    if row is None or row.secret:
        name = directive.name.text if _may_show(directive.name.text) else "…"
        return f"{name} …" if directive.arguments else name
    return " ".join([directive.name.text, *(quoted(word.text) for word in directive.arguments)])


def _unreadable(file: Word, option: Word, path: str, reason: str) -> Mistake:
    """A word that stands for no option is a configuration file; many a time it was meant to be an option."""
    if file is option and (meant := _meant(file)):
        dashes = "one dash is too few" if file.text.startswith("-") else "the dashes are missing"
        message = f"'{file}' is not an option, and there is no file of that name"
        return Mistake(file.place, message, f"{dashes}: write {meant}")
    hint = None if file is not option else suggestion(f"--{file}", _WRITTEN)
    return Mistake(file.place, f"cannot read the configuration file {path}: {reason}", hint)


def _meant(word: Word) -> str | None:
    """The option that a word without its two dashes may have been meant to be."""
    written = "--" + word.text.lstrip("-")
    return written if written in _WRITTEN else None

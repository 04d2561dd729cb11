"""A machine file in an editor: its mistakes, what may be written at a place, and what its names mean.

Opens and starts nothing, and knows no protocol. Places are offsets in the text or the language's `Place`.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tmelink import arguments, catalogue, machine, registry
from tmelink.element import Element
from tmelink.elements.openvpn.base import OpenvpnElement
from tmelink.errors import ElementError, MachineError, TmelinkError
from tmelink.lsp.context import Spot, spot
from tmelink.lsp.keywords import HOST_WORDS, KEYWORDS, LEVELS
from tmelink.openvpn.options.rows import SECTIONS
from tmelink.openvpn.options.table import PROTOCOLS, Row
from tmelink.proof.problems import problems
from tmelink.source import Mistake, Place, Source, Word
from tmelink.system import route_lookup
from tmelink.tmesh import statements as st
from tmelink.tmesh.declared import Declared
from tmelink.tmesh.formatting import formatted
from tmelink.tmesh.language import parse
from tmelink.tmesh.layout import Layout

ROWS = {row.name: row for _, rows in SECTIONS for row in rows}
"""OpenVPN's options by name."""


@dataclass(frozen=True)
class Proposal:
    """What may be written at a place: the word, what it is, and what it does."""

    text: str
    kind: str
    detail: str = ""
    about: str = ""


@dataclass(frozen=True)
class OutlineSymbol:
    """A part of the file for its outline: an element, a machine or a host."""

    name: str
    kind: str
    detail: str
    place: Place
    children: tuple[OutlineSymbol, ...] = ()


@dataclass(frozen=True)
class Edit:
    """A new text in place of an old one."""

    place: Place
    text: str


class Document:
    """One text; `path` is its file, for what it sources."""

    def __init__(self, text: str, path: Path) -> None:
        self.text = text
        self.path = path
        self.source = Source(str(path), text)
        self.uses: list[tuple[Word, Declared]] = []

    # Mistakes -----------------------------------------------------------------------------------------

    def findings(self) -> tuple[list[Mistake], list[Mistake]]:
        """Mistakes and warnings, as `tmelink check` has them; warnings only where there is no mistake.

        What is wrong in a file that this one sources is reported at the place of its `source`.
        """
        try:
            checked = machine.load(
                f"{self.text}\n", network_only=True, name=str(self.path), folder=self.path.parent
            )
        except MachineError as error:
            return list(map(self._here, error.mistakes)), []
        return [], list(map(self._here, problems(checked, route_lookup.towards)))

    def _here(self, mistake: Mistake) -> Mistake:
        name = mistake.place.source.name
        if name == str(self.path):
            return mistake
        place = next(
            (
                statement.path.place
                for statement in _flat(parse(self.source).statements)
                if isinstance(statement, st.Include)
                and os.path.basename(statement.path.text) == os.path.basename(name)
            ),
            Place(self.source, 1, 1),
        )
        return Mistake(place, str(mistake))

    # Names --------------------------------------------------------------------------------------------

    @cached_property
    def layout(self) -> Layout:
        """What the file lays out; what is wrong in it is left out."""
        layout = Layout(lambda mistake: None, named=lambda word, element: self.uses.append((word, element)))
        layout.text(self.source, self.path.parent, os.path.realpath(self.path))
        return layout

    def use(self, offset: int) -> tuple[Word, Declared] | None:
        """The word at an offset that names an element, and the element."""
        _ = self.layout
        for word, element in self.uses:
            if word.place.source is self.source:
                start = self.offset(word.place)
                if start <= offset <= start + word.place.length:
                    return word, element
        return None

    def definition(self, offset: int) -> Place | None:
        """Where the element that is named at an offset is created, or the file that is sourced there."""
        if (used := self.use(offset)) is not None:
            return used[1].name.place
        for statement in _flat(parse(self.source).statements):
            if isinstance(statement, st.Include):
                start = self.offset(statement.path.place)
                if start <= offset <= start + statement.path.place.length:
                    return Place(Source(str(self.path.parent / statement.path.text), ""), 1, 1)
        return None

    def references(self, offset: int) -> list[Place]:
        """Every place that names the element at an offset."""
        used = self.use(offset)
        if used is None:
            return []
        return [word.place for word, element in self.uses if element is used[1]]

    def rename(self, offset: int, new: str) -> list[Edit]:
        """The edits that give the element at an offset another name; raises `TmelinkError`."""
        used = self.use(offset)
        if used is None:
            raise TmelinkError("no element is named here")
        word, element = used
        if "/" in new or new in (".", ".."):
            raise TmelinkError(f"'{new}' cannot name an element, since it holds a '/'")
        old = posixpath.basename(word.text)
        for holder, name in element.names:
            if name == old and new in holder.entries and new != old:
                raise TmelinkError(f"{new} already exists")
        edits = []
        for each, named in self.uses:
            if named is element and posixpath.basename(each.text) == old:
                folder = each.text[: len(each.text) - len(old)]
                try:
                    edits.append(Edit(each.place, st.quoted_name(folder + new)))
                except ValueError as error:
                    raise TmelinkError(str(error)) from error
        return list(dict.fromkeys(edits))

    def offset(self, place: Place) -> int:
        """A place as an offset in the text."""
        lines = self.text.split("\n")
        return sum(len(line) + 1 for line in lines[: place.line - 1]) + place.column - 1

    # The outline and the layout -----------------------------------------------------------------------

    def outline(self) -> list[OutlineSymbol]:
        """Hosts, machines and elements, as they are nested."""
        return list(_symbols(parse(self.source).statements))

    def formatted(self) -> str | None:
        """The text as `tmelink fmt` writes it; None while its grammar is wrong."""
        try:
            return formatted(self.source)
        except MachineError:
            return None

    # Words --------------------------------------------------------------------------------------------

    def complete(self, offset: int) -> tuple[Spot, list[Proposal]]:
        """What may stand at an offset, in place of the word there."""
        at = spot(self.text, offset)
        word = self.text[at.start : offset].replace('"', "")
        return at, [each for each in self._proposals(at) if each.text.startswith(word)]

    def _proposals(self, at: Spot) -> Iterator[Proposal]:
        match at.kind:
            case "command":
                yield from _words(KEYWORDS, "keyword")
                yield from self._elements(at)
            case "module":
                for name in registry.names():
                    yield Proposal(name, "module", catalogue.summary(name), _explained(name))
            case "argument":
                yield from _arguments(at)
            case "element":
                yield from self._elements(at)
            case "level":
                yield from (Proposal(level, "value") for level in LEVELS)
            case "file":
                yield from self._files(at)
            case "host word":
                yield from _words(HOST_WORDS, "keyword")
            case _ if at.before and at.before[-1] not in KEYWORDS:
                yield Proposal("at", "keyword", *KEYWORDS["at"])

    def _elements(self, at: Spot) -> Iterator[Proposal]:
        here = "/" + "/".join(at.blocks)
        moves = any(isinstance(each, st.Cd) for each in _flat(parse(self.source).statements))
        for element in self.layout.elements:
            if element.names:
                path = element.path
                below = path.removeprefix(here.rstrip("/") + "/")
                yield Proposal(path if moves else below, "element", element.module.text)

    def _files(self, at: Spot) -> Iterator[Proposal]:
        folder = os.path.dirname(at.word)
        try:
            names = sorted(os.listdir(self.path.parent / folder))
        except OSError:
            return
        yield from (Proposal(os.path.join(folder, name), "file") for name in names if name.endswith(".conf"))

    def hover(self, offset: int) -> tuple[Spot, str] | None:
        """What stands at an offset, in Markdown."""
        at = spot(self.text, offset)
        word = at.word.replace('"', "")
        if not word:
            return None
        if at.kind == "module":
            return (at, _explained(word)) if registry.known(word) else None
        if (used := self.use(offset)) is not None:
            element = used[1]
            shown = f"```tmesh\n{element.path}: {element.module}\n```\n"
            host = f"On host {element.host}. " if element.host else ""
            known = registry.known(element.module.text)
            return at, shown + host + (catalogue.summary(element.module.text) if known else "")
        if at.kind == "argument" and at.module is not None:
            for proposal in _arguments(at):
                if proposal.text == word:
                    return at, f"`{proposal.detail}`\n\n{proposal.about}"
            return None
        if word in KEYWORDS:
            written, about = KEYWORDS[word]
            return at, f"`{written}`\n\n{about}"
        return None


def _words(words: dict[str, tuple[str, str]], kind: str) -> Iterator[Proposal]:
    yield from (Proposal(word, kind, written, about) for word, (written, about) in words.items())


def _explained(module: str) -> str:
    """An element's description, arguments and example, in Markdown."""
    try:
        usage, about, example = catalogue.usage(module), catalogue.about(module), catalogue.example(module)
    except ElementError as error:
        return str(error)
    return f"{about}\n\n```\n{usage}\n```" + (f"\n\n```tmesh\n{example}```" if example else "")


def _class(module: str) -> type[Element] | None:
    try:
        return registry.element_class(module) if registry.known(module) else None
    except ElementError:
        return None


def _arguments(at: Spot) -> Iterator[Proposal]:
    """What an element of the module takes at this place."""
    cls = _class(at.module or "")
    last = at.before[-1] if at.before else ""
    if cls is None:
        return
    if issubclass(cls, OpenvpnElement):
        if (row := ROWS.get(last.removeprefix("--"))) is not None and last.startswith("--"):
            written = row.arguments[0].written if row.arguments else ""
            choices = PROTOCOLS if written == "PROTO" else written.split("|")
            yield from (Proposal(each, "value") for each in choices if each.islower())
        yield from map(_option, ROWS.values())
        return
    declared = arguments.declared(cls.Arguments)
    if (known := declared.get(last)) is not None and known.shape == "keyword":
        yield from (Proposal(each, "value") for each in known.metavar.split("|") if each.islower())
        if known.alone is None:
            return
    for name, each in declared.items():
        if each.shape in ("keyword", "flag"):
            yield Proposal(name, "argument", f"{name} {each.metavar}".rstrip(), each.help)


def _option(row: Row) -> Proposal:
    status = "" if row.status == "works" else f"**{row.status}**: "
    instead = f"; {row.instead}" if row.instead else ""
    return Proposal(f"--{row.name}", "option", row.usage(), f"{status}{row.about}{instead}")


def _flat(statements: tuple[st.Statement, ...]) -> Iterator[st.Statement]:
    for statement in statements:
        yield statement
        if isinstance(statement, st.MachineBlock | st.HostBlock):
            yield from _flat(statement.body)


def _symbols(statements: tuple[st.Statement, ...]) -> Iterator[OutlineSymbol]:
    for statement in statements:
        match statement:
            case st.Create(side, _, module):
                yield OutlineSymbol(side.element.text, "element", module.text, side.element.place)
            case st.MachineBlock(name, body) if name.text:
                yield OutlineSymbol(name.text, "machine", "machine", name.place, tuple(_symbols(body)))
            case st.HostBlock(name, address, body) if name.text:
                yield OutlineSymbol(name.text, "host", address.text, name.place, tuple(_symbols(body)))

"""What machine files describe: run the statements of a file, and of those it sources, over a tree of names.

The result is elements and connections by name, in order, none of them made yet; `tmelink.machine` makes them.
Knows files, paths, blocks and hosts; knows no module and no element class. A mistake is reported and the
rest goes on.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tmelink import values
from tmelink.source import Mistake, Place, Report, Source, Word, suggestion
from tmelink.tmesh import host_access
from tmelink.tmesh import statements as st
from tmelink.tmesh.declared import Declared, DeclaredHost, DeclaredRule, Join, Order
from tmelink.tmesh.directory import Directory, Missing, Named, PathError, Tree
from tmelink.tmesh.host_access import HostAccess
from tmelink.tmesh.language import Script, parse
from tmelink.tmesh.listing import listing
from tmelink.tmesh.source_file import read, unreadable
from tmelink.tmesh.statements import Side, Statement

MAX_DEPTH = 64
"""How deep blocks and sourced files may nest, so that no file can exhaust the stack."""

MAX_SOURCED = 1000
"""The most files that are sourced in all: files that source each other twice double at every level."""

SUGGESTIONS = 100
"""The most mistakes for which a similar name is searched; each search compares all names."""


@dataclass(frozen=True)
class _File:
    """A text whose statements run: the folder of its relative `source`, and the file's identity."""

    folder: Path
    identity: str | None


class Layout:
    """Runs statements; what results are the public lists and dicts, from `elements` to `hosts`.

    With `host`, the parts of all other hosts count as `elsewhere`. `unchecked` says which elements have
    connections that are not checked. `named` is called for each word that names an element, with the element.
    """

    def __init__(
        self,
        report: Report,
        host: str | None = None,
        unchecked: Callable[[Declared], bool] = lambda element: False,
        named: Callable[[Word, Declared], object] = lambda word, element: None,
    ) -> None:
        self.report = report
        self.named = named
        self.only = host
        self.unchecked = unchecked
        self.tree = Tree()
        self.elements: list[Declared] = []
        self.joins: list[Join] = []
        self.orders: list[Order] = []
        self.impairments: list[DeclaredRule] = []
        self.filters: list[DeclaredRule] = []
        self.output: list[str] = []
        self.hosts: dict[str, DeclaredHost] = {}
        self.positions: dict[Source, tuple[int, ...]] = {}
        self._host: str | None = None
        self._files: list[_File] = []
        self._scripts: dict[str, Script] = {}
        self._broken: set[str] = set()
        self._unread: list[str] = []
        self._blind = False
        self._created: dict[str, list[Place]] = {}
        """Where the files' statements make an element, by its absolute path."""
        self._depth = 0
        self._sourced = 0
        self._suggested = 0

    @property
    def elsewhere(self) -> bool:
        """Whether the present block is for a host that is not loaded."""
        return self.only is not None and self._host is not None and self._host != self.only

    def text(self, source: Source, folder: Path, identity: str | None = None) -> None:
        """Run a whole text; its relative `source` paths begin in `folder`."""
        self.positions.setdefault(source, ())
        self._script(self._parse(source), _File(folder, identity))

    def disconnect(self, element: Word, other: Word | None) -> None:
        """Disconnect an element, or its connections to one other, as a running lab's user may."""
        first = self._element(element)
        second = None if other is None else self._element(other)
        if first is None or (other is not None and second is None):
            return
        found = [
            join
            for join in first.joins
            if join.stands and (second is None or second in (join.sides[0][0], join.sides[1][0]))
        ]
        for join in found:
            join.pulled = True
        if not found:
            where = "anything" if other is None else str(other)
            self.complain(element.place, f"{element} is not connected to {where}")

    def position(self, place: Place) -> tuple[int, ...]:
        """The order of `place` among all places: a sourced file counts at its `source` statement."""
        return (*self.positions.get(place.source, ()), place.line, place.column)

    # Mistakes -----------------------------------------------------------------------------------------

    def complain(self, place: Place, message: str, hint: str | None = None) -> None:
        """Report a mistake and continue."""
        self.report(Mistake(place, message, hint))

    def near(self, word: str, known: Iterable[str]) -> str | None:
        """A name that `word` may have meant, for the first `SUGGESTIONS` calls."""
        self._suggested += 1
        return suggestion(word, known) if self._suggested <= SUGGESTIONS else None

    @contextmanager
    def _paths(self, word: Word) -> Iterator[None]:
        try:
            yield
        except PathError as error:
            if not self._excused(word.text):
                near = None
                if isinstance(error, Missing):
                    near = self.near(word.text, (path for path, _ in self._known()))
                self.complain(word.place, str(error), error.hint or near)
            # A name that was not made here must not be reported as missing later.
            self._broken.add(word.text.rsplit("/", 1)[-1])

    def _excused(self, path: str) -> bool:
        """Whether `path` may be missing because a mistake in its definition was reported already."""
        return self._blind or not self._broken.isdisjoint(path.split("/"))

    def _known(self) -> Iterator[tuple[str, Directory | Named]]:
        """Everything with a name: first by its name in this directory, then by absolute path."""
        yield from self.tree.here.entries.items()
        yield from self.tree.root.walk()

    # Statements ---------------------------------------------------------------------------------------

    def _parse(self, source: Source) -> Script:
        script = parse(source)
        for mistake in script.mistakes:
            self.report(mistake)
        self._broken |= script.broken
        return script

    def _script(self, script: Script, file: _File) -> None:
        self._files.append(file)
        for path, place in _creations(script.statements, self.tree.here.path):
            self._created.setdefault(path, []).append(place)
        self._run(script.statements)
        self._files.pop()

    def _run(self, statements: Iterable[Statement]) -> None:
        for statement in statements:
            self._statement(statement)

    def _statement(self, statement: Statement) -> None:
        tree = self.tree
        match statement:
            case st.Create():
                self._create(statement)
            case st.Connect(side, at):
                first, second = self._look(side.element), self._look(at.element)
                self._join(first, side, second, at)
            case st.Include(path):
                self._include(path)
            case st.Mkdir(path):
                with self._paths(path):
                    tree.mkdir(path.text)
            case st.Rmdir(path):
                with self._paths(path):
                    tree.rmdir(path.text)
            case st.Cd(path):
                self._cd(path)
            case st.Pwd():
                self._print(tree.here.path)
            case st.Ls(_, options, path):
                self._list(options, path)
            case st.Rm(path):
                self._look(path)
                with self._paths(path):
                    tree.unlink(path.text)
            case st.Mv(old, new):
                self._mv(old, new)
            case st.Alias(new, old):
                self._alias(new, old)
            case st.Command(element, words):
                self._order(element, words, None)
            case st.Log(element, level):
                self._log(element, level)
            case st.Impair(element, other, words):
                self._rule(self.impairments, element, other, words)
            case st.Filter(element, other, words):
                self._rule(self.filters, element, other, words)
            case st.MachineBlock():
                self._machine(statement)
            case st.HostBlock():
                self._host_block(statement)

    def _cd(self, path: Word) -> None:
        tree, went = self.tree, False
        with self._paths(path):
            tree.here, went = tree.directory(path.text), True
        if not went:
            # As if it existed, so that the statements that follow are not run in another directory.
            tree.here = Directory(tree.here, path.text)

    def _mv(self, old: Word, new: Word) -> None:
        with self._paths(old):
            _, _, entry = self.tree.look(old.text)
            if entry is None:
                raise Missing(f"{old} does not exist")
            self._look(old)
            with self._paths(new):
                self.tree.move(old.text, new.text)
                self._look(new)

    def _create(self, statement: st.Create) -> None:
        side, at = statement.side, statement.at
        name = side.element
        declared = Declared(name, statement.module, statement.arguments, self._host, self.elsewhere)
        holder = None
        with self._paths(name):
            holder, last, taken = self.tree.look(name.text)
        if holder is None:
            return
        if taken is not None or not last:
            first = f"the first is at {taken.name.place}" if isinstance(taken, Declared) else "a directory"
            self.complain(name.place, f"{name} already exists", first)
            return
        self.tree.link(holder, last, declared)
        self.elements.append(declared)
        self.named(name, declared)
        if at is not None:
            self._join(declared, side, self._look(at.element), at, at_creation=True)

    def _join(
        self, a: Declared | None, side: Side, b: Declared | None, at: Side, *, at_creation: bool = False
    ) -> None:
        if a is None or b is None:
            if not any(element and self.unchecked(element) for element in (a, b)):
                for element, word in ((a, side.element), (b, at.element)):
                    if element is None:
                        self._unknown(word)
            return
        join = Join(((a, side), (b, at)), at_creation)
        self.joins.append(join)
        a.joins.append(join)
        if b is not a:
            b.joins.append(join)

    def _alias(self, new: Word, old: Word) -> None:
        element = self._element(old)
        if element is None:
            self._broken.add(new.text.rsplit("/", 1)[-1])
            return
        with self._paths(new):
            holder, name = self.tree.free(new.text)
            self.tree.link(holder, name, element)
            self.named(new, element)

    def _element(self, word: Word) -> Declared | None:
        """The element that `word` names; None, after a report, where there is none."""
        element = self._look(word)
        if element is None:
            self._unknown(word)
        return element

    def _look(self, word: Word) -> Declared | None:
        entry = self._entry(word)
        if not isinstance(entry, Declared):
            return None
        self.named(word, entry)
        return entry

    def _entry(self, word: Word) -> Directory | Named | None:
        try:
            return self.tree.look(word.text)[2]
        except PathError:
            return None

    def _unknown(self, word: Word) -> None:
        if isinstance(self._entry(word), Directory):
            self.complain(word.place, f"{word} is a directory, not an element")
            return
        if self._excused(word.text):
            return
        place = word.place
        made = self._created.get(posixpath.join(self.tree.here.path, word.text), ())
        later = next((each for each in made if each.source is place.source and each.line > place.line), None)
        if later is not None:
            self.complain(
                word.place,
                f"{word} is used before it is created",
                f"it is created at {later}: move this below that line",
            )
            return
        hint = self.near(word.text, (path for path, known in self._known() if self._within_reach(known)))
        if hint is None and self._unread:
            hint = f"is it in {self._unread[0]}, which could not be read?"
        self.complain(word.place, f"unknown element {word}", hint)

    def _within_reach(self, known: Directory | Named) -> bool:
        """Whether it is an element that one of the present block can be connected to: not on another host."""
        return isinstance(known, Declared) and (
            known.host is None or self._host is None or known.host == self._host
        )

    def _order(self, element: Word, words: tuple[Word, ...], level: int | None) -> None:
        declared = self._element(element)
        if declared is not None:
            self.orders.append(Order(declared, words, level, element.place))

    def _log(self, element: Word, level: Word) -> None:
        try:
            number = values.log_level(level.text)
        except ValueError as error:
            self.complain(level.place, str(error))
            number = 0
        self._order(element, (level,), number)

    def _rule(self, rules: list[DeclaredRule], element: Word, other: Word, words: tuple[Word, ...]) -> None:
        ends = self._element(element), self._element(other)
        if ends[0] is not None and ends[1] is not None:
            rules.append(DeclaredRule((ends[0], ends[1]), words, element.place))

    def _list(self, options: Word | None, path: Word | None) -> None:
        flags = options.text[1:] if options else ""
        if options and (unknown := set(flags) - set("alR")):
            self.complain(options.place, f"ls has no option -{min(unknown)}", "its options are -a, -l and -R")
            return
        entry: Directory | Named | None = self.tree.here
        if path is not None:
            with self._paths(path):
                _, _, entry = self.tree.look(path.text)
                if entry is None:
                    raise Missing(f"{path} does not exist")
        if isinstance(entry, Directory | Declared):
            self._print(listing(entry, self.tree.here, flags))

    def _print(self, text: str) -> None:
        if not self.elsewhere:
            self.output.append(text)

    # Blocks -------------------------------------------------------------------------------------------

    @contextmanager
    def _deeper(self, place: Place) -> Iterator[bool]:
        """Whether another level is allowed; reports a mistake where it is not."""
        if self._depth >= MAX_DEPTH:
            self.complain(place, f"blocks and sourced files are nested more than {MAX_DEPTH} deep")
            yield False
            return
        self._depth += 1
        yield True
        self._depth -= 1

    def _machine(self, block: st.MachineBlock) -> None:
        tree, name = self.tree, block.name
        back = tree.here
        if name.text:
            tree.here = self._machine_directory(name)
        tree.held.append(back)
        with self._deeper(name.place) as room:
            if room:
                self._run(block.body)
        tree.held.pop()
        tree.here = back

    def _machine_directory(self, name: Word) -> Directory:
        here = self.tree.here
        if "/" in name.text or name.text in (".", ".."):
            self.complain(
                name.place,
                f"{name} cannot name a machine",
                "a machine is a directory, so its name has no '/'",
            )
            return Directory(here, name.text)
        taken = here.entries.get(name.text)
        if taken is None:
            made = self.tree.mkdir(name.text)
            made.origin = name.place
            return made
        if isinstance(taken, Directory):
            hint = f"the first is at {taken.origin}; 'cd {name}' goes back into it" if taken.origin else None
            self.complain(name.place, f"{name} already exists", hint)
            return taken
        assert isinstance(taken, Declared)
        self.complain(name.place, f"{name} already exists", f"the first is at {taken.name.place}")
        return Directory(here, name.text)

    def _host_block(self, block: st.HostBlock) -> None:
        outer = self._host
        if block.name.text:
            self._known_host(block)
            self._host = block.name.text
        with self._deeper(block.name.place) as room:
            if room:
                self._run(block.body)
        self._host = outer

    def _known_host(self, block: st.HostBlock) -> None:
        name, address = block.name, block.address
        if address.text and address.text != host_access.NO_ADDRESS:
            try:
                values.host(address.text)
            except ValueError as error:
                self.complain(address.place, str(error))
        host = self.hosts.setdefault(name.text, DeclaredHost(address.text, name.place))
        if host.address != address.text and address.text:
            hint = f"it is {host.address} at {host.place}"
            self.complain(address.place, f"host {name} has another address here", hint)
        if block.access:
            access = host_access.read(block.access, self.report)
            if host.access not in (HostAccess(), access):
                hint = f"the first are at {host.place}"
                self.complain(block.access[0].place, f"host {name} has other settings here", hint)
            host.access = access

    # Files --------------------------------------------------------------------------------------------

    def _include(self, word: Word) -> None:
        path = self._files[-1].folder / word.text
        identity = os.path.realpath(path)
        open_files = [file.identity for file in self._files]
        if identity in open_files:
            chain = [os.path.basename(i) for i in open_files[open_files.index(identity) :] if i]
            cycle = " sources ".join((*chain, os.path.basename(identity)))
            self.complain(word.place, "a file cannot source itself", cycle)
            return
        self._sourced += 1
        if self._sourced > MAX_SOURCED:
            if self._sourced == MAX_SOURCED + 1:
                self.complain(word.place, f"more than {MAX_SOURCED} files are sourced")
            return
        with self._deeper(word.place) as room:
            if room and (script := self._read(word, path, identity)) is not None:
                self._script(script, _File(path.parent, identity))

    def _read(self, word: Word, path: Path, identity: str) -> Script | None:
        if identity not in self._scripts:
            try:
                source = read(path)
            except OSError as error:
                if self.elsewhere:
                    # The file need only exist on its own host; what it defines is not known here.
                    self._blind = True
                else:
                    self.complain(word.place, *unreadable(path, error))
                self._unread.append(word.text)
                return None
            self.positions[source] = self.position(word.place)
            self._scripts[identity] = self._parse(source)
        return self._scripts[identity]


def _creations(statements: Iterable[Statement], directory: str) -> Iterator[tuple[str, Place]]:
    """The path and the place of each element that statements make in `directory`, those in blocks too."""
    for statement in statements:
        if isinstance(statement, st.Create):
            name = statement.side.element
            yield posixpath.join(directory, name.text), name.place
        elif isinstance(statement, st.MachineBlock):
            yield from _creations(statement.body, posixpath.join(directory, statement.name.text))
        elif isinstance(statement, st.HostBlock):
            yield from _creations(statement.body, directory)

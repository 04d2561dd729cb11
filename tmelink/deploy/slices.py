"""The part of a machine file that one host needs, as a text of its own, with the files that it names."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tmelink.deploy.secure import SecureEnd
from tmelink.errors import MachineError
from tmelink.source import Mistake, Word
from tmelink.tmesh import statements as st
from tmelink.tmesh.language import parse
from tmelink.tmesh.source_file import read
from tmelink.tmesh.statements import Statement, unparse

_SEPARATORS = re.compile("[=,:]")
"""Between a file's name and what else a word holds, as in QEMU's `file=disk.img,format=raw`."""


@dataclass(eq=False)
class Slice:
    """What one host gets: the machine file's text, and files by their names relative to it."""

    host: str
    text: str
    files: dict[str, Path] = field(default_factory=dict)

    def digest(self) -> str:
        """SHA-256 of the text, the files' names and their contents, as hexadecimal digits."""
        digest = hashlib.sha256(self.text.encode())
        for name, path in sorted(self.files.items()):
            digest.update(b"\0" + name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()


class Slicer:
    """Cuts a machine file into its hosts' slices; each file is read once for all of them."""

    def __init__(self, file: Path, ends: Mapping[str, SecureEnd]) -> None:
        self._file = file
        self._ends = ends
        self._parsed: dict[Path, Sequence[Statement]] = {}

    def cut(self, host: str) -> Slice:
        """The slice of `host`; sourced files become part of its text, and `ends` replace each `--secure`.

        Raises `MachineError` if a file that the host needs lies above the machine file's folder.
        """
        cutter = _Cutter(self._file.parent, host, self._ends, self._statements)
        text = unparse(cutter.file(self._file))
        if cutter.mistakes:
            raise MachineError(cutter.mistakes)
        return Slice(host, text, cutter.files)

    def _statements(self, path: Path) -> Sequence[Statement]:
        if path not in self._parsed:
            self._parsed[path] = parse(read(path)).statements
        return self._parsed[path]


class _Cutter:
    def __init__(
        self,
        base: Path,
        host: str,
        ends: Mapping[str, SecureEnd],
        statements: Callable[[Path], Sequence[Statement]],
    ) -> None:
        self.base = base
        self.host = host
        self.ends = ends
        self.files: dict[str, Path] = {}
        self.mistakes: list[Mistake] = []
        self._statements = statements

    def file(self, path: Path) -> list[Statement]:
        return list(self.body(self._statements(path), path.parent))

    def body(self, statements: Iterable[Statement], folder: Path) -> Iterator[Statement]:
        for statement in statements:
            match statement:
                case st.Include():
                    yield from self.file(folder / statement.path.text)
                case st.HostBlock() if statement.name.text == self.host:
                    yield replace(statement, body=tuple(self.body(statement.body, folder)))
                case st.HostBlock():
                    pass
                case st.MachineBlock():
                    yield replace(statement, body=tuple(self.body(statement.body, folder)))
                case st.Create():
                    yield self.create(statement, folder)
                case st.Command():
                    yield replace(statement, words=self.carried(statement.words, folder))
                case _:
                    yield statement

    def create(self, statement: st.Create, folder: Path) -> Statement:
        words: Sequence[Word] = self.carried(statement.arguments, folder)
        end = self.ends.get(str(statement.side.element.place))
        if end is not None:
            words = end.replaced(words)
        return replace(statement, arguments=tuple(words))

    def carried(self, words: Sequence[Word], folder: Path) -> tuple[Word, ...]:
        """Words in which file names are relative to the slice, after noting those files."""
        found = []
        for word in words:
            text = word.text
            for part in dict.fromkeys([text, *_SEPARATORS.split(text)]):
                name = self.carry(word, part, folder)
                if name is not None and name != part:
                    text = text.replace(part, name)
            found.append(Word(text, word.place))
        for option, config in itertools.pairwise(words):
            if option.text == "--config" and (folder / config.text).is_file():
                self.carry_named(folder / config.text, config)
        return tuple(found)

    def carry(self, word: Word, name: str, folder: Path) -> str | None:
        """The name in the slice of a file that a word names; None if it names none."""
        if not name or os.path.isabs(name) or not (folder / name).is_file():
            return None
        relative = os.path.relpath(folder / name, self.base)
        if relative.startswith(os.pardir):
            hint = "keep the files of a deployed lab below the machine file's folder"
            self.mistakes.append(Mistake(word.place, f"{name} lies above the machine file's folder", hint))
            return None
        self.files[relative] = folder / name
        return relative

    def carry_named(self, config: Path, word: Word) -> None:
        """The files that an OpenVPN configuration names, which are relative to it."""
        for line in config.read_text("utf-8", "replace").splitlines():
            for name in line.split()[1:]:
                self.carry(word, name.strip("\"'"), config.parent)

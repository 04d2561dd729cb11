"""Elements, connections and commands as files declare them, before anything is created. No behaviour."""

from __future__ import annotations

from dataclasses import dataclass, field

from tmelink.source import Place, Word
from tmelink.tmesh.directory import Named
from tmelink.tmesh.host_access import HostAccess
from tmelink.tmesh.statements import Side


@dataclass(eq=False)
class Declared(Named):
    """An element as the file declares it; `elsewhere` where it is on a host that is not loaded."""

    name: Word
    module: Word
    arguments: tuple[Word, ...]
    host: str | None
    elsewhere: bool
    joins: list[Join] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()


@dataclass(eq=False)
class Join:
    """A connection as the file declares it; `at_creation` if the statement also creates its first side."""

    sides: tuple[tuple[Declared, Side], tuple[Declared, Side]]
    at_creation: bool
    pulled: bool = False

    @property
    def stands(self) -> bool:
        """Whether it is still connected, and both elements still exist: `rm` takes connections with it."""
        return not self.pulled and all(element.names for element, _ in self.sides)


@dataclass(frozen=True)
class Order:
    """`command ELEMENT words…`, or `log ELEMENT LEVEL` with `level` as `logging` counts."""

    element: Declared
    words: tuple[Word, ...]
    level: int | None
    place: Place


@dataclass(frozen=True)
class DeclaredRule:
    """`impair ELEMENT at OTHER words…`, or the same with `filter`."""

    ends: tuple[Declared, Declared]
    words: tuple[Word, ...]
    place: Place


@dataclass(eq=False)
class DeclaredHost:
    """A computer that a `host` block names."""

    address: str
    place: Place
    access: HostAccess = field(default_factory=HostAccess)

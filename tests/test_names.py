"""What docstrings and documents name is there, and a type's name means one thing in the whole package."""

from __future__ import annotations

import ast
import importlib
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import tmelink

PACKAGE = Path(tmelink.__file__).parent
ROOT = Path(__file__).parent.parent

SOURCES = sorted([*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py"), *(ROOT / "bench").rglob("*.py")])
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])

DOTTED = re.compile(r"`((?:tmelink|tests|bench)(?:\.\w+)+)")
"""A name of this project: `tmelink.frame.Burst`, or with what it is called with."""

FILE = re.compile(r"`((?:[\w-]+/)*\w+\.py)`")
"""A module by its path, or by the end of it: `tests/test_names.py`."""

NO_PYTHON = {"tmelink.element.NAME"}
"""Names that are not Python's: loggers have one for each element."""

ALIAS = re.compile(r"_?[A-Z]\w*[a-z]\w*")
"""What an alias of a type is called; constants and type variables have capitals alone."""

SHARED_TYPES: dict[str, str] = {}
"""Type names that more than one module defines, each with the reason; at most five."""


@cache
def parsed(path: Path) -> ast.Module:
    """A module's tree: each is parsed once for all tests."""
    return ast.parse(path.read_text())


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of every docstring, those of constants and fields too."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            text = node.value.value
            if isinstance(text, str):
                yield node.lineno, text


def texts(path: Path) -> Iterator[tuple[int, str]]:
    if path.suffix == ".py":
        yield from docstrings(path)
    else:
        yield 1, path.read_text()


def named(pattern: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    """(place, name) for whatever the pattern finds in docstrings and documents."""
    for path in [*SOURCES, *DOCUMENTS]:
        if not pattern.search(path.read_text()):
            continue
        for line, text in texts(path):
            for found in pattern.finditer(text):
                at = line + text.count("\n", 0, found.start())
                yield f"{path.relative_to(ROOT)}:{at}", found[1]


def resolves(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute of one, or a field of a class of one."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[count:]:
            fields = getattr(found, "__annotations__", {})
            if not hasattr(found, attribute):
                return attribute in fields and attribute == parts[-1]
            found = getattr(found, attribute)
        return True
    return False


def test_every_name_of_this_project_that_a_docstring_or_document_gives_is_there() -> None:
    given = [(place, name) for place, name in named(DOTTED) if name not in NO_PYTHON]
    assert len(given) > 50, "the search finds next to nothing"
    assert resolves("tmelink.frame.Burst.frames")
    assert not resolves("tmelink.frame.Bursts")
    gone = [f"{place}: {name}" for place, name in given if not resolves(name)]
    assert gone == [], "\n".join(gone)


def test_every_module_that_a_docstring_or_document_gives_by_its_path_is_there() -> None:
    modules = [*SOURCES, *(ROOT / "examples").rglob("*.py")]
    ends = {"/".join(path.parts[at:]) for path in modules for at in range(1, len(path.parts))}
    gone = [f"{place}: {name}" for place, name in named(FILE) if name not in ends]
    assert gone == [], "\n".join(gone)


def types() -> dict[str, list[str]]:
    """The modules of the package that define each class and each alias of a type, by its name."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in parsed(path).body:
            name = None
            if isinstance(node, ast.ClassDef):
                name = node.name
            elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                name = node.targets[0].id
                if not ALIAS.fullmatch(name):
                    continue
            if name is not None:
                found[name].append(str(path.relative_to(PACKAGE)))
    return found


def test_a_type_s_name_means_one_thing() -> None:
    assert len(SHARED_TYPES) <= 5
    shared = {name: modules for name, modules in types().items() if len(modules) > 1}
    lines = [f"{name}: {', '.join(modules)}" for name, modules in shared.items() if name not in SHARED_TYPES]
    assert lines == [], "\n".join(lines)
    assert set(SHARED_TYPES) <= set(shared), "excused, and defined once"

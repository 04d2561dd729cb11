"""Machine files at random, and their statements for comparing."""

from __future__ import annotations

import dataclasses
from typing import Any

from hypothesis import strategies as some

from tmelink.source import Place, Source, Word
from tmelink.tmesh import statements as st
from tmelink.tmesh.language import lexemes, parse
from tmelink.tmesh.statements import Side, unparse


def read(text: str) -> tuple[st.Statement, ...]:
    """The statements of a text without mistakes."""
    script = parse(Source("test", text))
    assert not script.mistakes, "\n".join(mistake.render() for mistake in script.mistakes)
    return script.statements


def bare(value: Any) -> Any:
    """A statement without its places, for comparing."""
    if isinstance(value, Word):
        return value.text
    if isinstance(value, Place):
        return None
    if isinstance(value, tuple):
        return tuple(map(bare, value))
    if dataclasses.is_dataclass(value):
        return (type(value).__name__, *(bare(getattr(value, f.name)) for f in dataclasses.fields(value)))
    return value


PUNCTUATION = ["at", ":", ";", "\n", "\r", "{", "}", '"', "#", "\\", " ", "'", "\0", "\ufffd"]
SPOKEN = ["machine ", "host ", "address", "cd ", "ls ", "source ", "log ", "command ", "mv ", "pwd", "-a"]
PIECES = some.sampled_from([*PUNCTUATION, *SPOKEN, "a", "b/c", "fd00::1", '"a b"', '""', "é"])
SOUP = some.one_of(some.text(), some.lists(PIECES).map("".join), some.lists(PIECES).map(" ".join))
"""Texts that are seldom machine files."""

HERE = Place(Source("made", ""), 1, 1)
CHARACTERS = some.characters(blacklist_categories=["Cs"], blacklist_characters='"\0\ufffd')
ANY = some.text(CHARACTERS, min_size=1, max_size=12) | some.sampled_from(
    ["a", "le0", "host", "fd00::1", "--x"]
)
TEXTS = ANY.filter(lambda text: text != "at")
WORDS = TEXTS.map(lambda text: Word(text, HERE))
NAMES = (
    (TEXTS | some.just("machine"))
    .filter(lambda text: text not in st.RESERVED and not text.startswith("-"))
    .map(lambda text: Word(text, HERE))
)
LISTS = some.lists(WORDS, max_size=4).map(tuple)
FIRST = some.builds(Side, NAMES, LISTS)
SECOND = some.builds(Side, WORDS, LISTS)
OPTIONS = some.sampled_from(["-a", "-lR", "-what ever"]).map(lambda text: Word(text, HERE))
COMMANDS = some.one_of(
    some.builds(st.Create, some.builds(Side, NAMES), some.none(), WORDS, LISTS),
    some.builds(st.Create, FIRST, SECOND, WORDS, LISTS),
    some.builds(st.Connect, FIRST, SECOND),
    *(some.builds(kind, NAMES) for kind in (st.Include, st.Mkdir, st.Rmdir, st.Cd, st.Rm)),
    some.just(st.Pwd(HERE)),
    some.builds(st.Ls, some.just(HERE), some.none() | OPTIONS, some.none() | NAMES),
    some.builds(st.Mv, NAMES, NAMES),
    some.builds(st.Alias, NAMES, NAMES),
    some.builds(st.Command, NAMES, LISTS),
    some.builds(st.Log, NAMES, WORDS),
)
INNER = some.recursive(
    COMMANDS,
    lambda body: some.builds(st.MachineBlock, NAMES, some.lists(body, max_size=3).map(tuple)),
    max_leaves=6,
)
STATEMENTS = INNER | some.builds(
    st.HostBlock,
    NAMES,
    WORDS,
    some.lists(INNER, max_size=3).map(tuple),
    some.lists(WORDS, max_size=3).map(tuple),
)
"""Statements of every kind."""

GAPS = (" ", "   ", "\t", " \\\n  ", ' "" ', " \\ \n\t")
ENDS = (
    "\n",
    "\n\n\n",
    "  # so\n",
    "\r\n",
    ";\n",
    ";",
    "\n   # on its own\n",
    "; # so; }\n\n",
    "\r",
    " #\n#\n",
)


@some.composite
def spelled(draw: some.DrawFn) -> str:
    """The text of some statements, with blanks, comments and line ends at random."""
    text = unparse(draw(some.lists(STATEMENTS, max_size=4)))
    parts = [draw(some.sampled_from(("", "\n\n", "# first\n")))]
    for kind, start, end in lexemes(text):
        if kind == "_END":
            parts.append(draw(some.sampled_from(ENDS)))
        elif kind == "_COLON":
            parts.append(draw(some.sampled_from(("", " "))) + ":" + draw(some.sampled_from(("", *GAPS))))
        else:
            parts.append(draw(some.sampled_from(GAPS)) + text[start:end])
    return "".join(parts)

"""The syntax of OpenVPN's configuration files: bytes to directives and back.

Knows lines, words, quotes, escapes, comments and inline blocks, as OpenVPN 2.6 reads them
(openvpn(8), "--config file" and "INLINE FILE SUPPORT"; details observed on openvpn 2.6.14). Knows no option:
which names exist, and what may be inline, is the table's matter.

The text that places point at is a copy in which inline blocks are hidden, so that no mistake can show a key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tmelink.openvpn.secret import Secret
from tmelink.source import Mistake, Place, Report, Source, Word

LINE_BYTES = 255
"""The longest line that OpenVPN reads, its line end included."""

WORDS = 16
"""The most words in a line; OpenVPN drops what follows, here it is a mistake."""

HIDDEN = "[hidden]"
"""Stands in the shown text for a line that may be secret."""

_BLANKS = " \t\n\v\f\r\0"
_BREAKS = str.maketrans(dict.fromkeys("\v\f\r\x1c\x1d\x1e\x85\u2028\u2029", " "))
"""What `str.splitlines` takes for a line end and OpenVPN does not."""

_PEM_BEGIN, _PEM_END = "-----BEGIN", "-----END"

_KEY_LINE = re.compile(r"-----|[0-9A-Fa-f]{32}\s*$|[A-Za-z0-9+/=]{48,}\s*$")
"""A line of a PEM or static key file: shown to nobody, even where an opening tag is missing."""


@dataclass(frozen=True, slots=True)
class Block:
    """The text between `<name>` and `</name>`; its first line is line `first` of the source."""

    text: Secret
    first: int


@dataclass(frozen=True, slots=True)
class Directive:
    """One option as it was written: its name without `--`, its arguments or its inline block."""

    name: Word
    arguments: tuple[Word, ...] = ()
    block: Block | None = None


@dataclass(frozen=True, slots=True)
class _ConfigLine:
    text: str
    number: int
    ended: bool


def read(data: bytes, name: str, report: Report) -> list[Directive]:
    """The directives of a configuration file; every mistake in its syntax is reported and passed over."""
    text = data.decode("utf-8-sig", "surrogateescape")
    lines = [_ConfigLine(line, number, True) for number, line in enumerate(text.split("\n"), 1)]
    lines[-1] = _ConfigLine(lines[-1].text, lines[-1].number, False)
    if not lines[-1].text:
        lines.pop()
    source = Source(name, "\n".join(_shown(lines)))
    return list(_directives(lines, source, report))


def read_block(block: Block, source: Source, report: Report) -> list[Directive]:
    """The directives of a `<connection>` block of `source`."""
    text = block.text.reveal().decode("utf-8", "surrogateescape")
    lines = [
        _ConfigLine(line, number, True) for number, line in enumerate(text.split("\n")[:-1], block.first)
    ]
    return list(_directives(lines, source, report))


def _directives(lines: list[_ConfigLine], source: Source, report: Report) -> Iterator[Directive]:
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        words = _words(line, source, report)
        if not words:
            continue
        tag = _tag([word.text for word in words])
        if tag is None:
            yield Directive(_bare(words[0]), tuple(words[1:]))
            continue
        end = _end(lines, at, tag)
        if end is None:
            report(
                Mistake(words[0].place, f"<{tag}> is never closed", f"end it with a line that reads </{tag}>")
            )
            return
        content = "".join(inner.text + "\n" for inner in lines[at:end])
        block = Block(Secret(content.encode("utf-8", "surrogateescape")), line.number + 1)
        yield Directive(Word(tag, words[0].place), (), block)
        at = end + 1


def _tag(words: list[str]) -> str | None:
    """The name in `<name>` where that is all a line says."""
    if len(words) != 1:
        return None
    word = words[0].removeprefix("--")
    return word[1:-1] if len(word) > 1 and word[0] == "<" and word[-1] == ">" else None


def _end(lines: list[_ConfigLine], start: int, tag: str) -> int | None:
    closing = f"</{tag}>"
    for at in range(start, len(lines)):
        if lines[at].text.lstrip(_BLANKS).startswith(closing):
            return at
    return None


def _bare(word: Word) -> Word:
    """An option's name without the two dashes that may stand before it."""
    return Word(word.text[2:], word.place) if word.text.startswith("--") and len(word.text) > 2 else word


def _shown(lines: list[_ConfigLine]) -> Iterator[str]:
    """The lines as a mistake may show them: blocks other than <connection>, and key material, hidden."""
    closing: str | None = None
    for line in lines:
        bare = line.text.strip(_BLANKS)
        if closing is not None:
            ends = bare.startswith(closing)
            yield closing if ends else HIDDEN
            closing = None if ends else closing
        elif _KEY_LINE.match(bare):
            yield HIDDEN
            closing = _PEM_END if bare.startswith(_PEM_BEGIN) else None
        else:
            yield line.text.translate(_BREAKS).encode("utf-8", "replace").decode()
            try:
                tag = _tag([text for text, _start, _end in split(line.text)])
            except BadLine:
                continue
            if tag is not None and tag != "connection":
                closing = f"</{tag}>"


class BadLine(ValueError):
    """A line that cannot be split into words; `column` (from 0) and `hint` say where and what to write."""

    def __init__(self, column: int, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.column = column
        self.hint = hint


def _words(line: _ConfigLine, source: Source, report: Report) -> list[Word]:
    """The words of one line, or none where it is empty, a comment or (reported) wrong."""

    def place(start: int, end: int) -> Place:
        return Place(source, line.number, start + 1, max(1, min(end, len(line.text)) - start))

    size = len(line.text.encode("utf-8", "surrogateescape")) + line.ended
    if size > LINE_BYTES:
        report(
            Mistake(
                place(0, len(line.text)),
                f"this line has {size} bytes, and OpenVPN reads at most {LINE_BYTES}",
                "put long values into files of their own",
            )
        )
        return []
    try:
        pieces = split(line.text + "\n" * line.ended)
    except BadLine as error:
        report(Mistake(place(error.column, error.column + 1), str(error), error.hint))
        return []
    if len(pieces) > WORDS:
        _, start, end = pieces[WORDS]
        report(Mistake(place(start, end), f"OpenVPN reads at most {WORDS} words in a line"))
        return []
    for text, start, end in pieces:
        if any("\udc80" <= char <= "\udcff" for char in text):
            report(Mistake(place(start, end), "this word is not UTF-8 text"))
            return []
    return [Word(text, place(start, end)) for text, start, end in pieces]


def split(line: str) -> list[tuple[str, int, int]]:
    """The words of a line, each with the columns (from 0) where it starts and ends.

    Words end at a blank or, if they began with one, at the closing quote; `#` and `;` at the start of a
    word begin a comment; a backslash, except inside single quotes, takes the next character as it is, which
    must be a blank, a backslash or a double quote (after a closing quote a new word begins at once).
    Raises `BadLine`.
    """
    if "\0" in line:
        raise BadLine(line.index("\0"), "a configuration file cannot contain a zero byte")
    words: list[tuple[str, int, int]] = []
    text: list[str] = []
    quote: str | None = None  # None between words, "" in a bare word, else the quote that will close it
    start = 0
    escaped = False
    for at, char in enumerate(line + "\0"):
        if not escaped and char == "\\" and quote != "'":
            escaped = True
            continue
        took = ""
        done = False
        if quote is None:
            if char in _BLANKS:
                escaped = False
                continue
            if char in "#;":
                return words
            start = at - escaped
            if not escaped and char in "\"'":
                quote = char
            else:
                quote = ""
                took = char
        elif quote == "":
            if escaped or char not in _BLANKS:
                took = char
            else:
                done = True
        elif char == quote and not (escaped and quote == '"'):
            done = True
        else:
            took = char
        if took == "\0":
            if quote:
                raise BadLine(start, f"the quote {quote} is never closed")
            raise BadLine(at - 1, "a backslash at the very end escapes nothing")
        if escaped and took and took not in '\\" \t\n\v\f\r':
            raise BadLine(at - 1, f"'\\{took}' is not an escape sequence", "write \\\\ for a backslash")
        escaped = False
        if done:
            words.append(("".join(text), start, at + (quote != "")))
            text = []
            quote = None
        elif took:
            text.append(took)
    return words


def quoted(word: str) -> str:
    """A word as a configuration file writes it: as it is, or in double quotes with its escapes.

    It must not hold a line end or a zero byte, which the syntax cannot write.
    """
    plain = word and word[0] not in "#;" and not any(c in _BLANKS or c in "\\\"'" for c in word)
    return word if plain else '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def write(directives: Iterable[Directive]) -> str:
    """The text of a configuration file that reads as `directives`; inline blocks are written out."""
    lines = []
    for directive in directives:
        name = directive.name.text
        if directive.block is not None:
            lines.append(f"<{name}>\n{directive.block.text.reveal().decode()}</{name}>\n")
        else:
            lines.append(" ".join(map(quoted, [name, *(a.text for a in directive.arguments)])) + "\n")
    return "".join(lines)

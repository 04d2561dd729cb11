"""OpenVPN's configuration files: bytes to directives and back."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fuzzing import examples
from tmelink.openvpn.options.config_file import (
    HIDDEN,
    Block,
    Directive,
    quoted,
    read,
    read_block,
    split,
    write,
)
from tmelink.openvpn.secret import Secret
from tmelink.source import Mistake, Place, Source, Word

SOMEWHERE = Place(Source("", ""), 1, 1)


def lines_of(data: bytes | str) -> tuple[list[list[str]], list[str]]:
    """The words of each directive, and the mistakes."""
    mistakes: list[Mistake] = []
    directives = read(data.encode() if isinstance(data, str) else data, "a.ovpn", mistakes.append)
    for mistake in mistakes:
        mistake.render()
    return [[d.name.text, *(w.text for w in d.arguments)] for d in directives], [
        f"{m.place.line}:{m.place.column} {m.message}" for m in mistakes
    ]


def unexpected(mistake: Mistake) -> None:
    pytest.fail(str(mistake))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ping 10", ["ping", "10"]),
        ("  --ping\t10  ", ["ping", "10"]),
        ("ping 10 # ten", ["ping", "10"]),
        ("ping 10 ; ten", ["ping", "10"]),
        ("ping 1#0;", ["ping", "1#0;"]),
        ("setenv a \"b c\" 'd e' f\\ g", ["setenv", "a", "b c", "d e", "f g"]),
        ('setenv "a"b x"y z"w', ["setenv", "a", "b", 'x"y', 'z"w']),
        ('setenv "" \'\' "\\"" "\\\\" \'\\\'', ["setenv", "", "", '"', "\\", "\\"]),
        ("ping 10\r", ["ping", "10"]),
        ("\\ ping 10", ["ping", "10"]),
        ("ping\v10\f", ["ping", "10"]),
        ("remote häuschen", ["remote", "häuschen"]),
        ("# nothing", []),
        (";nothing", []),
        ("\\#nothing", []),
        ("", []),
        ("setenv a\\", ["setenv", "a\n"]),
    ],
)
def test_words_of_a_line(line: str, words: list[str]) -> None:
    found, mistakes = lines_of(line + "\n")
    assert mistakes == []
    assert found == ([words] if words else [])


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ('ping 1\necho "open\n', '2:6 the quote " is never closed'),
        ("echo 'open\n", "1:6 the quote ' is never closed"),
        ("echo a\\nb\n", "1:7 '\\n' is not an escape sequence"),
        ("echo a\\'\n", "1:7 '\\'' is not an escape sequence"),
        ("echo a\\", "1:7 a backslash at the very end escapes nothing"),
        ("echo " + "x" * 250 + "\n", "1:1 this line has 256 bytes, and OpenVPN reads at most 255"),
        ("echo" + " x" * 16 + "\n", "1:36 OpenVPN reads at most 16 words in a line"),
        ("ping 1\n<ca>\nabc\n", "2:1 <ca> is never closed"),
        ("echo \0\n", "1:6 a configuration file cannot contain a zero byte"),
    ],
)
def test_mistakes_of_syntax(text: str, mistake: str) -> None:
    _found, mistakes = lines_of(text)
    assert mistakes == [mistake]


def test_the_longest_line_and_the_most_words() -> None:
    assert lines_of("echo " + "x" * 249 + "\n")[1] == []
    assert lines_of("echo " + "x" * 250)[1] == []
    assert lines_of("echo" + " x" * 15 + "\n")[1] == []


def test_a_word_that_is_not_utf8() -> None:
    assert lines_of(b"# \xe4\nremote \xe4\n") == ([], ["2:8 this word is not UTF-8 text"])


def test_a_byte_order_mark_is_skipped() -> None:
    assert lines_of(b"\xef\xbb\xbfping 10\n") == ([["ping", "10"]], [])


def test_one_mistake_does_not_hide_the_next_line() -> None:
    found, mistakes = lines_of('echo "a\nping 10\necho b\\c\n')
    assert found == [["ping", "10"]]
    assert len(mistakes) == 2


def test_blocks() -> None:
    text = "<ca> # the authority\n-----BEGIN-----\n abc\n  </ca> and more\nping 1\n--<key>\nk\n</key>\n"
    mistakes: list[Mistake] = []
    ca, ping, key = read(text.encode(), "a.ovpn", mistakes.append)
    assert mistakes == []
    assert ca.name.text == "ca"
    assert ca.block is not None
    assert ca.block.text.reveal() == b"-----BEGIN-----\n abc\n"
    assert ca.block.first == 2
    assert (ping.name.text, ping.name.place.line) == ("ping", 5)
    assert key.block is not None
    assert key.block.text.reveal() == b"k\n"


def test_bytes_of_a_block_are_kept() -> None:
    [directive] = read(b"<auth-user-pass>\n\xe4\n\xff\n</auth-user-pass>\n", "a", unexpected)
    assert directive.block is not None
    assert directive.block.text.reveal() == b"\xe4\n\xff\n"


def test_lines_inside_a_connection_keep_their_numbers() -> None:
    text = "ping 1\n<connection>\nremote a\n\n  remote b 'c\n</connection>\n"
    mistakes: list[Mistake] = []
    _ping, directive = read(text.encode(), "a.ovpn", mistakes.append)
    assert directive.block is not None
    [remote] = read_block(directive.block, directive.name.place.source, mistakes.append)
    assert (remote.name.place.line, remote.arguments[0].place.column) == (3, 8)
    assert [(m.place.line, m.place.column) for m in mistakes] == [(5, 12)]
    assert mistakes[0].render().endswith("\n      remote b 'c\n               ^")


def test_no_mistake_shows_a_key() -> None:
    key = "0123456789abcdef0123456789abcdef"
    pem = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"
    nested = "<connection>\nremote a\n<tls-auth>\nhush\n</tls-auth>\n</connection>\n"
    text = f'<secret>\n{key}\n</secret>\n"<key>"\nhush\n</key>\n{key}\n{pem}ping "1\n{nested}'
    mistakes: list[Mistake] = []
    directives = read(text.encode(), "a.ovpn", mistakes.append)
    shown = directives[0].name.place.source.text
    for secret in (key, "c2VjcmV0", "hush"):
        assert secret not in shown
        assert secret not in repr(directives[:2]) + repr(mistakes)
    assert shown.count(HIDDEN) == 6
    assert shown.count("\n") == text.count("\n") - 1
    assert "remote a" in shown


def test_places_stand_in_the_text_as_python_splits_it() -> None:
    [first, second] = read("ping\x85\u20281 2\r\nping 3\r\n".encode(), "a", unexpected)
    assert first.name.place.source.line(second.name.place.line).strip() == "ping 3"


written_words = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\n\0"), max_size=12
).filter(lambda word: not (word.startswith("<") and word.endswith(">")))
names = st.from_regex(r"[a-z][a-z0-9-]{0,10}", fullmatch=True)


@st.composite
def directives(draw: st.DrawFn) -> Directive:
    name = Word(draw(names), SOMEWHERE)
    if draw(st.booleans()):
        return Directive(
            name, tuple(Word(text, SOMEWHERE) for text in draw(st.lists(written_words, max_size=4)))
        )
    inside = draw(st.lists(st.text("abc \t-<>\\\"'#", max_size=10).filter(lambda line: "</" not in line)))
    return Directive(name, (), Block(Secret("".join(f"{line}\n" for line in inside).encode()), 1))


def contents(directive: Directive) -> tuple[str, list[str], bytes | None]:
    inline = None if directive.block is None else directive.block.text.reveal()
    return directive.name.text, [word.text for word in directive.arguments], inline


@examples(300)
@given(st.lists(directives(), max_size=6))
def test_what_is_written_reads_as_it_was(written: list[Directive]) -> None:
    found = read(write(written).encode(), "a.ovpn", unexpected)
    assert [
        (d.name.text, [w.text for w in d.arguments], d.block and d.block.text.reveal()) for d in found
    ] == [(d.name.text, [w.text for w in d.arguments], d.block and d.block.text.reveal()) for d in written]


@examples(500)
@given(st.binary(max_size=300) | st.text("ab \\\"'#;<>/\n\0\r-", max_size=80).map(str.encode))
def test_no_bytes_raise(data: bytes) -> None:
    mistakes: list[Mistake] = []
    for directive in read(data, "a.ovpn", mistakes.append):
        assert directive.name.place.source.text.count("\n") <= data.count(b"\n")
    for mistake in mistakes:
        mistake.render()
        mistake.as_data()


def echoed(path: Path, lines: list[str]) -> list[str] | None:
    """How openvpn itself reads lines that begin with "echo msg": the words joined by blanks, or None."""
    path.write_bytes("".join(f"{line}\n" for line in lines).encode() + b"show-gateway\n")
    ran = subprocess.run(
        ["openvpn", "--suppress-timestamps", "--config", str(path)],
        capture_output=True,
        timeout=20,
        check=False,
    )
    shown = [line[5:] for line in ran.stdout.decode().split("\n") if line.startswith("ECHO:")]
    return shown if len(shown) == len(lines) else None


@pytest.mark.needs("openvpn")
def test_openvpn_splits_the_same_words(tmp_path: Path) -> None:
    """Every short text over the characters that matter, as the end of an echo line."""
    alphabet = ["a", " ", "\\", '"', "'", "#", ";", "\t"]
    texts = [""]
    for _ in range(3):
        texts += [text + char for text in texts if len(text) == len(texts[-1]) for char in alphabet]
    lines = [f"echo msg {text}" for text in dict.fromkeys(texts)]
    ours: dict[str, str | None] = {}
    for line in lines:
        try:
            ours[line] = " ".join(text for text, _start, _end in split(line + "\n"))
        except ValueError:
            ours[line] = None
    taken = [line for line in lines if ours[line] is not None and "\n" not in str(ours[line])]
    assert echoed(tmp_path / "all.conf", taken) == [str(ours[line])[5:] for line in taken]
    refused = [line for line in lines if ours[line] is None]
    for line in refused[::8]:
        assert echoed(tmp_path / "one.conf", [line]) is None, line
    assert len(taken) > 200
    assert len(refused) > 100


@pytest.mark.parametrize("word", ["", "a b", 'a"b', "a\\b", "#a", ";", "'", "a\tb"])
def test_quoted(word: str) -> None:
    assert [text for text, _start, _end in split(quoted(word))] == [word]

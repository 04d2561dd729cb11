"""The language: words, commands, blocks, and what is said of mistakes."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from tests.support.fuzzing import examples
from tests.support.machine_texts import HERE, SOUP, STATEMENTS, bare, read
from tmelink.resources import folder
from tmelink.source import Place, Source, Word
from tmelink.tmesh import statements as st
from tmelink.tmesh.language import MAX_NESTING, parse
from tmelink.tmesh.statements import unparse

PROPERTY = examples(500)


def arguments(text: str) -> list[str]:
    """The words after `x: m` in a text of that one command."""
    (statement,) = read(f"x: m {text}\n")
    assert isinstance(statement, st.Create)
    return [word.text for word in statement.arguments]


# Words -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a b", ["a", "b"]),
        ("--dev tap 0x1F a.b/c_d-e", ["--dev", "tap", "0x1F", "a.b/c_d-e"]),
        ('c"d e"f', ["cd ef"]),
        ('"a"b"c"', ["abc"]),
        ('""', []),
        ('"" a """" b""', ["a", "b"]),
        ('""x y""', ["x", "y"]),
        ('"two\nlines"', ["two\nlines"]),
        ('"a # b" c # d "e', ["a # b", "c"]),
        ("a#b", ["a"]),
        ('"tab\there"\tb\x0bc\x0cd', ["tab\there", "b", "c", "d"]),
        ('"at: {;}"', ["at: {;}"]),
        ('"00:01:02:03:04:05"', ["00:01:02:03:04:05"]),
        ("cd log connect machine host", ["cd", "log", "connect", "machine", "host"]),
        # Beyond TME: these need no quotes where nothing else could be meant.
        ("inet6 fd00::1/64 ::1 :: a: ::", ["inet6", "fd00::1/64", "::1", "::", "a:", "::"]),
        ("mac 00:01:02:03:04:05", ["mac", "00:01:02:03:04:05"]),
        ("key=value user@host a,b 1+ ~x *.y 5% [fd00::1]:1194", None),
        ("größe 端口", ["größe", "端口"]),
    ],
)
def test_words(text: str, words: list[str] | None) -> None:
    assert arguments(text) == (text.split() if words is None else words)


def test_unquoted_colons_in_every_place_that_takes_them() -> None:
    text = """
        link0 at le0: m --remote fd00::2
        command link0 remote fd00::3 to=x:y
        log link0 a:b
        host there address fd00::4 { }
    """
    create, command, log, host = read(text)
    assert isinstance(create, st.Create)
    assert create.arguments[-1].text == "fd00::2"
    assert isinstance(command, st.Command)
    assert [word.text for word in command.words] == ["remote", "fd00::3", "to=x:y"]
    assert isinstance(log, st.Log)
    assert log.level.text == "a:b"
    assert isinstance(host, st.HostBlock)
    assert host.address.text == "fd00::4"


# Commands --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "same_as"),
    [
        ("x:tme/a", "x : tme/a"),
        ("connect x: m", "x: m"),
        ("connect a b at c d", "a b at c d"),
        ("a at b c:m d", "connect a at b c : m d"),
        ('a "at" b', "a at b"),
        ('a a"t" b', "a at b"),
        ('"cd" /a', "cd /a"),
        ('"a": m', "a: m"),
        ("a at cd log", 'a at "cd" "log"'),
        ("ls -a", 'ls "-a"'),
        ("x: m;y: m", "x: m\ny: m"),
        ("x: m\ry: m\r\nz: m", "x: m\ny: m\nz: m"),
        (";;\n\n ; x: m", "x: m"),
        ("x: m # what\n# else\n\n#\ny: m#", "x: m\ny: m"),
        ("# a\rb: c\nx: m", "x: m"),
        ("x: m a \\\n   b", "x: m a b"),
        ("x: m a\\\r\n b \\  \n c", "x: m a b c"),
        ("x: m \\", "x: m"),
        ("x \\\n at \\\n y", "x at y"),
    ],
)
def test_the_same_said_otherwise(text: str, same_as: str) -> None:
    assert bare(read(text)) == bare(read(same_as))


def test_every_command() -> None:
    text = """
        a/b c at /d/e f: tme/m g
        a at a
        source ../some/file
        mkdir a/b; rmdir a/b; cd ..; pwd
        ls; ls -al; ls x; ls -R /x
        rm x; mv a b; alias new old
        command x; command x y z
        log x 1
    """
    assert bare(read(text)) == (
        ("Create", ("Side", "a/b", ("c",)), ("Side", "/d/e", ("f",)), "tme/m", ("g",)),
        ("Connect", ("Side", "a", ()), ("Side", "a", ())),
        ("Include", "../some/file"),
        ("Mkdir", "a/b"),
        ("Rmdir", "a/b"),
        ("Cd", ".."),
        ("Pwd", None),
        ("Ls", None, None, None),
        ("Ls", None, "-al", None),
        ("Ls", None, None, "x"),
        ("Ls", None, "-R", "/x"),
        ("Rm", "x"),
        ("Mv", "a", "b"),
        ("Alias", "new", "old"),
        ("Command", "x", ()),
        ("Command", "x", ("y", "z")),
        ("Log", "x", "1"),
    )


def test_the_grammar_reserves_what_the_statements_say() -> None:
    grammar = (folder("grammar") / "tmesh.lark").read_text(encoding="utf-8")
    assert set(re.findall(r"^\w+: /([a-z]+)/$", grammar, re.MULTILINE)) == st.RESERVED


# Blocks ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "machine a { x: m y }",
        "machine a {\n x: m y\n}",
        "machine a{x: m y}",
        "machine \\\n a { ; x: m y ; }",
        "machine a { # a comment }\n x: m y # }\n } # done",
    ],
)
def test_machine_block(text: str) -> None:
    assert bare(read(text)) == (("MachineBlock", "a", (("Create", ("Side", "x", ()), None, "m", ("y",)),)),)


def test_blocks_within_blocks() -> None:
    text = "host h address 10.0.0.1 { machine a { pwd } machine b { } }  machine c { machine d { pwd } }; pwd"
    pwd = ("Pwd", None)
    assert bare(read(text)) == (
        ("HostBlock", "h", "10.0.0.1", (("MachineBlock", "a", (pwd,)), ("MachineBlock", "b", ())), ()),
        ("MachineBlock", "c", (("MachineBlock", "d", (pwd,)),)),
        pwd,
    )


@pytest.mark.parametrize("name", ["machine", "host", "address"])
@pytest.mark.parametrize(
    "text",
    [
        "NAME: m",
        "NAME : m",
        "NAME at x",
        "NAME net at x",
        "NAME net port at x y: m",
        "NAME \\\n net at x",
        'NAME "a { b" at x',
        "connect NAME at x",
        "mkdir NAME",
        "x at NAME",
        "log NAME 1",
    ],
)
def test_machine_and_host_still_name_elements(name: str, text: str) -> None:
    other = text.replace("NAME", "other")
    assert repr(bare(read(text.replace("NAME", name)))).replace(name, "other") == repr(bare(read(other)))


# Places ----------------------------------------------------------------------------------------------------


def test_places() -> None:
    source = Source("f", '\n# x\n  link0 at le0:\ttme/x "a b" c\\\n \\\n  d\n\nmachine m {\n y: z }\npwd')
    create, block, pwd = parse(source).statements
    assert isinstance(create, st.Create)
    assert isinstance(block, st.MachineBlock)
    assert isinstance(pwd, st.Pwd)
    inner = block.body[0]
    assert isinstance(inner, st.Create)
    places = [create.side.element.place, create.module.place, *(word.place for word in create.arguments)]
    places += [block.name.place, inner.module.place, pwd.place]
    assert [(p.line, p.column, p.length) for p in places] == [
        (3, 3, 5),
        (3, 17, 5),
        (3, 23, 5),
        (3, 29, 1),
        (5, 3, 1),
        (7, 9, 1),
        (8, 5, 1),
        (9, 1, 3),
    ]
    assert all(place.source is source for place in places)
    assert source.line(3)[16:21] == "tme/x"


def test_place_of_a_word_that_spans_lines_is_its_first() -> None:
    (create,) = read('x: m "ab\ncd" e')
    assert isinstance(create, st.Create)
    first, second = (word.place for word in create.arguments)
    assert (first.line, first.column, first.length) == (1, 6, 3)
    assert (second.line, second.column) == (2, 5)


# Mistakes --------------------------------------------------------------------------------------------------

MISTAKES = [
    ("x:", 1, 3, "expected a module name after ':'"),
    ("x at y:", 1, 8, "expected a module name after ':'"),
    ("x at", 1, 5, "expected an element's name after 'at'"),
    ("connect", 1, 8, "expected an element's name after 'connect'"),
    ("x", 1, 2, "expected ':' or 'at' after 'x'"),
    ("tap0 tme/host/tun/tap", 1, 22, "write 'tap0: tme/host/tun/tap'"),
    ("mkdr x", 1, 7, "did you mean mkdir?"),
    ("x y: m", 1, 4, "only a name may stand before ':'"),
    ("x at y at z", 1, 8, "'at' appears here twice"),
    ("x: m at y", 1, 6, "write 'x at OTHER: MODULE'"),
    ('x: m "at" y', 1, 6, "'at' must stand before ':'"),
    ("x: m : y", 1, 6, "unexpected ':' among the arguments"),
    ("at y", 1, 1, "expected an element's name before 'at'"),
    (": m", 1, 1, "expected a name before ':'"),
    ("-x: m", 1, 1, "'-x' cannot be a name, since it begins with '-'"),
    ('"-x": m', 1, 1, "'-x' cannot be a name"),
    ("mkdir -x", 1, 7, "'-x' cannot be a name"),
    ("log: m", 1, 4, "'log' takes an element's name and a level"),
    ("mkdir log", 1, 7, "'log' is a reserved word"),
    ("mkdir", 1, 6, "'mkdir' takes a directory's name, but the command ends"),
    ("mkdir a b", 1, 9, "'mkdir' takes a directory's name, but found 'b'"),
    ("source", 1, 7, "'source' takes a file's name"),
    ("mv a", 1, 5, "'mv' takes an old and a new name"),
    ("alias a", 1, 8, "'alias' takes a new and an existing name"),
    ("command", 1, 8, "'command' takes an element's name"),
    ("log x", 1, 6, "'log' takes an element's name and a level"),
    ("pwd x", 1, 5, "'pwd' takes nothing, but found 'x'"),
    ("ls x y", 1, 6, "'ls' takes at most options and one path"),
    ("{\n}", 1, 1, "a block begins with 'machine NAME {'"),
    ("x: m {\n}", 1, 6, "a block begins with 'machine NAME {'"),
    ("}", 1, 1, "this '}' closes no block"),
    ("x: m }", 1, 6, "this '}' closes no block"),
    ("machine a", 1, 10, "expected '{' after the machine's name"),
    ("machine a b {\n}", 1, 11, "expected '{' after the machine's name"),
    ("machine a {", 1, 11, "this block is never closed"),
    ("host a {\n}", 1, 8, "expected 'address' after the host's name"),
    ("host a address {\n}", 1, 16, "expected an address after 'address'"),
    ("host a address b", 1, 17, "expected '{' after the host's address"),
    ("machine m { host a address b { } }", 1, 13, "a host block cannot be in another block"),
    ("host h address c { host a address b { } }", 1, 20, "a host block cannot be in another block"),
    ("x: m 'a'", 1, 6, 'quotes are written "so"'),
    ("x: m “a”", 1, 6, 'quotes are written "so"'),
    ("x: m $a", 1, 6, "unexpected '$' (put a word that contains it in double quotes)"),
    ("x: m \xa0", 1, 6, "unexpected the character U+00A0"),
    ("x: m a\\b", 1, 7, "a backslash continues a line only as its last character"),
    ('x: m "a', 1, 6, "this quote is never closed"),
    ('x: m "a\0b"', 1, 8, "a NUL character"),
    ("x: m \0", 1, 6, "a NUL character"),
    ("x: m \ufffd", 1, 6, "this is not UTF-8"),
    ('x: m "a\ufffd" b', 1, 8, "this is not UTF-8"),
    ('x: m "a\ud800" b', 1, 8, "this is not UTF-8"),
]


@pytest.mark.parametrize(("text", "line", "column", "message"), MISTAKES)
def test_mistake(text: str, line: int, column: int, message: str) -> None:
    script = parse(Source("f", text))
    assert [(m.place.line, m.place.column) for m in script.mistakes] == [(line, column)]
    assert message in str(script.mistakes[0])


@pytest.mark.parametrize("separator", ["\n", "\r\n", "\n\n# a comment\n"])
def test_all_mistakes_of_a_file_in_one_pass(separator: str) -> None:
    # Without the one that takes the rest of the file into its quotes or its block.
    texts = [text for text, *_ in MISTAKES if text not in ("machine a {", 'x: m "a')]
    script = parse(Source("f", separator.join([*texts, "y: m"])))
    expected = [message for text, _, _, message in MISTAKES if text in texts]
    assert len(script.mistakes) == len(expected)
    for mistake, message in zip(script.mistakes, expected, strict=True):
        assert message in str(mistake)
    assert bare(script.statements[-1]) == bare(read("y: m")[0])


def test_no_mistake_speaks_the_parsers_language() -> None:
    grammar = (folder("grammar") / "tmesh.lark").read_text(encoding="utf-8")
    terminals = set(re.findall(r"^(\w+)(?:\.\d)?:", grammar, re.MULTILINE))
    spoken = {"NAME", "ADDRESS"}  # as in "machine NAME { … }"
    jargon = {name for name in terminals if name.isupper()} - spoken
    assert jargon
    for text, *_ in MISTAKES:
        for mistake in parse(Source("f", text)).mistakes:
            assert not jargon & set(re.findall(r"\w+", str(mistake))), mistake


def test_commands_around_a_mistake_are_kept() -> None:
    script = parse(Source("f", "a: m\nb: $ m\nc: m; d\ne: m\nmachine x {\n f\n g: m\n}\nh: m"))
    assert [m.place.line for m in script.mistakes] == [2, 3, 6]
    assert bare(script.statements) == bare(read("a: m; c: m; e: m; machine x { g: m }; h: m"))
    assert script.broken == {"b", "d", "f"}


def test_the_body_of_a_block_with_a_wrong_header_is_read() -> None:
    script = parse(Source("f", "machine a b {\n x:\n}\nhost c 10.0.0.1 {\n y:\n}\nfoo bar {\n z:\n}\n}"))
    assert [m.place.line for m in script.mistakes] == [1, 2, 4, 5, 7, 8, 10]
    machine, host, other = script.statements
    assert bare(machine) == ("MachineBlock", "a", ())
    assert bare(host) == ("HostBlock", "c", "", (), ())
    assert bare(other) == ("MachineBlock", "foo", ())


def test_a_mistake_before_a_closing_brace_does_not_swallow_it() -> None:
    script = parse(Source("f", "machine a { x: }\nmachine b { y: $ }\nz: m"))
    assert [m.place.line for m in script.mistakes] == [1, 2]
    assert bare(script.statements) == bare(read("machine a {}\nmachine b {}\nz: m"))


def test_an_unclosed_quote_names_the_quoted_text_that_may_be_to_blame() -> None:
    script = parse(Source("f", 'x: m "a\ny: m "b"\nz: m "c"\n'))
    assert [(m.place.line, m.message) for m in script.mistakes][-1] == (3, "this quote is never closed")
    assert "begins at 1:6 spans lines" in str(script.mistakes[-1])


def test_blocks_without_end() -> None:
    text = "machine a {\n" * (MAX_NESTING + 500)
    script = parse(Source("f", text))
    assert any("nested more than" in mistake.message for mistake in script.mistakes)
    closed = parse(Source("f", text + "}\n" * (MAX_NESTING + 500)))
    assert [m.message for m in closed.mistakes] == [f"blocks are nested more than {MAX_NESTING} deep"]


@pytest.mark.parametrize(
    "text",
    ["a" * 500_000, '"' + "a" * 500_000, "x: " + "m " * 100_000, "\n" * 500_000, "{" * 5_000, '""' * 200_000],
    ids=["word", "quote", "words", "lines", "braces", "nothing"],
)
def test_huge_texts(text: str) -> None:
    parse(Source("f", text))


# Properties ------------------------------------------------------------------------------------------------


def words_of(statement: st.Statement) -> list[Word]:
    found = []
    for field in dataclasses.fields(statement):
        values = getattr(statement, field.name)
        for value in values if isinstance(values, tuple) else (values,):
            if isinstance(value, Word):
                found.append(value)
            elif dataclasses.is_dataclass(value) and not isinstance(value, Place):
                found += words_of(value)  # type: ignore[arg-type]
    return found


@PROPERTY
@given(SOUP)
def test_no_text_breaks_the_parser(text: str) -> None:
    source = Source("f", text)
    script = parse(source)
    lines = text.count("\n") + 1
    for mistake in script.mistakes:
        assert 1 <= mistake.place.line <= lines + 1
        assert mistake.render()
    if not script.mistakes:
        assert all(word.text for statement in script.statements for word in words_of(statement))
        assert bare(read(unparse(script.statements))) == bare(script.statements)


@PROPERTY
@given(some.lists(STATEMENTS, max_size=6))
def test_printing_and_reading_is_the_identity(statements: list[st.Statement]) -> None:
    assert bare(read(unparse(statements))) == bare(tuple(statements))


def test_what_tme_takes_is_printed_as_tme_takes_it() -> None:
    text = 'a b at c: tme/m "fd00::1" "k=v" plain/0x1-2_3.4\n'
    assert unparse(read("connect a b at c:tme/m fd00::1 k=v plain/0x1-2_3.4")) == text


@pytest.mark.parametrize("text", ["", "at", 'a"b', "a\0", "\ufffd", "b\ud800"])
def test_words_that_cannot_be_written(text: str) -> None:
    with pytest.raises(ValueError, match="no word of a machine file can be"):
        unparse([st.Command(Word("x", HERE), (Word(text, HERE),))])


@pytest.mark.parametrize("text", ["cd", "-x"])
def test_names_that_cannot_be_written(text: str) -> None:
    with pytest.raises(ValueError, match="nothing in a machine file can be named"):
        unparse([st.Mkdir(Word(text, HERE))])


# The reference page ----------------------------------------------------------------------------------------

PAGE = Path(__file__).parents[2] / "docs" / "language.md"
EXAMPLES = re.findall(r"^```tmesh\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.split("\n")[0][:40])
def test_examples_of_the_reference_page_are_read(example: str) -> None:
    statements = read(example)
    assert statements
    assert bare(read(unparse(statements))) == bare(statements)


def test_the_reference_page_lists_what_is_reserved() -> None:
    assert f"The words `{' '.join(sorted(st.RESERVED))}` are reserved" in PAGE.read_text(encoding="utf-8")

"""What comes for editors beside the server: the extension for VS Code and its TextMate grammar."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tmelink.lsp import textmate
from tmelink.lsp.context import spot
from tmelink.lsp.keywords import HOST_WORDS, KEYWORDS, LEVELS
from tmelink.tmesh import host_access
from tmelink.tmesh.statements import RESERVED
from tmelink.values import log_level

VSCODE = Path(__file__).parents[2] / "editors/vscode"


def test_the_grammar_is_made_from_the_language() -> None:
    file = VSCODE / "syntaxes/tmesh.tmLanguage.json"
    assert file.read_text() == textmate.text(), f"renew it: python -m tmelink.lsp.textmate > {file}"


def test_every_word_of_the_language_is_explained() -> None:
    assert set(KEYWORDS) == RESERVED | {"machine", "host"}
    assert set(HOST_WORDS) == set(host_access.WORDS)
    for level in LEVELS:
        log_level(level)


def scopes(line: str) -> dict[str, str]:
    """The first scope that the grammar gives each word of a line, as an editor applies its patterns."""
    found: dict[str, str] = {}
    at = 0
    while at < len(line):
        matches = []
        for number, pattern in enumerate(textmate.grammar()["patterns"]):
            match = re.compile(pattern.get("match") or '"[^"]*"').search(line, at)
            if match is not None and match.end() > match.start():
                matches.append((match.start(), number, match, pattern))
        if not matches:
            break
        _, _, match, pattern = min(matches, key=lambda each: each[:2])
        if "name" in pattern:
            found[match[0]] = pattern["name"]
        for group, capture in pattern.get("captures", {}).items():
            found[match[int(group)]] = capture["name"]
        at = match.end()
    return {word: scope.removesuffix(".tmesh") for word, scope in found.items()}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("# a comment", {"# a comment": "comment.line.number-sign"}),
        (
            "le0 at sw0: tmelink/host inet 10.0.0.1/24",
            {"le0": "entity.name.function", "at": "keyword.operator", "tmelink/host": "support.class",
             "10.0.0.1/24": "constant.numeric"},
        ),
        ("machine a {", {"machine": "keyword.control", "a": "entity.name.type"}),
        ("host n address fd00::1 behind nat {", {"host": "keyword.control", "behind": "keyword.other"}),
        ("log le0 debug", {"log": "keyword.control"}),
        ("x: tme/host/openvpn/socket/link --dev tap", {"--dev": "variable.parameter"}),
        ('t: tmelink/process "a b"', {'"a b"': "string.quoted.double"}),
    ],
)  # fmt: skip
def test_words_have_their_colours(line: str, expected: dict[str, str]) -> None:
    found = scopes(line)
    assert {word: found.get(word) for word in expected} == expected


def test_the_extension_names_files_that_exist() -> None:
    package = json.loads((VSCODE / "package.json").read_text())
    named = [package["main"], *(each["path"] for each in package["contributes"]["grammars"])]
    named += [each["configuration"] for each in package["contributes"]["languages"]]
    assert all((VSCODE / name).exists() for name in named)
    json.loads((VSCODE / "language-configuration.json").read_text())


@pytest.mark.parametrize(
    ("text", "kind", "module", "blocks"),
    [
        ("le0: tm", "module", None, ()),
        ("le0 at sw0 : ", "module", None, ()),
        ("le0: tmelink/host inet fd00::1/6", "argument", "tmelink/host", ()),
        ("x: a \\\n  b", "argument", "a", ()),
        ("x: a; y at ", "element", None, ()),
        ("machine a { machine b { y at ", "element", None, ("a", "b")),
        ("machine a { x: y } log ", "element", None, ()),
        ('command "a b" x:y z', "none", None, ()),
        ("x: y  # com", "none", None, ()),
    ],
)
def test_what_stands_at_a_place(text: str, kind: str, module: str | None, blocks: tuple[str, ...]) -> None:
    found = spot(text, len(text))
    assert (found.kind, found.module, found.blocks) == (kind, module, blocks)

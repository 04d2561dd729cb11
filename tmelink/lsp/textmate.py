"""The TextMate grammar that colours machine files, from the language's words.

`python -m tmelink.lsp.textmate` prints it.

Editors that have no language server for a file colour it by this; VS Code's extension brings it.
"""

from __future__ import annotations

import json
from typing import Any

from tmelink.lsp.keywords import HOST_WORDS
from tmelink.tmesh.statements import RESERVED

_START = r"(?:^|(?<=[;{}]))\s*"
_NAME = r'(?:[\w./\-@=,+~*%\[\]]|"[^"]*")+'


def grammar() -> dict[str, Any]:
    """The grammar as VS Code and others take it."""
    commands = "|".join(sorted(RESERVED - {"at"}))
    host_words = "|".join(sorted(HOST_WORDS))
    return {
        "comment": "Made by python -m tmelink.lsp.textmate; do not edit it.",
        "name": "tmesh",
        "scopeName": "source.tmesh",
        "fileTypes": ["tmesh"],
        "patterns": [
            {"name": "comment.line.number-sign.tmesh", "match": "#.*$"},
            {
                "match": rf"{_START}(machine)\s+({_NAME})\s*(?=\{{)",
                "captures": _captures("keyword.control", "entity.name.type"),
            },
            {
                "match": rf"{_START}(host)\s+({_NAME})\s+(address)\s+({_NAME}|[\w.:]+)",
                "captures": _captures(
                    "keyword.control", "entity.name.type", "keyword.other", "constant.numeric"
                ),
            },
            {"match": rf"{_START}({commands})(?=[\s;]|$)", "captures": _captures("keyword.control")},
            {
                "match": rf"{_START}({_NAME})(?=[^:\n;{{}}]*:)",
                "captures": _captures("entity.name.function"),
            },
            {"name": "keyword.operator.tmesh", "match": r"(?<=\s)at(?=\s)"},
            {
                "match": r"(:)\s*((?:tme|nme|tmelink)/[\w/.\-]+)",
                "captures": _captures("punctuation.separator", "support.class"),
            },
            {"name": "variable.parameter.tmesh", "match": r"(?<=\s)--[a-z0-9][\w\-]*"},
            {"name": "keyword.other.tmesh", "match": rf"(?<=\s)(?:{host_words})(?=\s)"},
            {"name": "constant.numeric.tmesh", "match": r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?:/\d+)?"},
            {"name": "string.quoted.double.tmesh", "begin": '"', "end": '"'},
            {"name": "punctuation.separator.continuation.tmesh", "match": r"\\\s*$"},
        ],
    }


def _captures(*scopes: str) -> dict[str, dict[str, str]]:
    return {str(number): {"name": f"{scope}.tmesh"} for number, scope in enumerate(scopes, 1)}


def text() -> str:
    """The grammar as the file of the extension holds it."""
    return json.dumps(grammar(), indent=2) + "\n"


if __name__ == "__main__":
    print(text(), end="")

"""`tmelink fmt FILE…`: lay machine files out evenly; what they say and their comments stay the same."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tmelink.cli import streams
from tmelink.cli.examples import epilog
from tmelink.errors import TmelinkError
from tmelink.source import Source
from tmelink.tmesh.formatting import formatted

NAME = "fmt"
HELP = "format machine files: indentation, spaces and comments; their meaning stays the same"
EPILOG = epilog(
    ("tmelink fmt lab.conf", "rewrite the file, if its layout differs"),
    (
        "tmelink fmt --check *.conf",
        "list the files that would change, and write nothing; exit code 1 if there are any",
    ),
    ("tmelink fmt - < lab.conf", "print the result"),
)


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="+", help="machine files, or - for standard input")
    parser.add_argument(
        "--check", action="store_true", help="list the files that would change, and write nothing"
    )


def main(options: argparse.Namespace) -> int:
    code = 0
    for name in options.files:
        try:
            differs = _format(name, check=options.check)
        except TmelinkError as error:
            streams.complain(error)
            code = 1
            continue
        if differs and options.check:
            print(name)
            code = 1
    return code


def _format(name: str, *, check: bool) -> bool:
    """Rewrite one file in its layout, unless it is only checked; returns whether it differs."""
    text = streams.read() if name == "-" else _read(Path(name))
    neat = formatted(Source("<stdin>" if name == "-" else name, text))
    if name == "-" and not check:
        sys.stdout.write(neat)
    elif neat != text and not check:
        try:
            Path(name).write_text(neat, encoding="utf-8", newline="\n")
        except OSError as error:
            raise TmelinkError(f"tmelink: cannot write {name}: {error.strerror}") from error
    return neat != text


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise TmelinkError(f"tmelink: cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise TmelinkError(f"{path}: this is not UTF-8; save the file as UTF-8") from error

"""`tmelink lsp`: the language server for machine files, on standard input and output."""

from __future__ import annotations

import argparse

from tmelink.cli.examples import epilog
from tmelink.errors import TmelinkError

NAME = "lsp"
HELP = "serve editors (LSP): mistakes, completion, explanations, renaming and formatting as you type"
EPILOG = epilog(
    ("tmelink lsp", "what an editor starts; editors/ in the source has an extension for VS Code"),
)


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--stdio", action="store_true", help="the default; some editors always pass it")


def main(options: argparse.Namespace) -> int:
    try:
        from tmelink.lsp.server import make
    except ModuleNotFoundError as error:
        raise TmelinkError(f"the language server needs {error.name}: pip install 'tmelink[lsp]'") from error
    make().start_io()
    return 0

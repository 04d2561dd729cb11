"""`tmelink completion SHELL`: what a shell has to read so that Tab completes tmelink's command line."""

from __future__ import annotations

import argparse
import sys

from tmelink.cli.examples import epilog
from tmelink.errors import TmelinkError

NAME = "completion"
HELP = "print the code that lets a shell complete commands, options, labs, elements and files"
EPILOG = epilog(
    ('eval "$(tmelink completion bash)"', "in ~/.bashrc"),
    ('eval "$(tmelink completion zsh)"', "in ~/.zshrc, after compinit"),
    ("tmelink completion fish | source", "in ~/.config/fish/config.fish"),
)

SHELLS = ("bash", "zsh", "fish")


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=f"one of {', '.join(SHELLS)}")


def main(options: argparse.Namespace) -> int:
    try:
        from argcomplete.shell_integration import shellcode
    except ModuleNotFoundError as error:
        raise TmelinkError("completion needs argcomplete: pip install 'tmelink[completion]'") from error
    sys.stdout.write(shellcode(["tmelink"], shell=options.shell))
    return 0

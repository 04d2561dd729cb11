"""`tmelink elements [NAME]`: the catalogue, and one element's arguments as its parser knows them."""

from __future__ import annotations

import argparse

from tmelink import registry
from tmelink.catalogue import explanation, page, summary
from tmelink.cli import completers
from tmelink.cli.examples import epilog
from tmelink.errors import TmelinkError
from tmelink.source import suggestion

NAME = "elements"
HELP = "list the elements that a machine file can create, or explain one"
EPILOG = epilog(
    ("tmelink elements", "every element, one per line"),
    ("tmelink elements tme/host/tun/tap", "what a TAP does, and its arguments"),
)


def declare(parser: argparse.ArgumentParser) -> None:
    name = parser.add_argument(
        "name", metavar="NAME", nargs="?", help="the element to explain, as tme/host/tun/tap"
    )
    completers.offer(name, completers.modules)
    parser.add_argument("--page", action="store_true", help="print the reference page of all elements")


def main(options: argparse.Namespace) -> int:
    if options.page:
        print(page())
        return 0
    if options.name is None:
        for name in registry.names():
            print(f"{name:<32}{summary(name)}")
        return 0
    if not registry.known(options.name):
        hint = suggestion(options.name, registry.names())
        raise TmelinkError(f"no element is named {options.name}" + (f": {hint}" if hint else ""))
    print(explanation(options.name))
    return 0

"""The option table against openvpn itself, and the page made from it."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import subprocess
from pathlib import Path

import pytest

import tmelink
from tmelink.openvpn import options, settings
from tmelink.openvpn.options import network_options, values
from tmelink.openvpn.options.page import page
from tmelink.openvpn.options.parse import reference, usage
from tmelink.openvpn.options.rows import ROWS, SECTIONS
from tmelink.openvpn.options.table import KINDS, Row
from tmelink.openvpn.options.tmelink_rows import OWN
from tmelink.openvpn.options.unsupported_rows import FOREIGN
from tmelink.openvpn.options.values import Options
from tmelink.openvpn.plain import settings as plain_settings
from tmelink.openvpn.tls import settings as tls_settings

ROOT = Path(__file__).parents[2]

NOT_HERE = {
    row.name for title, rows in FOREIGN if title.startswith(("Windows", "Dropped")) for row in rows
} | {"setcon", "memstats", "use-prediction-resistance", "iproute"}
NOT_HERE |= {"keysize", "allow-deprecated-insecure-static-crypto", "tls-crypt-v2-max-age", "dns-updown"}
NOT_HERE |= {"route-table", "override-username"}
NOT_HERE |= {row.name for _title, rows in OWN for row in rows}
"""Options that Debian's openvpn does not have: dropped ones, later ones, those of other systems and builds,
and tmelink's own."""

LATER = {"static-challenge": 1, "local": 2}
"""Options that take so many arguments more since openvpn 2.7."""

ACTS_AT_ONCE = {"config", "cd", "log", "log-append", "syslog", "daemon", "help", "version", "connection"}
"""Options that do something while openvpn still reads: not for a test to try."""


NOT_READ = {
    "socket-flags",
    "bind-dev",
    "tun-mtu-max",
    "http-proxy-user-pass",
    "force-tls-key-material-export",
}
NOT_READ |= {"keying-material-exporter", "key-derivation", "crl-verify"}
"""Where openvpn takes more or fewer words without reading them; here that is a mistake."""

OTHER_WORDS = {"http-proxy", "replay-window"}
"""Where openvpn has words of its own for a missing argument."""

VALUES = {"http-proxy-option": "CUSTOM-HEADER", "crl-verify": "dir"}
"""What to write where openvpn counts arguments by their values."""


def test_no_option_stands_twice() -> None:
    assert len(ROWS) == sum(len(rows) for _title, rows in SECTIONS)


@pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: row.name)
def test_a_row_is_whole(row: Row) -> None:
    assert re.fullmatch("[a-z][a-z0-9-]*", row.name)
    assert row.about
    required = [argument.required for argument in row.arguments]
    assert required == sorted(required, reverse=True), "what is optional stands last"
    assert not any(argument.many for argument in row.arguments[:-1])
    for argument in row.arguments:
        literal = "|" in argument.written or argument.written == "TCP_NODELAY" or argument.written.islower()
        assert argument.written in KINDS or literal


UNREAD = {"dev"}
"""Fields that nothing reads: a link has no device whose name would matter."""

READING = set(Path(options.__file__).parent.glob("*.py"))
READING -= {Path(inspect.getfile(module)) for module in (network_options, values)}
"""The modules that turn words into values: that one of them reads a value again makes no use of it.

What `values` says of its own values, and what `network_options` makes of a tunnel's, is use.
"""

HOLDERS = [values, settings, plain_settings, tls_settings]
"""The modules whose dataclasses hold what options set."""


def readers() -> list[ast.Module]:
    """The modules that may use an option: those that know the protocol, without those that read options."""
    found = []
    for path in Path(tmelink.__file__).parent.rglob("*.py"):
        text = path.read_text()
        if path not in READING and "tmelink.openvpn" in text:
            found.append(ast.parse(text))
    return found


def unread(promised: set[str], modules: list[ast.Module]) -> set[str]:
    """The names of fields that none of the modules reads from anything."""
    used = {
        node.attr
        for module in modules
        for node in ast.walk(module)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }
    return promised - used


def test_an_option_that_works_is_read_by_something() -> None:
    """What an option sets must be used, or the table promises what is not there."""
    kinds = [
        kind
        for module in HOLDERS
        for kind in vars(module).values()
        if isinstance(kind, type) and dataclasses.is_dataclass(kind) and kind.__module__ == module.__name__
    ]
    assert Options in kinds
    modules = readers()
    promised = {field.name for kind in kinds for field in dataclasses.fields(kind)}
    assert unread(promised, modules) == UNREAD
    assert unread({"nothing_has_this_name"}, modules) == {"nothing_has_this_name"}


def test_another_name_means_the_same() -> None:
    for row in ROWS.values():
        if row.same is not None:
            assert (row.syntax, row.status) == (ROWS[row.same].syntax, ROWS[row.same].status)


def test_the_page_is_the_table() -> None:
    """A new row is told of in the page."""
    written = (ROOT / "docs" / "openvpn-options.md").read_text()
    assert written == page(), "run: python -m tmelink.openvpn.options.page > docs/openvpn-options.md"


def test_usage_and_reference_name_what_works() -> None:
    working = {row.name for row in ROWS.values() if row.status == "works"}
    assert {written.split(" ")[0][2:] for written, _about in reference()} == working
    named = set(re.findall(r"--([a-z0-9-]+)", usage()))
    assert named == {name for name in working if ROWS[name].same is None}


@pytest.mark.needs("openvpn")
def test_every_option_of_openvpns_help_has_a_row() -> None:
    shown = subprocess.run(["openvpn", "--help"], capture_output=True, text=True, check=False).stdout
    names = set(re.findall(r"^--([a-z0-9-]+)", shown, re.MULTILINE))
    assert len(names) > 200
    assert names - set(ROWS) == set()


def takes(tmp_path: Path, name: str, count: int) -> bool:
    """Whether openvpn takes so many arguments for an option."""
    file = tmp_path / "one.conf"
    argument = f" {VALUES.get(name, '1')}"
    file.write_text(f"{name}{argument * count}\nshow-gateway\n")
    command = ["openvpn", "--suppress-timestamps", "--config", str(file)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=20)
    said = ran.stdout + ran.stderr
    return "missing or extra parameter" not in said and "directive should have at most" not in said


@pytest.mark.needs("openvpn")
def test_openvpn_takes_as_many_arguments(tmp_path: Path) -> None:
    wrong = []
    for row in ROWS.values():
        if row.name in NOT_HERE | ACTS_AT_ONCE or row.name.startswith("show-"):
            continue
        most = row.most - LATER.get(row.name, 0) if row.most is not None else None
        counts = {row.least: True, most if most is not None else 15: True}
        if row.least and row.name not in NOT_READ | OTHER_WORDS:
            counts[row.least - 1] = False
        if most is not None and row.name not in NOT_READ:
            counts[most + 1] = False
        wrong += [
            (row.name, count, expected)
            for count, expected in counts.items()
            if takes(tmp_path, row.name, count) is not expected
        ]
    assert not wrong, "\n".join(map(str, wrong))

"""The sample machine files: all of them check clean, and those that need nothing run here.

The others run in `tests.e2e.test_samples`, where they have a network of their own.
"""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.support.samples import with_keys
from tmelink.cli import main
from tmelink.resources import folder

SAMPLES = sorted(folder("machines").glob("*.conf"))

HOSTS = {
    "autonat.conf": ["one", "two"],
    "lab.conf": ["one", "two"],
    "nested.conf": ["left", "right"],
    "retronet.conf": ["attic", "cellar", "office"],
    "secure-link.conf": ["one", "two"],
    "two-identities.conf": ["office", "laptop"],
}
"""The hosts of those samples that are for several computers."""

RUN_IN_NAMESPACES = {
    "autonat.conf",
    "l3-client.conf",
    "l3-server.conf",
    "two-identities.conf",
    "gateway.conf",
    "nested.conf",
    "qemu-pair.conf",
    "peer-a.conf",
    "peer-b.conf",
    "lab.conf",
    "retronet.conf",
    "secure-link.conf",
}


def _id(sample: Path) -> str:
    return sample.name


@pytest.mark.parametrize("sample", SAMPLES, ids=_id)
def test_every_sample_checks_clean(sample: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With its keys and certificates beside it, as its first lines say how to make them."""
    copy = with_keys(sample, tmp_path)
    for host in ([], *(["--host", host] for host in HOSTS.get(sample.name, []))):
        assert main(["check", str(copy), *host]) == 0
    assert tuple(capsys.readouterr()) == ("", "")


@pytest.mark.parametrize("sample", SAMPLES, ids=_id)
def test_every_sample_says_what_it_is_before_anything_else(sample: Path) -> None:
    assert sample.read_text().startswith("# ")


def test_every_sample_is_run_by_a_test() -> None:
    assert {sample.name for sample in SAMPLES} == {"hello.conf", *RUN_IN_NAMESPACES}


def test_the_demo_shows_its_machines_ping_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (folder("machines") / "hello.conf").read_text()
    with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket(type=socket.SOCK_DGRAM) as two:
        for port, sock in (("11941", one), ("11942", two)):
            # Another demo may be running on this computer.
            sock.bind(("127.0.0.1", 0))
            text = text.replace(port, str(sock.getsockname()[1]))
    copy = tmp_path / "hello.conf"
    copy.write_text(text)
    assert main(["demo", "--count", "3", "--interval", "0.01", str(copy)]) == 0
    lines = capsys.readouterr().out.splitlines()
    for pair in ("a/le0 -> b/le0", "b/le0 -> a/le0"):
        (row,) = [line.removeprefix(pair).split() for line in lines if line.startswith(f"{pair} ")]
        assert row[:3] == ["3", "3", "0%"]

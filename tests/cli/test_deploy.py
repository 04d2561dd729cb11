"""`tmelink deploy` makes and replaces nothing before somebody agrees, and says what a wrong use lacks."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from tests.support.deployments import LAB
from tmelink.cli import main


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "lab.conf"
    path.write_text(LAB)
    return path


def keys(file: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in file.parent.glob("lab.conf.keys/*")}


def test_without_a_terminal_nobody_can_agree(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert main(["deploy", str(file)]) == 1
    assert "add --yes to change the hosts, or --check to look" in capsys.readouterr().err
    assert keys(file) == {}


def test_keys_are_rotated_only_once_somebody_agrees(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["deploy", str(file), "--write", str(tmp_path / "out")]) == 0
    before = keys(file)
    assert sorted(before) == [
        f"{host}.{kind}" for host in ("east", "north", "south") for kind in ("crt", "key")
    ]
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert main(["deploy", str(file), "--rotate"]) == 1
    assert keys(file) == before
    assert main(["deploy", str(file), "--rotate", "--write", str(tmp_path / "out")]) == 0
    after = keys(file)
    assert all(after[name] != before[name] and after[f"{name}.old"] == before[name] for name in before)


def test_keys_of_some_hosts_alone_are_not_rotated(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deploy", str(file), "--rotate", "--limit", "north", "--yes"]) == 2
    assert "leave out --limit" in capsys.readouterr().err

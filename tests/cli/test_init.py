"""`tmelink init`: a commented file that checks, and a key for each host; from options or from answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tmelink.cli import main, streams
from tmelink.machine import load
from tmelink.source import Source
from tmelink.tmesh.formatting import formatted

ANSWERS = ["bad name!", "home", "203.0.113.7", "tap simh", "friend", "", "gameboy", "86box", ""]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def looked_at(folder: Path) -> None:
    """The file and keys of the hosts `home` and `friend`."""
    text = (folder / "lab.conf").read_text()
    assert formatted(Source("lab.conf", text)) == text
    assert text.count("#") > 8
    modules = {host: list(load(Path("lab.conf"), host=host).modules.values()) for host in ("home", "friend")}
    link = "tme/host/openvpn/socket/link"
    assert modules == {
        "home": ["tmelink/switch", "tme/host/tun/tap", "tmelink/udp", link],
        "friend": ["tmelink/switch", "tmelink/86box", link],
    }
    for host in modules:
        assert (folder / f"{host}.key").stat().st_mode & 0o077 == 0
        assert (folder / f"{host}.crt").exists()


def test_options_make_a_file_and_keys(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["init", "lab.conf", "--at", "home=203.0.113.7:tap,simh", "--at", "friend=none:86box"]
    assert main(words) == 0
    assert "on friend: tmelink run lab.conf --host friend" in capsys.readouterr().out
    looked_at(folder)
    before = (folder / "home.key").read_bytes()
    assert main(words) == 1
    assert "already exists" in capsys.readouterr().err
    assert (folder / "home.key").read_bytes() == before


def test_answers_do_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = iter(ANSWERS)
    monkeypatch.setattr("builtins.input", lambda question: next(answers))
    monkeypatch.setattr(streams, "is_terminal", lambda: True)
    assert main(["init", "lab.conf"]) == 0
    said = capsys.readouterr().err
    assert "'bad name!' is not a name" in said
    assert "unknown emulator 'gameboy'" in said
    looked_at(folder)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--at", "a=none:tap", "--at", "b=none:tap"], "no host has an address that the others can call"),
        (["--at", "a=192.0.2.1", "--at", "a=none"], "two hosts have the same name"),
        ([], "there is nobody to ask here"),
    ],
)
def test_what_cannot_work_is_said_and_nothing_is_written(
    folder: Path,
    words: list[str],
    complaint: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(streams, "is_terminal", lambda: False)
    assert main(["init", "lab.conf", *words]) == 1
    assert complaint in capsys.readouterr().err
    assert list(folder.iterdir()) == []


def test_one_host_alone_needs_no_key(folder: Path) -> None:
    assert main(["init", "lab.conf", "--at", "here=none:host,vde"]) == 0
    assert [path.name for path in folder.iterdir()] == ["lab.conf"]

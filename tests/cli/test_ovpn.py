"""`tmelink ovpn`: one line an option, with the line number and the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from tmelink.cli import main

GOOD = """# an office
dev tap
remote vpn.example.com 1194 udp
secret office.key
cipher AES-256-CBC
persist-key
"""

BAD = """dev tap
remote vpn.example.com
frobnicate 3
keepalive 10 5
http-proxy-option CUSTOM-HEADER X-Key geheim
<secret>
geheim
</secret>
cipher BF-CBC
"""


def test_a_file_that_is_understood_exits_with_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "office.ovpn"
    file.write_text(GOOD)
    assert main(["ovpn", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines[:-1]] == [
        ["2", "works", "dev"],
        ["3", "works", "remote"],
        ["4", "works", "secret"],
        ["5", "works", "cipher"],
        ["6", "ignored", "persist-key"],
    ]
    assert "keys are read again if the process may" in lines[4]
    assert lines[-1] == "4 works, 1 ignored, 0 refused"


def test_everything_refused_is_told_at_once_and_nothing_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bad.ovpn"
    file.write_text(BAD)
    assert main(["ovpn", str(file)]) == 1
    said = capsys.readouterr().out
    refused = [line.split()[0] for line in said.splitlines() if " refused " in line[:16]]
    assert refused == ["3", "4", "5", "9"]
    assert "unknown option --frobnicate" in said
    assert "the second must be at least twice the first" in said
    assert said.splitlines()[-1].endswith("4 refused")
    assert "geheim" not in said


def test_an_included_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "outer.ovpn").write_text("dev tap\nconfig inner.ovpn\nremote 10.0.0.1\n")
    (tmp_path / "inner.ovpn").write_text("\nping 10\n")
    assert main(["ovpn", str(tmp_path / "outer.ovpn")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split()[:3] == [f"{tmp_path / 'inner.ovpn'}:2", "works", "ping"]


def test_a_file_that_is_not_there_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ovpn", str(tmp_path / "none.ovpn")]) == 1
    said = capsys.readouterr().out
    assert "No such file or directory" in said
    assert said.splitlines()[-1] == "0 works, 0 ignored, 1 refused"

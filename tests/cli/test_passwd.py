"""`tmelink passwd`: a line that the server's table takes."""

from __future__ import annotations

import io

import pytest

from tmelink import cli
from tmelink.openvpn.server.users import Users


def test_the_line_is_taken(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("open sesame\n"))
    assert cli.main(["passwd", "amy"]) == 0
    out, error = capsys.readouterr()
    assert error == ""
    assert Users(out).admits("amy", "open sesame")


@pytest.mark.parametrize(("user", "password"), [("amy", ""), ("#amy", "x")])
def test_what_cannot_stand_is_told(
    user: str, password: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{password}\n"))
    assert cli.main(["passwd", user]) == 1
    assert capsys.readouterr().out == ""

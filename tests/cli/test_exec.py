"""`tmelink exec`: statements in quotes, and one without."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.netns import Process
from tmelink.cli import main
from tmelink.cli.exec import lines

LAB = """\
le0: tmelink/host inet 10.0.77.1/24
le1 at le0: tmelink/host inet 10.0.77.2/24
"""


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (["le0 ping 10.0.77.2"], "le0 ping 10.0.77.2"),
        (["le0", "ping", "10.0.77.2"], "le0 ping 10.0.77.2"),
        (["ls"], "ls"),
        (["cd /a", "ls"], "cd /a\nls"),
    ],
)
def test_words_without_blanks_are_one_statement(given: list[str], text: str) -> None:
    assert lines(given) == text


def test_a_statement_without_quotes_is_carried_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "words.conf").write_text(LAB)
    lab = Process([sys.executable, "-m", "tmelink", "run", "words.conf"], cwd=tmp_path)
    try:
        lab.expect("running: ")
        assert main(["exec", "words", "le0", "ping", "10.0.77.2", "count", "1"]) == 0
    finally:
        lab.kill()
    assert "1 received" in capsys.readouterr().out

"""Manual pages, the page of commands and the help say what the parser knows; typing mistakes get hints."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tmelink.cli import COMMANDS, exit_codes, features, main, man, page, reference

ROOT = Path(__file__).parent.parent.parent
PAGES = ROOT / "share/man/man1"


def test_the_manual_pages_are_fresh() -> None:
    assert {path.name: path.read_text() for path in PAGES.iterdir()} == man.pages(), (
        "renew them with: python -m tmelink.cli.man share/man/man1"
    )
    assert {f"tmelink-{name}.1" for name in COMMANDS} | {"tmelink.1"} == set(man.pages())


def test_the_page_of_commands_is_fresh() -> None:
    assert (ROOT / "docs/commands.md").read_text() == page.page(), (
        "renew it with: python -m tmelink.cli.page > docs/commands.md"
    )


def test_man_finds_nothing_wrong_with_the_pages() -> None:
    if shutil.which("groff") is None:
        pytest.skip("needs groff")
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-z", *sorted(map(str, PAGES.iterdir()))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", reference.commands(), ids=lambda command: str(command.name))
def test_the_help_of_every_command_ends_with_examples_and_exit_codes(
    command: reference.CommandReference,
) -> None:
    sections = dict(command.sections)
    assert sections["examples"]
    listed = {int(line.split()[0]) for line in sections["exit codes"]}
    assert {0, 1} <= listed <= set(exit_codes.MEANINGS)
    for written, text in [*command.arguments, *command.options]:
        assert text, f"{command.name} {written} says nothing"


def test_the_page_of_commands_lists_every_exit_code_and_modules_name_those_above_one() -> None:
    table = page.page().split("## Exit codes")[1].split("\n## ")[0]
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)] == list(
        exit_codes.MEANINGS
    )
    for path in sorted((ROOT / "tmelink/cli").glob("*.py")):
        bare = re.findall(r"return ([2-9]|\d\d+)$", path.read_text(), re.MULTILINE)
        assert not bare, f"{path.name} returns {bare}: give it a name in exit_codes"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["statsu"], "unknown command 'statsu' (did you mean status?)"),
        (["xyzzy"], "unknown command 'xyzzy' ('tmelink --help' lists the commands)"),
        (["run", "lab.conf", "--hots", "one"], "(did you mean --host?)"),
        (["check", "lab.conf", "--jsno"], "(did you mean --json?)"),
        (["service", "install", "lab.conf", "--prnt"], "(did you mean --print?)"),
    ],
)
def test_a_typing_mistake_is_answered_with_what_was_meant(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(words)
    except SystemExit as ended:
        code = int(ended.code or 0)
    assert code == 2
    assert complaint in capsys.readouterr().err


def test_the_version_says_what_works_here(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("tmelink ")
    assert [line.split(":")[0] for line in lines[1:]] == ["build", "system", "python", "kernel", "extras"]
    assert features.extras()["lz4"]
    assert "test" not in features.extras()

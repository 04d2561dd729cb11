"""The machine files and commands that the documents show are right: files check, commands parse."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.support.documents import ROOT, Block, blocks
from tests.support.samples import KEY_FILE
from tmelink import machine
from tmelink.cli import parser
from tmelink.source import Source
from tmelink.tmesh.language import parse

ON_PURPOSE = ("tmelink/hots", "NAME: ")
"""What a machine file without a language shows: a mistake, or how something is written."""


@pytest.mark.parametrize("block", blocks("tmesh"), ids=str)
def test_machine_files_in_documents_check(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the keys and certificates beside them that they name."""
    monkeypatch.chdir(tmp_path)
    for name in KEY_FILE.findall(block.text):
        (tmp_path / name).touch()
    machine.load(block.text)


def test_no_machine_file_in_a_document_goes_unchecked() -> None:
    """What reads as a machine file and names a module is in the language `tmesh`, or shows a mistake."""
    unmarked = [
        str(block)
        for block in blocks("")
        if re.search(r"(^|\s)\S+( at \S+)?: (tme|tmelink)/", block.text)
        and not parse(Source(str(block), block.text)).mistakes
        and not any(text in block.text for text in ON_PURPOSE)
        and "grammar" not in block.document
    ]
    assert unmarked == []


COMMANDS = re.compile(r"(?:^|[|&;(]\s*|sudo |\$\()(tmelink .*)")
AFTER = re.compile(r"\s+#.*|\s*[|&;<>)].*|…")
"""What follows a command in a line of shell."""


def commands() -> list[tuple[str, list[str]]]:
    """Every command line of tmelink that a document shows, with the block it is in."""
    found = []
    for block in blocks("sh", "console"):
        lines = block.text.replace("\\\n", " ").splitlines()
        if block.language == "console":
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        for line in lines:
            for command in COMMANDS.findall(re.sub(r"(?<= )'[^']*'", "quoted", line)):
                found.append((str(block), shlex.split(AFTER.sub("", command))[1:]))
    return found


@pytest.mark.parametrize("block", blocks("sh"), ids=str)
def test_shell_in_documents_is_shell(block: Block) -> None:
    done = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_commands_in_documents_are_as_the_parser_takes_them(capsys: pytest.CaptureFixture[str]) -> None:
    shown = commands()
    assert len(shown) > 40
    top = parser()
    refused = []
    for block, words in shown:
        try:
            top.parse_args(words)
        except SystemExit as ended:
            if ended.code:
                refused.append(f"{block}: tmelink {' '.join(words)}: {capsys.readouterr().err}")
    assert refused == [], "\n".join(refused)


@pytest.mark.parametrize("block", [each for each in blocks("python") if ">>>" not in each.text], ids=str)
def test_python_in_documents_is_python(block: Block) -> None:
    """Those with `>>>` run as doctests (tests/test_documents.py)."""
    compile(block.text, str(block), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


def test_the_example_of_the_how_to_on_embedding_runs() -> None:
    (block,) = (each for each in blocks("python") if each.document == "docs/howto-embed.md")
    exec(compile(block.text, str(block), "exec"), {})


@pytest.mark.parametrize("block", blocks("json", "toml"), ids=str)
def test_data_in_documents_can_be_read(block: Block) -> None:
    """JSON is one document, or one a line as on the control socket."""
    if block.language == "toml":
        tomllib.loads(block.text)
        return
    try:
        json.loads(block.text)
    except json.JSONDecodeError:
        for line in block.text.splitlines():
            json.loads(line)


LANGUAGES = {"", "console", "elisp", "json", "lua", "python", "sh", "tmesh", "toml", "yaml"}
"""Not read here: editors' own languages, Prometheus' YAML, and blocks without a language, which are output
and configurations of other programs."""


def test_every_block_has_a_language_that_is_known() -> None:
    assert {block.language for block in blocks()} <= LANGUAGES


MAKE = re.compile(r"\bmake ((?:[a-z-]+ ?)+)")


def test_targets_of_make_that_documents_name_are_there() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        word
        for block in blocks("sh", "console")
        for line in block.text.splitlines()
        for found in MAKE.findall(line.split("#")[0])
        for word in found.split()
    }
    assert named
    assert named <= targets


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    text = (ROOT / "mkdocs.yml").read_text()
    pages = {path.name for path in (ROOT / "docs").glob("*.md")}
    assert pages <= set(re.findall(r"[\w-]+\.md", text[text.index("nav:\n  - Start") :]))

"""`tmelink fmt`: one layout, the same program, and every comment kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import assume, given

from tests.support.documents import Block, blocks
from tests.support.fuzzing import examples
from tests.support.machine_texts import SOUP, bare, read, spelled
from tmelink.cli import main
from tmelink.errors import MachineError
from tmelink.resources import folder
from tmelink.source import Source
from tmelink.tmesh.formatting import formatted
from tmelink.tmesh.language import parse


def done(text: str) -> str:
    return formatted(Source("test", text))


MESSY = """

# top
switch0:tmelink/switch
machine a { le0  :tmelink/host inet 10.0.0.1/24 ; le0 at /switch0 }
machine   b {# its NIC


  le1 at /switch0 :tmelink/host  \\
  inet 10.0.0.2/24   # with an address
  x at y  # and\t


  # last

} ; machine c { }   machine d { machine e { a at b } machine f { } }
host h address 1::2 ssh x { "a b": mod \\
   }
log a debug;;command x say "two
 lines" more # so
"""

NEAT = """\
# top
switch0: tmelink/switch
machine a { le0: tmelink/host inet 10.0.0.1/24; le0 at /switch0 }
machine b {  # its NIC
    le1 at /switch0: tmelink/host \\
        inet 10.0.0.2/24  # with an address
    x at y                # and

    # last
}
machine c { }
machine d { machine e { a at b }; machine f { } }
host h address 1::2 ssh x {
    "a b": mod
}
log a debug; command x say "two
 lines" more  # so
"""


def test_a_messy_file_becomes_neat() -> None:
    assert done(MESSY) == NEAT
    assert done(NEAT) == NEAT


@pytest.mark.parametrize("sample", sorted(folder("machines").glob("*.conf")), ids=lambda path: path.name)
def test_every_sample_is_formatted(sample: Path) -> None:
    assert done(sample.read_text()) == sample.read_text()


@pytest.mark.parametrize("block", blocks("tmesh"), ids=str)
def test_what_the_documents_show_is_formatted(block: Block) -> None:
    assert done(block.text) == block.text


def the_same(text: str) -> None:
    neat = done(text)
    assert bare(read(neat)) == bare(read(text))
    assert done(neat) == neat


@examples(500)
@given(spelled())
def test_the_program_stays_the_same_and_a_second_pass_changes_nothing(text: str) -> None:
    assume(not parse(Source("test", text)).mistakes)
    the_same(text)
    assert done(text).count("#") == text.count("#")


@examples(500)
@given(SOUP)
def test_any_text_that_is_a_machine_file_stays_the_same_program(text: str) -> None:
    assume(not parse(Source("test", text)).mistakes)
    the_same(text)


def test_a_file_with_a_mistake_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(MachineError):
        done("a b\n")
    file = tmp_path / "lab.conf"
    file.write_text("a   b\n")
    assert main(["fmt", str(file)]) == 1
    assert file.read_text() == "a   b\n"
    assert "lab.conf:1:" in capsys.readouterr().err


def test_fmt_writes_what_differs_and_check_only_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, neat = tmp_path / "lab.conf", tmp_path / "neat.conf"
    file.write_text("a:tmelink/switch\n")
    neat.write_text("a: tmelink/switch\n")
    before = neat.stat().st_mtime_ns
    assert main(["fmt", "--check", str(file), str(neat)]) == 1
    assert capsys.readouterr().out == f"{file}\n"
    assert file.read_text() == "a:tmelink/switch\n"
    assert main(["fmt", str(file), str(neat)]) == 0
    assert file.read_text() == "a: tmelink/switch\n"
    assert neat.stat().st_mtime_ns == before
    assert main(["fmt", "--check", str(file), str(neat)]) == 0


def test_fmt_does_not_write_what_it_cannot_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "lab.conf"
    file.write_bytes(b"a:tmelink/switch # caf\xe9\n")
    assert main(["fmt", str(file)]) == 1
    assert "is not UTF-8" in capsys.readouterr().err
    assert file.read_bytes() == b"a:tmelink/switch # caf\xe9\n"

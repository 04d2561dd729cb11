"""Standard input, output and error that are closed, full or without a reader."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from tests.support.netns import Process
from tmelink.cli import main
from tmelink.control import ControlError, connect
from tmelink.machine import load

TMELINK = [sys.executable, "-m", "tmelink"]

LAB = """
sw0: tmelink/switch
le0 at sw0: tmelink/host inet 10.0.77.1/24
le1 at sw0: tmelink/host inet 10.0.77.2/24
command le0 addresses
"""

BOM = b"\xef\xbb\xbf"

FULL = Path("/dev/full")

needs_full = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")


def tmelink(*words: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.run([*TMELINK, *words], timeout=60, check=False, **options)


@contextlib.contextmanager
def closed_pipe() -> Iterator[IO[bytes]]:
    """The writing end of a pipe whose reader has gone."""
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb", buffering=0) as end:
        yield end


# Standard input


def given(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), "utf-8"))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_file_on_standard_input_is_read_as_one_on_disk(
    end: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given(monkeypatch, BOM + b"# caf\xe9, in Latin-1" + LAB.replace("\n", end).encode())
    assert main(["check", "-"]) == 0
    assert capsys.readouterr() == ("", "")


def test_a_text_may_begin_with_a_byte_order_mark() -> None:
    assert list(load("\ufeff" + LAB).elements) == ["/sw0", "/le0", "/le1"]


def test_a_lab_is_changed_by_texts_with_a_byte_order_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bom.conf").write_text(LAB)
    lab = Process([*TMELINK, "run", "bom.conf"], cwd=tmp_path)
    try:
        lab.expect("running: ")
        more = LAB + "le2 at sw0: tmelink/host inet 10.0.77.3/24\n"
        for number, (command, text) in enumerate(
            (
                (["apply", "-", "--lab", "bom"], more),
                (["exec", "bom"], "le3 at sw0: tmelink/host inet 10.0.77.4/24\n"),
                (["shell", "bom"], "le4 at sw0: tmelink/host inet 10.0.77.5/24\n"),
            )
        ):
            given(monkeypatch, BOM + text.encode())
            assert main(command) == 0
            with connect("bom") as running:
                assert running.call("summary")["total"] == 4 + number
    finally:
        lab.kill()


@pytest.mark.parametrize("command", [["check", "-"], ["run", "-"], ["passwd", "laptop"]])
def test_closed_standard_input_is_said(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", None)
    assert main(command) == 1
    said = capsys.readouterr().err
    assert said == "tmelink: standard input is closed: give a file, or a text to read there\n"


# Standard output


@needs_full
@pytest.mark.parametrize(("command", "unbuffered"), [("elements", ""), ("elements", "1"), ("--help", "1")])
def test_a_result_that_a_full_disk_does_not_take_is_a_failure_in_words(command: str, unbuffered: str) -> None:
    with FULL.open("wb") as full:
        done = tmelink(command, stdout=full, env={**os.environ, "PYTHONUNBUFFERED": unbuffered})
    assert done.returncode == 1
    assert done.stderr.decode() == "tmelink: standard output: No space left on device\n"


def test_a_reader_that_has_read_enough_is_not_told(tmp_path: Path) -> None:
    with closed_pipe() as pipe:
        done = tmelink("elements", stdout=pipe)
    assert (done.returncode, done.stderr) == (1, b"")


def test_closed_standard_output_is_not_wanted() -> None:
    done = subprocess.run(
        ["sh", "-c", '"$@" >&-', "sh", *TMELINK, "ps"], stderr=subprocess.PIPE, timeout=60, check=False
    )
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr


@needs_full
def test_a_capture_that_a_full_disk_does_not_take_is_a_failure_in_words(tmp_path: Path) -> None:
    (tmp_path / "caught.conf").write_text(LAB)
    lab = Process([*TMELINK, "run", "caught.conf"], cwd=tmp_path)
    try:
        lab.expect("running: ")
        done = tmelink("capture", "caught", "-w", str(FULL))
        assert done.returncode == 1
        assert done.stderr.decode().endswith("tmelink: /dev/full: No space left on device\n")
    finally:
        lab.kill()


# A lab that runs


def _runs_to_its_end(path: Path, shell: str) -> tuple[int, list[str]]:
    """Run a lab with redirections until it has answered, and end it; its status and what it wrote."""
    path.write_text(LAB)
    lab = Process(["sh", "-c", f'exec "$@" {shell}', "sh", *TMELINK, "run", str(path)])
    try:
        # Its own output may be what is lost: it is up once it answers.
        for _ in range(1000):
            with contextlib.suppress(ControlError), connect(path.stem) as running:
                if all(row["state"] == "up" for row in running.call("status")["elements"]):
                    break
            with contextlib.suppress(subprocess.TimeoutExpired):
                raise AssertionError(f"ended: {lab.wait(0.02)}\n{lab.output}")
        with connect(path.stem) as running:
            told = running.call("exec", text="le0 ping 10.0.77.2 count 1", directory="/")["output"]
        assert "1 received" in told[0]
        lab.signal(signal.SIGTERM)
        return lab.wait(), lab.lines
    finally:
        lab.kill()


@needs_full
@pytest.mark.parametrize(
    ("shell", "told"),
    [
        (">/dev/full", "tmelink: warning: standard output: No space left on device; the lab keeps running"),
        ("2>/dev/full", "connection    frames"),
        (">/dev/full 2>&1", ""),
        ("<&- >&- 2>&-", ""),
    ],
)
def test_a_lab_goes_on_without_its_output(tmp_path: Path, shell: str, told: str) -> None:
    status, lines = _runs_to_its_end(tmp_path / "unheard.conf", shell)
    assert status == 0, lines
    assert any(told in line for line in lines) == bool(told), lines
    assert sum("standard output" in line for line in lines) <= 1, "it is said once"
    assert not any("Traceback" in line or "Exception" in line for line in lines), lines


def test_a_lab_goes_on_without_a_reader(tmp_path: Path) -> None:
    """As of `tmelink run lab.conf | head -1`."""
    path = tmp_path / "piped.conf"
    path.write_text(LAB)
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb", buffering=0) as end:
        lab = subprocess.Popen(
            [*TMELINK, "run", str(path)],
            stdout=end,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    assert lab.stderr is not None
    try:
        lines = []
        for line in lab.stderr:
            lines.append(line)
            if "running: " in line:
                lab.terminate()
        assert lab.wait(10) == 0
        assert sum("standard output: Broken pipe" in line for line in lines) == 1, lines
    finally:
        lab.kill()
        lab.stderr.close()


@needs_full
def test_a_mistake_is_a_failure_though_it_cannot_be_written() -> None:
    with FULL.open("wb") as full:
        assert tmelink("run", "nowhere.conf", stderr=full).returncode == 1


def test_no_socket_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    told = tmp_path / "told"
    script = (
        "import os, pathlib; from tmelink.cli import streams; streams.open_all(); "
        f"pathlib.Path({str(told)!r}).write_text(' '.join(map(str, "
        "[*(os.fstat(n).st_rdev == os.stat(os.devnull).st_rdev for n in range(3)), "
        "*(file is not None for file in (os.sys.stdout, os.sys.stderr))])))"
    )
    words = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", script]
    assert subprocess.run(words, timeout=60, check=False).returncode == 0
    assert told.read_text() == "True True True True True"

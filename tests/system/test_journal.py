"""What is to be undone outlives the process that did it, and only that."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tmelink.system import journal, recovery
from tmelink.system.journal import Journal

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's network namespaces")


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "journals"
    monkeypatch.setattr(journal, "directory", lambda: folder)
    return folder


def left() -> list[list[journal.Entry]]:
    return [entries for _path, entries, is_left in journal.others() if is_left]


def end_badly(kept: Journal) -> None:
    """What a SIGKILL does to a journal: its lock is gone, the file is not."""
    kept._file.close()


def test_a_journal_that_is_held_is_not_left() -> None:
    kept = Journal()
    kept.note(["route", {"dst": "10.0.0.0/8"}])
    assert [(entries, is_left) for _path, entries, is_left in journal.others()] == [
        ([["route", {"dst": "10.0.0.0/8"}]], False)
    ]
    kept.forget(["route", {"dst": "10.0.0.0/8"}])
    kept.close()
    assert list(journal.others()) == []


def test_what_is_left_is_what_was_not_undone() -> None:
    kept = Journal()
    first, second = ["rule", {"priority": 1}], ["rule", {"priority": 2}]
    kept.note(first)
    kept.note(second)
    kept.forget(first)
    end_badly(kept)
    assert left() == [[second]]


def test_a_last_line_cut_short_is_passed_over(own_directory: Path) -> None:
    kept = Journal()
    kept.note(["rule", {"priority": 1}])
    end_badly(kept)
    (path,) = own_directory.glob("*.undo")
    path.write_text(path.read_text() + '["rule", {"prio')
    assert left() == [[["rule", {"priority": 1}]]]


def test_another_namespace_is_none_of_ours_and_another_boot_is_over(own_directory: Path) -> None:
    Journal().close()
    boot, cookie, number = journal.namespace().split("/")
    other = own_directory / "1-0.undo"
    other.write_text(json.dumps(f"{boot}/{int(cookie) + 1}/{number}") + "\n")
    past = own_directory / "2-0.undo"
    past.write_text(json.dumps(f"another/{cookie}/{number}") + "\n")
    assert list(journal.others()) == []
    assert other.exists()
    assert not past.exists()


def test_a_journal_of_a_killed_process_is_left(own_directory: Path) -> None:
    program = (
        "import sys, pathlib\n"
        "from tmelink.system import journal\n"
        f"journal.directory = lambda: pathlib.Path({str(own_directory)!r})\n"
        "kept = journal.Journal()\n"
        "kept.note(['rule', {'priority': 7}])\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert left() == []
        process.kill()
    assert left() == [[["rule", {"priority": 7}]]]


def test_a_directory_where_others_may_write_is_not_trusted(own_directory: Path) -> None:
    own_directory.mkdir()
    own_directory.chmod(0o777)
    with pytest.raises(PermissionError, match="is not safe"):
        Journal()


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs users")
def test_without_a_session_an_ordinary_user_keeps_no_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "directory", lambda: None)
    kept = Journal()
    kept.note(["rule", {}])
    assert kept.path is None
    assert list(journal.others()) == []
    with journal.alone():
        kept.close()


def locked(folder: Path) -> subprocess.Popen[bytes]:
    """Another process that keeps the journals for itself, as one that was stopped does."""
    script = (
        "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); "
        "print('kept', flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", script, str(folder / "lock")]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"kept\n"
    return process


def test_nobody_waits_for_the_journals_who_has_nothing_to_undo(own_directory: Path) -> None:
    """That somebody lives, and that another namespace has something left, is no reason to wait."""
    living, elsewhere = Journal(), Journal()
    living.note(["rule", {"priority": 1}])
    end_badly(elsewhere)
    assert elsewhere.path is not None
    boot, cookie, standing = journal.namespace().split("/")
    elsewhere.path.write_text(json.dumps(f"{boot}/{cookie}1/{standing}") + '\n["rule", {"priority": 2}]\n')
    with locked(own_directory) as process:
        began = time.monotonic()
        recovery.recover()
        assert time.monotonic() - began < journal.LOCK_SECONDS / 2
        process.communicate()
    end_badly(living)


def test_a_start_goes_on_while_another_process_keeps_the_journals(
    own_directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What is left is undone at the next start."""
    monkeypatch.setattr(journal, "LOCK_SECONDS", 0.1)
    monkeypatch.setattr(logging.getLogger("tmelink"), "propagate", True)
    kept = Journal()
    kept.note(["unknown"])
    end_badly(kept)
    with locked(own_directory) as process:
        recovery.recover()
        process.communicate()
    assert "another process has kept" in caplog.text
    assert left() == [[["unknown"]]]
    recovery.recover()
    assert left() == []

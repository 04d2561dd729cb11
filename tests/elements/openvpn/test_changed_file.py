"""A file that is read again when it changes, and only then."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tmelink.elements.openvpn.sessions import Files, _changed_file
from tmelink.openvpn.secret import Material, Secret


def test_a_file_is_given_once_for_each_change(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "crl.pem"
    file.write_text("one")
    changed = _changed_file(Material(path=str(file)), Files(logging.getLogger("tmelink.test")))
    assert changed is not None
    assert [changed(), changed()] == [b"one", b""]
    file.write_text("another")
    assert [changed(), changed()] == [b"another", b""]
    file.unlink()
    assert changed() == b""
    assert "the list read before remains valid" in caplog.text


def test_a_block_does_not_change() -> None:
    assert _changed_file(Material(inline=Secret(b"x")), Files(logging.getLogger("test"))) is None
    assert _changed_file(None, Files(logging.getLogger("test"))) is None

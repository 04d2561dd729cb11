"""Keys beside the file that ansible-vault has encrypted."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.support.deployments import LAB
from tmelink.cli import main
from tmelink.deploy.keys import KeyFolder
from tmelink.deploy.vault import Vault, is_encrypted
from tmelink.errors import TmelinkError


@pytest.fixture
def password(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text("correct horse\n")
    return file


def test_keys_are_kept_encrypted_and_stay_the_same(
    tmp_path: Path, password: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "lab.conf"
    file.write_text(LAB)
    command = ["deploy", str(file), "--vault", str(password), "--write"]
    assert main([*command, str(tmp_path / "one")]) == 0
    said = capsys.readouterr().out
    assert f"ansible-playbook --vault-password-file {password} -i" in said
    kept = sorted((tmp_path / "lab.conf.keys").iterdir())
    assert [path.name for path in kept] == [
        f"{h}.{k}" for h in ("east", "north", "south") for k in ("crt", "key")
    ]
    assert all(is_encrypted(path) and stat.S_IMODE(path.stat().st_mode) == 0o600 for path in kept)
    written = list((tmp_path / "one/slices").glob("*/keys/*.key"))
    assert len(written) == 3
    assert all(map(is_encrypted, written))

    # The keys are those of before, and so are the files.
    before = [path.read_bytes() for path in kept]
    assert main([*command, str(tmp_path / "two")]) == 0
    assert "new keys" not in capsys.readouterr().out
    assert [path.read_bytes() for path in kept] == before
    Vault(tmp_path / "lab.conf.keys", password).open_into(tmp_path / "opened")
    assert b"PRIVATE KEY" in (tmp_path / "opened/south.key").read_bytes()

    # Without the password nothing is made beside them.
    assert main(["deploy", str(file), "--write", str(tmp_path / "three")]) == 1
    assert "east.crt: it is encrypted; add --vault FILE" in capsys.readouterr().err
    (tmp_path / "wrong").write_text("battery staple\n")
    with pytest.raises(TmelinkError, match=r"ansible-vault decrypt: .*Decryption failed"):
        Vault(tmp_path / "lab.conf.keys", tmp_path / "wrong").open_into(tmp_path / "not")


def test_plain_keys_are_encrypted_when_asked(tmp_path: Path, password: Path) -> None:
    file = tmp_path / "lab.conf"
    file.write_text(LAB)
    assert main(["deploy", str(file), "--write", str(tmp_path / "one")]) == 0
    plain = KeyFolder(tmp_path / "lab.conf.keys").of("south").fingerprint
    assert main(["deploy", str(file), "--vault", str(password), "--write", str(tmp_path / "two")]) == 0
    assert all(map(is_encrypted, (tmp_path / "lab.conf.keys").iterdir()))
    Vault(tmp_path / "lab.conf.keys", password).open_into(tmp_path / "opened")
    assert KeyFolder(tmp_path / "opened").of("south").fingerprint == plain

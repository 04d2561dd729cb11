"""`tmelink genkey` and `tmelink keygen`: key files that OpenVPN reads, for their owner alone."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tmelink.cli import main
from tmelink.openvpn import keys
from tmelink.openvpn.server import auth_token
from tmelink.openvpn.tls import wrap as tls_wrap


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize("words", [[], ["--secret"], ["secret"]], ids=str)
def test_a_static_key_is_new_each_time_and_its_owners_alone(tmp_path: Path, words: list[str]) -> None:
    made = [tmp_path / name for name in ("a.key", "b.key")]
    for file in made:
        assert main(["genkey", *words, str(file)]) == 0
        assert mode(file) == 0o600
    assert len({keys.parse(file.read_bytes()).reveal() for file in made}) == 2


def test_a_file_that_is_there_stays_unless_forced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.key"
    file.write_text("precious")
    file.chmod(0o644)
    assert main(["genkey", str(file)]) == 1
    assert "already exists; --force overwrites it" in capsys.readouterr().err
    assert file.read_text() == "precious"
    assert main(["genkey", "--force", str(file)]) == 0
    keys.parse(file.read_bytes())
    assert mode(file) == 0o600


def test_a_directory_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["genkey", str(tmp_path / "none" / "a.key")]) == 1
    assert "No such file or directory" in capsys.readouterr().err


def test_a_client_key_is_opened_by_the_server_key_it_was_made_with(tmp_path: Path) -> None:
    server, client, other = (tmp_path / name for name in ("server.key", "client.key", "other.key"))
    assert main(["genkey", "tls-crypt-v2-server", str(server)]) == 0
    assert main(["genkey", "tls-crypt-v2-server", str(other)]) == 0
    assert main(["genkey", "tls-crypt-v2-client", str(client), "--server-key", str(server)]) == 0
    assert mode(server) == mode(client) == 0o600
    wrapped = tls_wrap.parse_client_key(client.read_bytes()).wrapped
    key = tls_wrap.unwrap_client_key(tls_wrap.parse_server_key(server.read_bytes()).key, wrapped)
    assert key[0] == tls_wrap.parse_client_key(client.read_bytes()).key
    with pytest.raises(Exception, match="not authentic"):
        tls_wrap.unwrap_client_key(tls_wrap.parse_server_key(other.read_bytes()).key, wrapped)


def test_a_key_for_tokens_is_new_each_time(tmp_path: Path) -> None:
    made = [tmp_path / name for name in ("a.key", "b.key")]
    for file in made:
        assert main(["genkey", "auth-token", str(file)]) == 0
        assert mode(file) == 0o600
    assert len({auth_token.parse_secret(file.read_bytes()) for file in made}) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tls-crypt-v2-client", "x"], "--server-key and tls-crypt-v2-client go together"),
        (["secret", "x", "--server-key", "y"], "--server-key and tls-crypt-v2-client go together"),
        (["tls-crypt-v3", "x"], "genkey takes one kind"),
        (["--secret", "tls-crypt-v2-server", "x"], "genkey takes one kind"),
        (["secret", "a", "b"], "genkey takes one kind"),
        (["tls-crypt-v2-client", "x", "--server-key", "none"], "--server-key none: No such file"),
        (["tls-crypt-v2-client", "x", "--server-key", "wrong"], "--server-key wrong: no '-----BEGIN"),
    ],
)
def test_what_cannot_be_made_is_told_and_nothing_written(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("wrong").write_text("no key")
    assert main(["genkey", *words]) == 1
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["wrong"]


@pytest.mark.needs("openvpn")
def test_openvpn_reads_each_kind(tmp_path: Path) -> None:
    static, server, client = (str(tmp_path / name) for name in ("static", "server", "client"))
    main(["genkey", static])
    main(["genkey", "tls-crypt-v2-server", server])
    main(["genkey", "tls-crypt-v2-client", client, "--server-key", server])
    again = str(tmp_path / "again")
    done = subprocess.run(
        ["openvpn", "--tls-crypt-v2", server, "--genkey", "tls-crypt-v2-client", again],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    tls_wrap.unwrap_client_key(
        tls_wrap.parse_server_key(Path(server).read_bytes()).key,
        tls_wrap.parse_client_key(Path(again).read_bytes()).wrapped,
    )
    done = subprocess.run(
        ["openvpn", "--test-crypto", "--secret", static, "--cipher", "AES-256-CBC"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Test of crypto Succeeded" in done.stdout.replace("test", "Test") or done.returncode == 0, (
        done.stdout
    )


def test_a_pair_for_one_end_is_written_with_the_lines_to_paste(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["keygen", "office"]) == 0
    said = capsys.readouterr().out
    assert mode(Path("office.key")) == 0o600
    assert b"PRIVATE KEY" in Path("office.key").read_bytes()
    shown = subprocess.run(
        ["openssl", "x509", "-in", "office.crt", "-noout", "-fingerprint", "-sha256", "-subject"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    fingerprint = re.search("Fingerprint=(.*)", shown)
    assert fingerprint is not None
    assert "CN = office" in shown
    assert f"--peer-fingerprint {fingerprint[1].upper()}" in said
    assert "--key office.key --cert office.crt" in said
    before = Path("office.key").read_bytes()
    assert main(["keygen", "office"]) == 1
    assert Path("office.key").read_bytes() == before
    assert main(["keygen", "office", "--force"]) == 0
    assert Path("office.key").read_bytes() != before


def test_a_name_too_long_for_a_certificate_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["keygen", str(tmp_path / ("x" * 65))]) == 1
    assert "a name has 1 to 64 characters" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []

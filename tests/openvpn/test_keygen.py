"""Keys and certificates for ends that know each other by fingerprint."""

from __future__ import annotations

import datetime
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.support.wire import START
from tmelink.openvpn.tls import keygen
from tmelink.openvpn.tls.identity import Rules, parse_fingerprint


def test_key_certificate_and_fingerprint_belong_together() -> None:
    pair = keygen.generate("my host", START)
    certificate = x509.load_pem_x509_certificate(pair.certificate)
    key = load_pem_private_key(pair.private_key, None)
    assert certificate.public_key() == key.public_key()
    assert certificate.subject == certificate.issuer
    certificate.verify_directly_issued_by(certificate)
    begin = datetime.datetime.fromtimestamp(START, datetime.UTC)
    assert certificate.not_valid_before_utc < begin < certificate.not_valid_after_utc
    assert Rules(fingerprints=frozenset({parse_fingerprint(pair.fingerprint)})).broken_by(certificate) is None
    for side in ("Server", "Client"):
        rules = Rules(usage=True, extended_usage=f"TLS Web {side} Authentication", name="CN=my host")
        assert rules.broken_by(certificate) is None


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl, which is not installed")
def test_the_fingerprint_is_written_as_openssl_writes_it(tmp_path: Path) -> None:
    pair = keygen.generate("a", START)
    path = tmp_path / "a.crt"
    path.write_bytes(pair.certificate)
    said = subprocess.run(
        ["openssl", "x509", "-fingerprint", "-sha256", "-noout", "-in", str(path)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert said.strip().split("=")[1] == pair.fingerprint


@pytest.mark.parametrize("text", ["", "AB", "AB:" * 31 + "ZZ", "AB:" * 32 + "AB"])
def test_what_is_no_fingerprint_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        parse_fingerprint(text)


def test_the_private_key_stays_out_of_repr() -> None:
    assert "PRIVATE" not in repr(keygen.generate("a", START))

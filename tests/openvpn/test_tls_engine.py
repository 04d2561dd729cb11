"""TLS connections without a wire: what they export, against the RFCs reckoned from the library's key log."""

from __future__ import annotations

import hashlib
import hmac
import struct

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from tests.support.pki import Authority
from tests.support.wire import START
from tmelink.openvpn.tls.engine import TlsContext, TlsEngine, TlsFiles, TlsVersion
from tmelink.openvpn.tls.key_method import EXPORTER_DATA_KEYS, EXPORTER_DYNAMIC_TLS_CRYPT

AUTHORITY = Authority(START)


def context(usage: str, version: TlsVersion) -> TlsContext:
    pair = AUTHORITY.issue(usage, usage)
    ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256" if version == "1.2" else None
    suites = "TLS_AES_128_GCM_SHA256" if version == "1.3" else None
    files = TlsFiles(
        certificate=pair.pem,
        private_key=pair.key_pem,
        ca=AUTHORITY.own.pem,
        version_min=version,
        version_max=version,
        ciphers=ciphers,
        ciphersuites=suites,
    )
    return TlsContext(files, server=usage == "server")


def shake_hands(version: TlsVersion) -> tuple[TlsEngine, TlsEngine, dict[str, bytes]]:
    """Two connected engines, and the secrets that the client's library logs, by their labels."""
    secrets: dict[str, bytes] = {}

    def logged(_connection: object, line: bytes) -> None:
        label, _random, secret = line.decode().split()
        secrets[label] = bytes.fromhex(secret)

    client_context = context("client", version)
    client_context._context.set_keylog_callback(logged)
    client, server = client_context.engine(START), context("server", version).engine(START)
    for _ in range(4):
        server.step(client.outgoing())
        client.step(server.outgoing())
        server.step(client.outgoing())
    assert client.established
    assert server.established
    return client, server, secrets


def expand_label(secret: bytes, label: bytes, context: bytes, length: int) -> bytes:
    """HKDF-Expand-Label (RFC 8446, section 7.1)."""
    name = b"tls13 " + label
    info = struct.pack(">HB", length, len(name)) + name + bytes((len(context),)) + context
    return HKDFExpand(hashes.SHA256(), length, info).derive(secret)


def prf(secret: bytes, seed: bytes, length: int) -> bytes:
    """P_SHA256 (RFC 5246, section 5)."""
    out, a = b"", seed
    while len(out) < length:
        a = hmac.digest(secret, a, "sha256")
        out += hmac.digest(secret, a + seed, "sha256")
    return out[:length]


@pytest.mark.parametrize("label", [EXPORTER_DATA_KEYS, EXPORTER_DYNAMIC_TLS_CRYPT])
def test_tls_1_3_exports_what_the_rfc_says(label: bytes) -> None:
    client, server, secrets = shake_hands("1.3")
    nothing = hashlib.sha256(b"").digest()
    derived = expand_label(secrets["EXPORTER_SECRET"], label, nothing, 32)
    expected = expand_label(derived, b"exporter", nothing, 256)
    assert client.export(label, 256) == server.export(label, 256) == expected


@pytest.mark.parametrize("label", [EXPORTER_DATA_KEYS, EXPORTER_DYNAMIC_TLS_CRYPT])
def test_tls_1_2_exports_what_the_rfc_says(label: bytes) -> None:
    client, server, secrets = shake_hands("1.2")
    connection = client._connection
    clients, servers = connection.client_random(), connection.server_random()
    assert clients is not None
    assert servers is not None
    seed = label + clients + servers
    expected = prf(secrets["CLIENT_RANDOM"], seed, 256)
    assert client.export(label, 256) == server.export(label, 256) == expected

"""New keys and self-signed certificates for a pair of ends that know each other by fingerprint.

Bytes in, bytes out: whoever calls this writes the files. The fingerprint is written as OpenVPN's
`--peer-fingerprint` reads it.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tmelink.openvpn.tls.identity import fingerprint

VALID_DAYS = 10 * 365
"""A pinned certificate is replaced by pinning another; it should not end a link by growing old."""

EARLY = datetime.timedelta(days=1)
"""Valid from a day before, so that a peer whose clock is behind takes it."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A private key and its self-signed certificate, both PEM, and the certificate's fingerprint."""

    private_key: bytes = field(repr=False)
    certificate: bytes
    fingerprint: str


def generate(name: str, unix_time: float) -> KeyPair:
    """A new P-256 key and certificate with the common name `name`, 1 to 64 characters, made at `unix_time`.

    The certificate serves either side of a link: it may sign as a server and as a client.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.fromtimestamp(unix_time, datetime.UTC)
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=True,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - EARLY)
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(both, critical=False)
        .sign(key, hashes.SHA256())
    )
    return KeyPair(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        certificate.public_bytes(Encoding.PEM),
        fingerprint(certificate),
    )

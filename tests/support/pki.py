"""Certificates for tests: an authority that signs, revokes, and lets its certificates expire."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)
USAGES = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}


@dataclass
class Pair:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.encrypted(None)

    def encrypted(self, passphrase: bytes | None) -> bytes:
        encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)

    def pkcs12(self, authority: Authority, passphrase: bytes) -> bytes:
        encryption = BestAvailableEncryption(passphrase)
        return pkcs12.serialize_key_and_certificates(
            b"pair", self.key, self.certificate, [authority.own.certificate], encryption
        )


@dataclass
class Authority:
    """A certificate authority that began at `unix_time`."""

    unix_time: float
    name: str = "Test authority"
    own: Pair = field(init=False)

    def __post_init__(self) -> None:
        self.own = self._make(self.name, authority=True, usage=None, days=3650, begin=0)

    def issue(self, name: str, usage: str | None = None, days: int = 365, begin: int = -1) -> Pair:
        """A certificate valid for `days` from `begin` days after the authority's beginning."""
        return self._make(name, authority=False, usage=usage, days=days, begin=begin)

    def crl(self, *revoked: Pair, days_later: int = 0) -> bytes:
        """A revocation list of the day before the authority's beginning, or so many days later."""
        start = datetime.datetime.fromtimestamp(self.unix_time, datetime.UTC) + (days_later / 10 - 1) * DAY
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.own.certificate.subject)
            .last_update(start)
            .next_update(start + 3650 * DAY)
        )
        for pair in revoked:
            entry = (
                x509.RevokedCertificateBuilder()
                .serial_number(pair.certificate.serial_number)
                .revocation_date(start)
                .build()
            )
            builder = builder.add_revoked_certificate(entry)
        return builder.sign(self.own.key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def _make(self, name: str, *, authority: bool, usage: str | None, days: int, begin: int) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        start = datetime.datetime.fromtimestamp(self.unix_time, datetime.UTC) + begin * DAY
        if authority:
            start -= 10 * DAY
        parts = [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "CH"),
            *([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else []),
        ]
        subject = x509.Name(parts)
        issuer = subject if authority else self.own.certificate.subject
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + days * DAY)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if authority or usage is not None:
            bits = x509.KeyUsage(
                digital_signature=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=not authority,
                key_cert_sign=authority,
                crl_sign=authority,
                encipher_only=False,
                decipher_only=False,
            )
            builder = builder.add_extension(bits, critical=True)
        if usage is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([USAGES[usage]]), critical=False)
        signer = key if authority else self.own.key
        return Pair(builder.sign(signer, hashes.SHA256()), key)

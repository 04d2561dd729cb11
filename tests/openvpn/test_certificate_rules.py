"""What a certificate must be beside having a valid chain: options of old files, and who its owner is."""

from __future__ import annotations

from typing import Literal

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.support.pki import Authority
from tests.support.wire import START
from tmelink.openvpn.tls.identity import Rules, owner, parse_fingerprint

AUTHORITY = Authority(START)
NETSCAPE = x509.ObjectIdentifier("2.16.840.1.113730.1.1")


def certificate(*extensions: x509.ExtensionType) -> x509.Certificate:
    """A certificate of the old kind, which says little of its purpose, or nothing."""
    key = AUTHORITY.own.key
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example"),
            x509.NameAttribute(NameOID.COMMON_NAME, "amy"),
            x509.NameAttribute(NameOID.EMAIL_ADDRESS, "amy@example.org"),
        ]
    )
    own = AUTHORITY.own.certificate
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(own.subject)
        .public_key(key.public_key())
        .serial_number(0xABC)
        .not_valid_before(own.not_valid_before_utc)
        .not_valid_after(own.not_valid_after_utc)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, hashes.SHA256())


def netscape(bits: int) -> x509.UnrecognizedExtension:
    return x509.UnrecognizedExtension(NETSCAPE, bytes((3, 2, 4, bits)))


@pytest.mark.parametrize(
    ("extensions", "server", "client"),
    [
        ((), True, True),
        ((netscape(0x40),), True, False),
        ((netscape(0x80),), False, True),
        ((netscape(0xC0),), True, True),
        ((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),), True, False),
        ((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), netscape(0x80)), False, False),
        ((x509.KeyUsage(False, False, False, False, False, True, True, False, False),), False, False),
    ],
)
def test_ns_cert_type(extensions: tuple[x509.ExtensionType, ...], server: bool, client: bool) -> None:
    """The extensions that there are must allow it, as OpenSSL judges a purpose."""
    found = certificate(*extensions)
    sides: dict[Literal["server", "client"], bool] = {"server": server, "client": client}
    for side, allowed in sides.items():
        broken = Rules(netscape=side).broken_by(found)
        assert (broken is None) == allowed, (side, broken)


@pytest.mark.parametrize("algorithm", [hashes.SHA1(), hashes.SHA256()])
def test_verify_hash(algorithm: hashes.HashAlgorithm) -> None:
    digest = AUTHORITY.own.certificate.fingerprint(algorithm)
    rules = Rules(issuer_hashes=frozenset([parse_fingerprint(digest.hex(":"), len(digest))]))
    assert rules.issuer_broken_by(AUTHORITY.own.certificate) is None
    assert "--verify-hash" in str(rules.issuer_broken_by(Authority(START).own.certificate))
    with pytest.raises(ValueError, match="20 bytes"):
        parse_fingerprint("AB:CD", 20)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        (("CN",), "amy"),
        (("emailAddress",), "amy@example.org"),
        (("CN", "O"), "amy_Example"),
        (("serialNumber",), "0abc"),
        (("ext:subjectAltName",), "amy@mail.example.org"),
        (("UID",), ""),
    ],
)
def test_x509_username_field(fields: tuple[str, ...], name: str) -> None:
    names = x509.SubjectAlternativeName([x509.DNSName("host"), x509.RFC822Name("amy@mail.example.org")])
    found = certificate(names)
    assert owner(found, fields) == name
    assert Rules(name_fields=fields).peer(found).common_name == name

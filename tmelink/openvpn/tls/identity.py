"""Who a peer's certificate says it is, and the rules that it must meet beside its chain.

Works on parsed certificates; the chain itself is checked by the TLS library. The rules are those of
OpenVPN's man page: `--peer-fingerprint`, `--verify-x509-name`, `--remote-cert-tls`, `--remote-cert-ku`,
`--remote-cert-eku`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_SHORT = {
    NameOID.COUNTRY_NAME: "C",
    NameOID.STATE_OR_PROVINCE_NAME: "ST",
    NameOID.LOCALITY_NAME: "L",
    NameOID.ORGANIZATION_NAME: "O",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "OU",
    NameOID.COMMON_NAME: "CN",
    NameOID.EMAIL_ADDRESS: "emailAddress",
    NameOID.SERIAL_NUMBER: "serialNumber",
    NameOID.GIVEN_NAME: "GN",
    NameOID.SURNAME: "SN",
    NameOID.TITLE: "title",
    NameOID.PSEUDONYM: "pseudonym",
    NameOID.DOMAIN_COMPONENT: "DC",
    NameOID.USER_ID: "UID",
    NameOID.DN_QUALIFIER: "dnQualifier",
    NameOID.STREET_ADDRESS: "street",
    NameOID.POSTAL_CODE: "postalCode",
}
"""Names of a subject's parts as OpenSSL and OpenVPN write them."""

_USAGES = {
    "TLS Web Server Authentication": ExtendedKeyUsageOID.SERVER_AUTH,
    "TLS Web Client Authentication": ExtendedKeyUsageOID.CLIENT_AUTH,
    "serverAuth": ExtendedKeyUsageOID.SERVER_AUTH,
    "clientAuth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "Code Signing": ExtendedKeyUsageOID.CODE_SIGNING,
    "E-mail Protection": ExtendedKeyUsageOID.EMAIL_PROTECTION,
    "Time Stamping": ExtendedKeyUsageOID.TIME_STAMPING,
    "OCSP Signing": ExtendedKeyUsageOID.OCSP_SIGNING,
    "Any Extended Key Usage": ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
}
"""Extended key usages that may be named instead of given as an object identifier."""


@dataclass(frozen=True, slots=True)
class PeerIdentity:
    """The peer as its certificate names it; the fingerprint as `fingerprint` writes it."""

    common_name: str = ""
    subject: str = ""
    fingerprint: str = ""
    serial: int = 0


@dataclass(frozen=True, slots=True)
class Rules:
    """What a peer's certificate must be, beside having a valid chain.

    `fingerprints` are 32 bytes of SHA-256 each, empty for any. `name` is compared with what `name_type` says:
    the whole subject, the common name, or its beginning. `usage` True wants a key-usage extension, a tuple
    one of these bit masks (`--remote-cert-ku`); `extended_usage` an object identifier or one of its names.
    """

    fingerprints: frozenset[bytes] = frozenset()
    name: str | None = None
    name_type: Literal["subject", "name", "name-prefix"] = "subject"
    usage: bool | tuple[int, ...] = False
    extended_usage: str | None = None

    def broken_by(self, certificate: x509.Certificate) -> str | None:
        """Why a certificate does not meet these rules, or None."""
        digest = certificate.fingerprint(hashes.SHA256())
        if self.fingerprints and digest not in self.fingerprints:
            return f"its fingerprint {fingerprint(certificate)} is not among the expected ones"
        return (
            self._name_broken_by(certificate)
            or self._usage_broken_by(certificate)
            or self._extended_usage_broken_by(certificate)
        )

    def _name_broken_by(self, certificate: x509.Certificate) -> str | None:
        if self.name is None:
            return None
        if self.name_type == "subject":
            found, matches = subject(certificate), subject(certificate) == self.name
        else:
            found = common_name(certificate)
            matches = found == self.name if self.name_type == "name" else found.startswith(self.name)
        return None if matches else f"its {self.name_type} is '{found}', expected '{self.name}'"

    def _usage_broken_by(self, certificate: x509.Certificate) -> str | None:
        if self.usage is False:
            return None
        try:
            usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        except x509.ExtensionNotFound:
            return "it has no key usage extension"
        if self.usage is True:
            return None
        bits = _usage_bits(usage)
        if any(mask and bits & mask == mask for mask in self.usage):
            return None
        return f"its key usage is {bits:02x}, expected one of {', '.join(f'{m:02x}' for m in self.usage)}"

    def _extended_usage_broken_by(self, certificate: x509.Certificate) -> str | None:
        if self.extended_usage is None:
            return None
        try:
            usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        except x509.ExtensionNotFound:
            return "it has no extended key usage extension"
        wanted = _USAGES.get(self.extended_usage)
        dotted = wanted.dotted_string if wanted else self.extended_usage
        if any(usage.dotted_string == dotted for usage in usages):
            return None
        return f"its extended key usage lacks {self.extended_usage}"


def remote_cert_tls(side: Literal["server", "client"]) -> tuple[Literal[True], str]:
    """`usage` and `extended_usage` that `--remote-cert-tls` stands for."""
    return True, f"TLS Web {side.capitalize()} Authentication"


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of a certificate as `--peer-fingerprint` writes it: `AB:CD:…`, 32 bytes."""
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def parse_fingerprint(text: str) -> bytes:
    """32 bytes from `AB:CD:…`; raises `ValueError`."""
    try:
        raw = bytes.fromhex(text.replace(":", ""))
    except ValueError:
        raw = b""
    if len(raw) != 32:
        raise ValueError("a SHA256 fingerprint is 32 bytes in hexadecimal, such as AB:CD:…")
    return raw


def common_name(certificate: x509.Certificate) -> str:
    """The last common name of a certificate's subject, empty where it has none."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[-1].value) if names else ""


def subject(certificate: x509.Certificate) -> str:
    """A subject as OpenVPN writes it: `C=KG, ST=NA, CN=name`, in the certificate's order."""
    return ", ".join(
        " + ".join(f"{_SHORT.get(part.oid, part.oid.dotted_string)}={part.value!s}" for part in parts)
        for parts in certificate.subject.rdns
    )


def peer(certificate: x509.Certificate) -> PeerIdentity:
    """The peer of a certificate."""
    return PeerIdentity(
        common_name(certificate), subject(certificate), fingerprint(certificate), certificate.serial_number
    )


def _usage_bits(usage: x509.KeyUsage) -> int:
    """The key usage as the bit mask that `--remote-cert-ku` means, digitalSignature the highest of eight."""
    agreement = usage.key_agreement
    flags = (
        usage.digital_signature,
        usage.content_commitment,
        usage.key_encipherment,
        usage.data_encipherment,
        agreement,
        usage.key_cert_sign,
        usage.crl_sign,
        agreement and usage.encipher_only,
    )
    return sum(1 << (7 - place) for place, flag in enumerate(flags) if flag)

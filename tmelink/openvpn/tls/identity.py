"""Who a peer's certificate says it is, and the rules that it must meet beside its chain.

Works on parsed certificates; the chain itself is checked by the TLS library. The rules are those of
OpenVPN's man page: `--peer-fingerprint`, `--verify-x509-name`, `--remote-cert-tls`, `--remote-cert-ku`,
`--remote-cert-eku`, `--ns-cert-type`, `--verify-hash`, `--x509-username-field`.
"""

from __future__ import annotations

from collections.abc import Sequence
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


_NETSCAPE = x509.ObjectIdentifier("2.16.840.1.113730.1.1")
"""The Netscape certificate type, by which certificates of the nineties say what they are for."""


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
    `netscape` is what an old certificate must allow (`--ns-cert-type`), `issuer_hashes` are SHA-1 or SHA-256
    of the authorities that may have signed the peer's own (`--verify-hash`), empty for any. `name_fields`
    make up the name of a certificate's owner.
    """

    fingerprints: frozenset[bytes] = frozenset()
    name: str | None = None
    name_type: Literal["subject", "name", "name-prefix"] = "subject"
    usage: bool | tuple[int, ...] = False
    extended_usage: str | None = None
    netscape: Literal["client", "server"] | None = None
    issuer_hashes: frozenset[bytes] = frozenset()
    name_fields: tuple[str, ...] = ("CN",)

    def tells_servers(self) -> bool:
        """Whether anything in them tells a server's certificate from others of its authority."""
        return bool(self.fingerprints or self.name or self.usage or self.extended_usage or self.netscape)

    def broken_by(self, certificate: x509.Certificate) -> str | None:
        """Why a certificate does not meet these rules, or None."""
        digest = certificate.fingerprint(hashes.SHA256())
        if self.fingerprints and digest not in self.fingerprints:
            return f"its fingerprint {fingerprint(certificate)} is not among the expected ones"
        return (
            self._name_broken_by(certificate)
            or self._usage_broken_by(certificate)
            or self._extended_usage_broken_by(certificate)
            or self._netscape_broken_by(certificate)
        )

    def issuer_broken_by(self, certificate: x509.Certificate) -> str | None:
        """Why the certificate of an authority may not sign a peer's, or None."""
        digests = {certificate.fingerprint(algorithm()) for algorithm in (hashes.SHA1, hashes.SHA256)}
        if not self.issuer_hashes or self.issuer_hashes & digests:
            return None
        return "its fingerprint is not one of --verify-hash"

    def peer(self, certificate: x509.Certificate) -> PeerIdentity:
        """The peer of a certificate."""
        return PeerIdentity(
            owner(certificate, self.name_fields),
            subject(certificate),
            fingerprint(certificate),
            certificate.serial_number,
        )

    def _netscape_broken_by(self, certificate: x509.Certificate) -> str | None:
        """As OpenSSL's X509_check_purpose() judges: extensions that there are must allow it."""
        if self.netscape is None:
            return None
        wanted = (
            ExtendedKeyUsageOID.SERVER_AUTH if self.netscape == "server" else ExtendedKeyUsageOID.CLIENT_AUTH
        )
        for extension in certificate.extensions:
            value = extension.value
            if isinstance(value, x509.ExtendedKeyUsage):
                allowed = wanted in value
            elif isinstance(value, x509.KeyUsage):
                allowed = value.digital_signature or value.key_agreement or value.key_encipherment
            elif extension.oid == _NETSCAPE and isinstance(value, x509.UnrecognizedExtension):
                allowed = _netscape_allows(value.value, server=self.netscape == "server")
            else:
                continue
            if not allowed:
                return f"it is not for a TLS {self.netscape} (--ns-cert-type {self.netscape})"
        return None

    def _name_broken_by(self, certificate: x509.Certificate) -> str | None:
        if self.name is None:
            return None
        if self.name_type == "subject":
            found, matches = subject(certificate), subject(certificate) == self.name
        else:
            found = owner(certificate, self.name_fields)
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


def parse_fingerprint(text: str, size: int = 32) -> bytes:
    """`size` bytes from `AB:CD:…`, 32 for SHA-256 and 20 for SHA-1; raises `ValueError`."""
    try:
        raw = bytes.fromhex(text.replace(":", ""))
    except ValueError:
        raw = b""
    if len(raw) != size:
        name = "SHA256" if size == 32 else "SHA1"
        raise ValueError(f"a {name} fingerprint is {size} bytes in hexadecimal, such as AB:CD:…")
    return raw


def owner(certificate: x509.Certificate, fields: Sequence[str]) -> str:
    """The parts of a certificate that name its owner, joined with `_`; those that it lacks are left out.

    A part is a name of the subject's, the last where there are several, `serialNumber` for the certificate's
    own number in hexadecimal, or `ext:subjectAltName` for its first e-mail address.
    """
    return "_".join(filter(None, (_part(certificate, field) for field in fields)))


def _part(certificate: x509.Certificate, field: str) -> str:
    if field == "ext:subjectAltName":
        try:
            names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return ""
        return next(iter(names.get_values_for_type(x509.RFC822Name)), "")
    if field == "serialNumber":
        digits = f"{certificate.serial_number:x}"
        return digits.zfill(len(digits) + len(digits) % 2)
    values = [part.value for part in certificate.subject if _SHORT.get(part.oid, "").upper() == field.upper()]
    return str(values[-1]) if values else ""


def subject(certificate: x509.Certificate) -> str:
    """A subject as OpenVPN writes it: `C=KG, ST=NA, CN=name`, in the certificate's order."""
    return ", ".join(
        " + ".join(f"{_SHORT.get(part.oid, part.oid.dotted_string)}={part.value!s}" for part in parts)
        for parts in certificate.subject.rdns
    )


def _netscape_allows(bits: bytes, *, server: bool) -> bool:
    """Whether a Netscape certificate type, a BIT STRING in DER, has the bit of a TLS server or client."""
    return len(bits) > 3 and bits[0] == 3 and bool(bits[3] & (0x40 if server else 0x80))


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

"""TLS over bytes: a context out of certificates and keys, and connections that know no socket.

Stands on pyOpenSSL because it exports keying material (RFC 5705), which the standard library's `ssl` does
not. Knows nothing of OpenVPN's packets; ciphertext and plaintext go in and out as bytes.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key, pkcs12
from OpenSSL import SSL, crypto

from tmelink.errors import ProtocolError
from tmelink.openvpn.tls import identity
from tmelink.openvpn.tls.identity import PeerIdentity, Rules
from tmelink.printable import printable

TlsVersion = Literal["1.2", "1.3"]

CIPHERS = b"DEFAULT:!EXP:!LOW:!MEDIUM:!kDH:!kECDH:!DSS:!PSK:!SRP:!kRSA"
"""TLS 1.2 ciphers where no `--tls-cipher` is given: OpenVPN's own default."""

SECURITY_LEVELS = {"insecure": 0, "legacy": 1, "preferred": 2, "suiteb": 2}
"""What `--tls-cert-profile` means to OpenSSL."""

SUITE_B = b"SUITEB128"
"""OpenSSL's word for what RFC 6460 allows."""

MAX_CHAIN = 16
"""Certificates in a peer's chain at most (OpenVPN's MAX_CERT_DEPTH)."""

_VERSIONS = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}

_NO_CRL = 3
"""X509_V_ERR_UNABLE_TO_GET_CRL: the revocation list says nothing of this issuer, which OpenVPN forgives."""

_CRL_CHECK = 0x4 | 0x8
"""X509_V_FLAG_CRL_CHECK and X509_V_FLAG_CRL_CHECK_ALL."""

_VERIFY_ERRORS = {
    7: "its signature is wrong",
    9: "it is not valid yet; is this machine's clock right?",
    10: "it has expired; is this machine's clock right?",
    11: "the revocation list is not valid yet",
    12: "the revocation list has expired",
    18: "it is self-signed and not the trusted authority",
    19: "its chain ends in an authority that --ca does not hold",
    20: "its issuer is not in --ca",
    21: "its issuer is not in --ca",
    22: "its chain is too long",
    23: "it is revoked",
    24: "its issuer is not a certificate authority",
    26: "its purpose does not allow this use",
    66: "its key is too weak for --tls-cert-profile",
    67: "its authority's key is too weak for --tls-cert-profile",
    68: "its digest is too weak for --tls-cert-profile",
}
"""X509_V_ERR_* of OpenSSL, in words."""

MAX_REASON = 1000
"""Characters of a reason against a certificate, which quotes its subject."""

_PEM_CRL = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)

_READ = 65536
"""Bytes asked of the library at a time."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """What TLS is made of, as the bytes that files or inline blocks hold (PEM unless said otherwise).

    With `fingerprints` in `rules` and without `ca`, the peer's certificate is known by them alone.
    `later_crl` is asked at every handshake for the revocation list where that has changed, else empty.
    `revoked` is asked for every certificate's serial number, at every handshake (`--crl-verify DIR dir`).
    `groups` are OpenSSL's names by rank, with ':' between; its own list begins with X25519.
    `client_certificate` says whether a server asks for the client's (`--verify-client-cert`).
    """

    certificate: bytes = field(default=b"", repr=False)
    private_key: bytes = field(default=b"", repr=False)
    passphrase: bytes | None = field(default=None, repr=False)
    extra_certificates: bytes = field(default=b"", repr=False)
    pkcs12: bytes = field(default=b"", repr=False)  # DER
    ca: bytes = field(default=b"", repr=False)
    crl: bytes = field(default=b"", repr=False)
    later_crl: Callable[[], bytes] | None = None
    revoked: Callable[[int], bool] | None = None
    rules: Rules = field(default_factory=Rules)
    client_certificate: Literal["require", "optional", "none"] = "require"
    version_min: TlsVersion = "1.2"
    version_max: TlsVersion | None = None
    ciphers: str | None = None
    ciphersuites: str | None = None
    groups: str | None = None
    profile: str = "legacy"


class TlsContext:
    """Certificates, keys and rules loaded once, from which every negotiation gets its engine.

    Raises `ValueError` whose message names the option with the fault and shows no secret.
    """

    def __init__(self, files: TlsFiles, *, server: bool) -> None:
        self._files = files
        self._server = server
        self._rules = files.rules
        self._revoked = files.revoked
        self._later_crl = files.later_crl
        self._own: x509.Certificate | None = None
        self._by_fingerprint = bool(files.rules.fingerprints) and not files.ca
        if not files.ca and not files.pkcs12 and not files.rules.fingerprints:
            raise ValueError("nothing says which peer to trust: give --ca, --pkcs12 or --peer-fingerprint")
        self.renewed = False
        """Whether `renew` has given it other certificates since it was made."""
        self._key_listeners: list[Callable[[str], None]] = []
        context = self._context = SSL.Context(SSL.TLS_METHOD)
        # Set in advance, since a context must not change once it is in use; called a few times a handshake.
        context.set_keylog_callback(self._tell_keys)
        context.set_min_proto_version(_VERSIONS[files.version_min])
        if files.version_max is not None:
            context.set_max_proto_version(_VERSIONS[files.version_max])
        # Sessions are never resumed: every negotiation stands for itself, as in OpenVPN.
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
        self._choose_ciphers(files)
        self._load_own(files)
        self._load_trusted(files)
        mode = SSL.VERIFY_PEER
        if server and files.client_certificate == "none":
            mode = SSL.VERIFY_NONE
        elif not server or files.client_certificate == "require":
            mode |= SSL.VERIFY_FAIL_IF_NO_PEER_CERT
        context.set_verify(mode, self._verify)
        context.set_verify_depth(MAX_CHAIN)

    def complaint(self, unix_time: float) -> str | None:
        """Why no peer takes this end's certificate at `unix_time` seconds since 1970; None if they may."""
        own = self._own
        if own is None:
            return None
        now = datetime.datetime.fromtimestamp(unix_time, datetime.UTC)
        if now > own.not_valid_after_utc:
            why = f"has expired at {own.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
        elif now < own.not_valid_before_utc:
            why = f"is not valid before {own.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        else:
            return None
        return f"this end's certificate '{identity.subject(own)}' {why}; is this machine's clock right?"

    def revoke(self, crl: bytes) -> None:
        """Judge certificates by this revocation list (PEM) from the next handshake on.

        May be called from any thread. Raises `ValueError` for what is not a list; then the one before holds.
        """
        # OpenSSL has no way to take a list out of a store, so that all is made anew.
        renewed = TlsContext(replace(self._files, crl=crl), server=self._server)
        renewed._key_listeners = self._key_listeners
        self._context = renewed._context

    def renew(self, files: TlsFiles) -> None:
        """Take other certificates and rules for all handshakes from now on; raises as the constructor does.

        A peer may then show another certificate than before, of the same name, where it renews its keys.
        """
        renewed = TlsContext(files, server=self._server)
        renewed._key_listeners = self._key_listeners
        for name, value in vars(renewed).items():
            setattr(self, name, value)
        self.renewed = True

    def log_keys(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Tell `listener` the secrets of handshakes from now on, until what is returned is called.

        Each is a line of NSS's key log format (draft-ietf-tls-keylogfile), with which Wireshark decrypts.
        """
        self._key_listeners.append(listener)
        return lambda: self._key_listeners.remove(listener)

    def _tell_keys(self, connection: SSL.Connection, line: bytes) -> None:
        for listener in self._key_listeners:
            listener(line.decode("ascii"))

    def engine(self, unix_time: float) -> TlsEngine:
        """A new TLS connection, certificates judged at `unix_time` seconds since 1970."""
        context = self._context
        if self._later_crl is not None and (later := self._later_crl()):
            # One that cannot be read leaves the older one in force.
            self._add_lists(later)
        store = context.get_cert_store()
        assert store is not None
        store.set_time(datetime.datetime.fromtimestamp(unix_time, datetime.UTC))
        return TlsEngine(SSL.Connection(context, None), server=self._server)

    def _choose_ciphers(self, files: TlsFiles) -> None:
        context = self._context
        try:
            level = SECURITY_LEVELS[files.profile]
        except KeyError:
            raise ValueError(
                f"--tls-cert-profile is not one of {', '.join(SECURITY_LEVELS)}: '{files.profile}'"
            ) from None
        ciphers = _openssl_names(files.ciphers).encode() if files.ciphers else CIPHERS
        if files.profile == "suiteb" and not files.ciphers:
            ciphers = SUITE_B
        try:
            context.set_cipher_list(ciphers if ciphers == SUITE_B else ciphers + b":@SECLEVEL=%d" % level)
        except SSL.Error:
            raise ValueError(f"--tls-cipher names no cipher of TLS 1.2: '{files.ciphers}'") from None
        if files.ciphersuites:
            try:
                context.set_tls13_ciphersuites(files.ciphersuites.encode())
            except SSL.Error:
                raise ValueError(
                    f"--tls-ciphersuites names no cipher of TLS 1.3: '{files.ciphersuites}'"
                ) from None
        if files.groups is not None:
            self._choose_groups(files.groups)

    def _choose_groups(self, groups: str) -> None:
        """Those that the library has; pyOpenSSL's function takes one curve, that of its binding a list."""

        def taken(context: SSL.Context, names: str) -> bool:
            binding: Any = SSL
            return bool(binding._lib.SSL_CTX_set1_curves_list(context._context, names.encode()) == 1)

        known = [name for name in groups.split(":") if taken(SSL.Context(SSL.TLS_METHOD), name)]
        if not known or not taken(self._context, ":".join(known)):
            raise ValueError(f"--tls-groups names no group that the TLS library has: '{groups}'")

    def _load_own(self, files: TlsFiles) -> None:
        context = self._context
        extra: list[x509.Certificate] = []
        if files.pkcs12:
            try:
                key, own, extra = pkcs12.load_key_and_certificates(files.pkcs12, files.passphrase)
            except ValueError:
                raise ValueError("--pkcs12 cannot be read: no such file, or a wrong passphrase") from None
            if key is None or own is None:
                raise ValueError("--pkcs12 holds no key with its certificate")
        elif files.certificate or files.private_key:
            own, *extra = _certificates(files.certificate, "--cert")
            key = _private_key(files.private_key, files.passphrase)
        elif self._server:
            raise ValueError("a TLS server needs --cert and --key, or --pkcs12")
        else:
            return
        if files.extra_certificates:
            extra += _certificates(files.extra_certificates, "--extra-certs")
        try:
            context.use_certificate(own)
            context.use_privatekey(key)  # type: ignore[arg-type]  # OpenSSL refuses the kinds it cannot use
            context.check_privatekey()
        except (SSL.Error, crypto.Error, TypeError):
            raise ValueError("--key does not belong to --cert, or is too weak") from None
        self._own = own
        for certificate in extra:
            context.add_extra_chain_cert(certificate)
        if files.pkcs12 and not files.ca:
            self._trust(extra)

    def _load_trusted(self, files: TlsFiles) -> None:
        if files.ca:
            self._trust(_certificates(files.ca, "--ca"))
        if files.crl:
            store = self._context.get_cert_store()
            assert store is not None
            if not self._add_lists(files.crl):
                raise ValueError("--crl-verify holds no revocation list in PEM")
            store.set_flags(_CRL_CHECK)

    def _add_lists(self, pem: bytes) -> bool:
        """Add revocation lists; of several of one authority OpenSSL takes the newest. False without any."""
        store = self._context.get_cert_store()
        assert store is not None
        try:
            lists = [x509.load_pem_x509_crl(text) for text in _PEM_CRL.findall(pem)]
        except ValueError:
            return False
        for each in lists:
            store.add_crl(each)
        return bool(lists)

    def _trust(self, certificates: Sequence[x509.Certificate]) -> None:
        store = self._context.get_cert_store()
        assert store is not None
        for certificate in certificates:
            store.add_cert(crypto.X509.from_cryptography(certificate))
            if self._server:
                self._context.add_client_ca(certificate)

    def _verify(
        self, connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, ok: int
    ) -> bool:
        """Judge one certificate of the peer's chain; the library asks from its end to the peer's own."""
        engine: TlsEngine = connection.get_app_data()
        parsed = certificate.to_cryptography()
        if not ok and not self._by_fingerprint and error != _NO_CRL:
            reason = _VERIFY_ERRORS.get(error, f"verification error {error} of OpenSSL")
            engine.refused = f"certificate '{identity.subject(parsed)}' refused: {reason}"
            return False
        if self._revoked is not None and self._revoked(parsed.serial_number):
            engine.refused = f"certificate '{identity.subject(parsed)}' refused: it is revoked"
            return False
        if depth == 0:
            broken, peer = self._rules.broken_by(parsed), self._rules.peer(parsed)
            if broken is None and not peer.common_name:
                broken = "it has no common name, by which it would be known"
            if broken is not None:
                engine.refused = f"certificate '{identity.subject(parsed)}' refused: {broken}"
                return False
            engine.peer = peer
        elif depth == 1 and (broken := self._rules.issuer_broken_by(parsed)) is not None:
            engine.refused = f"certificate '{identity.subject(parsed)}' refused: {broken}"
            return False
        return True


class TlsEngine:
    """One TLS connection as bytes in and bytes out."""

    def __init__(self, connection: SSL.Connection, *, server: bool) -> None:
        self._connection = connection
        connection.set_app_data(self)
        if server:
            connection.set_accept_state()
        else:
            connection.set_connect_state()
        self.established = False
        self.peer: PeerIdentity | None = None
        self.refused: str | None = None
        self._unsent = bytearray()

    def step(self, ciphertext: bytes = b"") -> bytes:
        """Take ciphertext from the peer and go on as far as that leads; the plaintext that came out.

        Raises `ProtocolError` that says what is wrong; an alert for the peer may then be in `outgoing`.
        """
        connection = self._connection
        try:
            if ciphertext:
                connection.bio_write(ciphertext)
            if not self.established:
                connection.do_handshake()
                self.established = True
            self._flush()
            return self._read()
        except SSL.WantReadError:
            return b""
        except SSL.ZeroReturnError:
            raise ProtocolError("the peer closed its TLS connection") from None
        except SSL.Error as error:
            raise ProtocolError(self._why(error)) from None

    def write(self, plaintext: bytes) -> None:
        """Send plaintext, as soon as the handshake is done."""
        self._unsent += plaintext
        if self.established:
            self._flush()

    def outgoing(self) -> bytes:
        """The ciphertext that waits for the peer."""
        parts = []
        while True:
            try:
                parts.append(self._connection.bio_read(_READ))
            except SSL.WantReadError:
                return b"".join(parts)

    def export(self, label: bytes, length: int) -> bytes:
        """Keying material of this connection (RFC 5705)."""
        return self._connection.export_keying_material(label, length)

    def describe(self) -> str:
        """Version and cipher, for a person to read."""
        connection = self._connection
        parts = [connection.get_protocol_version_name(), connection.get_cipher_name() or ""]
        return ", ".join(part for part in parts if part)

    def _flush(self) -> None:
        if self._unsent:
            self._connection.sendall(bytes(self._unsent))
            self._unsent.clear()

    def _read(self) -> bytes:
        parts = []
        while True:
            try:
                parts.append(self._connection.recv(_READ))
            except SSL.WantReadError:
                return b"".join(parts)
            except SSL.ZeroReturnError:
                if parts:
                    return b"".join(parts)
                raise

    def _why(self, error: SSL.Error) -> str:
        if self.refused is not None:
            return printable(self.refused, MAX_REASON)
        reasons = error.args[0] if error.args and isinstance(error.args[0], list) else []
        text = "; ".join(str(reason[-1]) for reason in reasons if reason and reason[-1])
        return f"TLS: {text or 'handshake failed'}"


def _openssl_names(ciphers: str) -> str:
    """A list of cipher suites in which IANA's names, as OpenVPN writes them, are OpenSSL's."""
    return ":".join(map(_openssl_name, ciphers.split(":")))


def _openssl_name(suite: str) -> str:
    """`TLS-ECDHE-RSA-WITH-AES-256-CBC-SHA384` is OpenSSL's `ECDHE-RSA-AES256-SHA384`."""
    mark = suite[: len(suite) - len(suite.lstrip("!+-"))]
    exchange, found, cipher = suite.removeprefix(mark).partition("-WITH-")
    if not found or not exchange.startswith("TLS-"):
        return suite
    cipher = cipher.replace("3DES-EDE-CBC", "DES-CBC3").replace(
        "CHACHA20-POLY1305-SHA256", "CHACHA20-POLY1305"
    )
    cipher = re.sub(r"(AES|CAMELLIA)-(128|256)-(CBC-)?", r"\1\2-", cipher)
    exchange = exchange.removeprefix("TLS-")
    return mark + (cipher if exchange == "RSA" else f"{exchange}-{cipher}")


def _certificates(pem: bytes, option: str) -> list[x509.Certificate]:
    try:
        certificates = x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise ValueError(f"{option} holds no certificate in PEM") from None
    return certificates


def _private_key(pem: bytes, passphrase: bytes | None) -> PrivateKeyTypes:
    try:
        return load_pem_private_key(pem, passphrase)
    except TypeError:
        if passphrase is None:
            raise ValueError("--key is encrypted: give its passphrase with --askpass") from None
        return load_pem_private_key(pem, None)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("--key holds no private key in PEM, or its passphrase is wrong") from None

"""Makes the session that a link's options ask for, with the keys and certificates that they name.

Reads files and knows which option means what to which session. How a session works is
`tmelink.openvpn.plain.point_to_point`'s and `tmelink.openvpn.tls.session`'s.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from tmelink.elements.openvpn.replay_file import ReplayFile
from tmelink.elements.openvpn.revocations import RevocationWatch
from tmelink.errors import ElementError
from tmelink.openvpn import keys
from tmelink.openvpn.options.parse import Options
from tmelink.openvpn.options.values import TlsOptions
from tmelink.openvpn.plain import envelope, mtu
from tmelink.openvpn.plain.point_to_point import PointToPoint
from tmelink.openvpn.plain.settings import Settings
from tmelink.openvpn.secret import Material, Secret
from tmelink.openvpn.session import Session
from tmelink.openvpn.tls import session as tls_session
from tmelink.openvpn.tls import wrap as tls_wrap
from tmelink.openvpn.tls.engine import TlsContext, TlsFiles
from tmelink.openvpn.tls.session import TlsSession
from tmelink.openvpn.tls.settings import Credentials, TlsSettings
from tmelink.system import credentials


class NewSession(Protocol):
    """Makes new sessions with the options for one peer; a `mute` session sends nothing."""

    def __call__(
        self, options: Options, *, mute: bool = False, credentials: Credentials | None = None
    ) -> Session:
        """The session; `credentials` are a server's token in place of the user's password."""
        ...


IP_TCP = 40
"""IPv4 and TCP headers without options (RFC 9293, section 3.7.1)."""

TIMESTAMPS = 12
"""TCP's usual options, which reduce the MSS (RFC 7323, appendix A)."""

ETHERNET = 18
"""An Ethernet header and a tag."""

AEAD_OVERHEAD = 24
"""What OpenVPN's usual ciphers add to a frame: opcode and peer id, packet id, tag."""

MOST_HEADERS = 512
"""What Linux may keep of a super-frame's size for headers (MAX_TCP_HEADER), less than half a segment."""

DAY = 86_400
"""Seconds."""

SHARED = 0o077
"""The permission bits that let other users read or write a key file."""


@dataclass(frozen=True, slots=True)
class Answers:
    """The user with the password, and the passphrase of the private key: read from files, or asked for."""

    credentials: Credentials | None = None
    passphrase: bytes | None = None


def session_maker(
    options: Options,
    log: logging.Logger,
    answers: Answers,
    watch: RevocationWatch,
    replays: ReplayFile | None = None,
    made: Callable[[TlsContext], None] = lambda context: None,
) -> NewSession:
    """Read what the options name and return what makes sessions; raises `ElementError` with the remedy.

    `made` gets the context of those with TLS. `watch` follows the revocation list, if there is one;
    `replays` keeps a static key's packet ids.
    """
    files = Files(log)
    if options.tls is not None:
        return _tls_maker(options, options.tls, files, answers, watch, made)
    return _static_maker(options, files, replays)


def problems(options: Options) -> list[str]:
    """The options that a session cannot support, as sentences, without reading a file."""
    if options.tls is not None:
        try:
            tls_session.check(tls_settings(options, options.tls))
        except ValueError as error:
            return [str(error)]
        return []
    # Any key is enough to check whether its ciphers are available.
    key = None if options.secret is None else Secret(bytes(keys.KEY_BYTES))
    return envelope.problems(replace(settings(options), key=key))


def longest_super_frame(options: Options, run: int) -> int:
    """The size of the super-frame, as an IP packet, that becomes a run of at most `run` bytes.

    By the MSS that TCP has once clamped; Linux keeps room for its headers and cuts where a segment ends.
    """
    common = settings(options)
    sealed = AEAD_OVERHEAD if options.tls is not None else mtu.message_overhead(common)
    mss = mtu.mss_limit(common) or mtu.tun_mtu(common) - IP_TCP
    if options.tls is not None and (room := mtu.mss_datagram(common)):
        mss = room - sealed - mtu.mss_overhead(common)
    pieces = run // (mss + IP_TCP + ETHERNET + sealed)
    return pieces * (mss - TIMESTAMPS) + MOST_HEADERS


class Files:
    """Reads key files, and warns about those that other users can read."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log

    def secret(self, material: Material | None, option: str) -> bytes:
        """The contents of a file that only its owner should read; empty without a file."""
        return self._load(material, option, private=True)

    def public(self, material: Material | None, option: str) -> bytes:
        """The contents of a file that everybody may read; empty without a file."""
        return self._load(material, option, private=False)

    def warn(self, text: str) -> None:
        """Warn the user about files that were read and are not safe."""
        self._log.warning("%s", text)

    def _load(self, material: Material | None, option: str, *, private: bool) -> bytes:
        if material is None:
            return b""

        def read(path: str) -> bytes:
            file = credentials.of(Path(path))
            if private and os.name == "posix" and file.stat().st_mode & SHARED:
                self._log.warning("--%s %s: other users can read it; 'chmod 600' prevents that", option, path)
            return file.read_bytes()

        try:
            return material.load(read).reveal()
        except OSError as error:
            raise ElementError(f"--{option} {material}: {error.strerror or error}") from error


def settings(options: Options) -> Settings:
    """The settings of a session without TLS, except its key."""
    return Settings(
        kind="ethernet" if options.dev_type == "tap" else "ip",
        proto=options.proto,
        remote=bool(options.remotes),
        socks=options.socks_proxy is not None,
        key_direction=options.key_direction,
        **options.shared(),
    )


def replay_file(options: Options, log: logging.Logger) -> ReplayFile | None:
    """The file of `--replay-persist`; None without one, and under TLS, whose keys are new each time."""
    if options.replay.persist is None or options.secret is None:
        return None
    return ReplayFile(options.replay.persist, envelope.new_window(settings(options)), log)


def _static_maker(options: Options, files: Files, replays: ReplayFile | None) -> NewSession:
    key: Secret | None = None
    if options.secret is not None:
        try:
            key = keys.parse(files.secret(options.secret, "secret"), f"--secret {options.secret}")
        except ValueError as error:
            raise ElementError(str(error)) from error

    def make(options: Options, *, mute: bool = False, credentials: Credentials | None = None) -> Session:
        begun = int(time.time()) if mute else _later()
        window = None if replays is None or mute else replays.window
        return PointToPoint(replace(settings(options), key=key), os.urandom, begun, window)

    return make


_latest = 0


def _later() -> int:
    """The time of day, later than at any earlier call.

    Packet ids under a static key begin with it, and a session that began in the same second as another one
    under its key, of a link closed and opened again, would repeat them.
    """
    global _latest
    _latest = max(int(time.time()), _latest + 1)
    return _latest


def _tls_maker(
    options: Options,
    tls: TlsOptions,
    files: Files,
    answers: Answers,
    watch: RevocationWatch,
    made: Callable[[TlsContext], None],
) -> NewSession:
    context, wrap = tls_parts(options, tls, files, answers.passphrase, watch)
    made(context)
    own = answers.credentials

    def make(options: Options, *, mute: bool = False, credentials: Credentials | None = None) -> Session:
        wanted = tls_settings(options, tls, wrap, credentials or own)
        if credentials is not None:
            # A token may have expired; the password is tried next.
            wanted = replace(wanted, auth_retry="nointeract")
        return TlsSession(wanted, context, wall_clock())

    return make


def wall_clock() -> Callable[[float], float]:
    """Seconds since 1970 for a time of the event loop; jumps of the system clock do not affect it."""
    started, at = time.time(), time.monotonic()
    return lambda now: started + now - at


def tls_parts(
    options: Options, tls: TlsOptions, files: Files, passphrase: bytes | None, watch: RevocationWatch
) -> tuple[TlsContext, tls_wrap.WrapKey]:
    """Read and check certificates and keys; raises `ElementError` with the remedy."""
    wanted = _wanted_files(options, tls, files, passphrase)
    try:
        context, wrap = TlsContext(wanted, server=tls.role == "server"), _wrap_key(options, files)
    except ValueError as error:
        raise ElementError(str(error)) from error
    complaint = context.complaint(time.time())
    if complaint is not None:
        files.warn(complaint)
    if tls.role == "client" and tls.ca is not None and not tls.rules.tells_servers():
        files.warn(
            "any certificate from the authority, even a client's, passes as the server's: "
            "add --remote-cert-tls server, --verify-x509-name or --peer-fingerprint"
        )
    if tls.crl_verify is not None and tls.crl_verify.path is not None:
        watch.follow(tls.crl_verify.path, context)
    return context, wrap


def renew_tls(context: TlsContext, options: Options, files: Files) -> None:
    """Read certificates and keys for `context` anew, from the files in `options`; raises `ElementError`."""
    assert options.tls is not None, "only a link with TLS has a context"
    try:
        context.renew(_wanted_files(options, options.tls, files, None))
    except ValueError as error:
        raise ElementError(str(error)) from error


def without_keys(options: Options) -> Options:
    """The options less what `renew_tls` reads anew: own key and certificate, fingerprints of peers."""
    tls = options.tls
    if tls is None or not tls.rules.fingerprints:
        return options
    rendezvous = None if options.rendezvous is None else Material(path="")
    rules = replace(tls.rules, fingerprints=frozenset())
    return replace(options, rendezvous=rendezvous, tls=replace(tls, key=None, cert=None, rules=rules))


def _wanted_files(options: Options, tls: TlsOptions, files: Files, passphrase: bytes | None) -> TlsFiles:
    wanted = _tls_files(tls, files, passphrase)
    if options.server is None:
        return wanted
    return replace(wanted, client_certificate=options.server.verify_client_cert)


def _tls_files(tls: TlsOptions, files: Files, passphrase: bytes | None) -> TlsFiles:
    authorities, revocations = _directory(tls.ca_directory, files)
    return TlsFiles(
        certificate=files.public(tls.cert, "cert"),
        private_key=files.secret(tls.key, "key"),
        passphrase=passphrase,
        extra_certificates=files.public(tls.extra_certs, "extra-certs"),
        pkcs12=files.secret(tls.pkcs12, "pkcs12"),
        ca=files.public(tls.ca, "ca") + authorities,
        crl=files.public(tls.crl_verify, "crl-verify") + revocations,
        later_crl=_changed_file(tls.crl_verify, files),
        revoked=None if tls.crl_directory is None else _revocations(Path(tls.crl_directory)),
        rules=tls.rules,
        version_min=tls.tls_version_min,
        version_max=tls.tls_version_max,
        ciphers=tls.tls_cipher,
        ciphersuites=tls.tls_ciphersuites,
        groups=tls.tls_groups,
        profile=tls.tls_cert_profile,
    )


def _directory(path: str | None, files: Files) -> tuple[bytes, bytes]:
    """The authorities and the revocation lists in a directory that `openssl rehash` has prepared."""
    found = {"": b"", "r": b""}
    try:
        for file in () if path is None else sorted(Path(path).iterdir()):
            kind = re.fullmatch(r"[0-9a-f]{8}\.(r?)[0-9]+", file.name)
            if kind is not None:
                found[kind[1]] += files.public(Material(path=str(file)), "capath") + b"\n"
    except OSError as error:
        raise ElementError(f"--capath {path}: {error.strerror or error}") from error
    if path is not None and not found[""]:
        raise ElementError(f"--capath {path} holds no authority; `openssl rehash {path}` names its files")
    return found[""], found["r"]


def _changed_file(material: Material | None, files: Files) -> Callable[[], bytes] | None:
    """What gives a file's contents when the file has changed since it was last asked, else nothing."""
    if material is None or material.path is None:
        return None
    path = Path(material.path)
    seen: tuple[int, ...] = ()

    def later() -> bytes:
        nonlocal seen
        try:
            stat = path.stat()
            now = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if now == seen:
                return b""
            seen = now
            return path.read_bytes()
        except OSError as error:
            files.warn(f"--crl-verify {path}: {error.strerror or error}; the list read before remains valid")
            return b""

    return later


def _revocations(directory: Path) -> Callable[[int], bool]:
    """Whether a directory has a file named after a certificate's serial number, in decimal.

    Where that cannot be found out, the certificate is taken for revoked.
    """
    if not directory.is_dir():
        raise ElementError(f"--crl-verify {directory} dir: this directory does not exist")

    def revoked(serial: int) -> bool:
        try:
            (directory / str(serial)).lstat()
        except FileNotFoundError:
            return not directory.is_dir()
        except OSError:
            pass
        return True

    return revoked


def _wrap_key(options: Options, files: Files) -> tls_wrap.WrapKey:
    if options.tls_auth is not None:
        key = keys.parse(files.secret(options.tls_auth, "tls-auth"), f"--tls-auth {options.tls_auth}")
        return tls_wrap.AuthKey(key.reveal(), options.key_direction, options.encryption.auth)
    if options.tls_crypt is not None:
        key = keys.parse(files.secret(options.tls_crypt, "tls-crypt"), f"--tls-crypt {options.tls_crypt}")
        return tls_wrap.CryptKey(key.reveal())
    if options.tls_crypt_v2 is not None:
        pem = files.secret(options.tls_crypt_v2, "tls-crypt-v2")
        server = options.tls is not None and options.tls.role == "server"
        if not server:
            return tls_wrap.parse_client_key(pem)
        days = options.tls_crypt_v2_max_age
        return replace(tls_wrap.parse_server_key(pem), max_age=days * DAY if days else None)
    return None


def tls_settings(
    options: Options, tls: TlsOptions, wrap: tls_wrap.WrapKey = None, credentials: Credentials | None = None
) -> TlsSettings:
    """The settings of a session with TLS."""
    common = settings(options)
    return TlsSettings(
        server=tls.role == "server",
        floats=options.float,
        mode="pull" if tls.pull else "equal",
        kind=common.kind,
        stream=not options.proto.startswith("udp"),
        wrap=wrap,
        mss=0 if mtu.mss_datagram(common) else mtu.mss_limit(common),
        mss_datagram=mtu.mss_datagram(common),
        mss_overhead=mtu.mss_overhead(common),
        server_poll_timeout=options.connect_timeout,
        credentials=credentials,
        auth_retry="nointeract" if tls.auth_retry == "nointeract" else "none",
        single_session=tls.single_session,
        require_exporter=tls.force_exporter,
        remote=bool(options.remotes),
        **options.shared(),
        **tls.shared_tls(),
    )

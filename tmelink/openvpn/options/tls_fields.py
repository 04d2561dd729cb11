"""From settings to `TlsOptions`: what the options of the TLS handshake and of a client come to.

Knows what the options mean (openvpn(8) 2.6) and which values tmelink has. Reads no certificate: files and
inline blocks are handed on as `Material`.
"""

from __future__ import annotations

import base64
import re
from typing import Any, Literal

from tmelink.openvpn.options.fields import Chosen, canonical, unusable_digest
from tmelink.openvpn.options.reading import OptionList, OptionSetting
from tmelink.openvpn.options.values import StaticChallenge, TlsOptions
from tmelink.openvpn.secret import Material, Secret
from tmelink.openvpn.settings import ControlChannel, DataCiphers
from tmelink.openvpn.tls.identity import Rules, parse_fingerprint, remote_cert_tls
from tmelink.source import Mistake, Place, Report

DATA_CIPHERS = ("AES-128-GCM", "AES-192-GCM", "AES-256-GCM", "CHACHA20-POLY1305")
DATA_CIPHERS_CBC = ("AES-128-CBC", "AES-192-CBC", "AES-256-CBC")

DEFAULT_CIPHERS = DataCiphers().accepted
"""--data-ciphers without the option, and what DEFAULT in it stands for."""

_UNUSABLE_CIPHERS = re.compile("(ARIA|BF|CAMELLIA|CAST5|DES|IDEA|RC2|SEED|SM4)-")
"""Data ciphers of OpenVPN that the cryptography library does not have, or should not."""

_VERSIONS = ("1.0", "1.1", "1.2", "1.3")
_OLDEST = "1.2"


def role(chosen: Chosen, server: bool) -> Literal["client", "server"] | None:
    """Which end of the TLS handshake the options make, if any."""
    if server or chosen.has("tls-server"):
        return "server"
    return "client" if chosen.has("tls-client") or chosen.has("client") else None


def tls(found: OptionList, chosen: Chosen, side: Literal["client", "server"], report: Report) -> TlsOptions:
    """The TLS options; defaults are OpenVPN 2.6's."""
    lowest, highest = _versions(chosen, report)
    revoked = chosen.last("crl-verify")
    revoked_each = revoked is not None and revoked.values[1:] == ("dir",)
    user_pass = chosen.last("auth-user-pass")
    challenge = chosen.last("static-challenge")
    directory = chosen.last("capath")
    asks: Literal["no", "both", "username"] = "both" if _asks(user_pass) else "no"
    if user_pass is not None and user_pass.values == ("username-only",):
        asks = "username"
    fallback = chosen.last("data-ciphers-fallback")
    return TlsOptions(
        role=side,
        ca=found.material(chosen.last("ca")),
        cert=found.material(chosen.last("cert")),
        key=found.material(chosen.last("key")),
        extra_certs=found.material(chosen.last("extra-certs")),
        pkcs12=_pkcs12(found, chosen.last("pkcs12"), report),
        askpass=None if _asks(chosen.last("askpass")) else found.material(chosen.last("askpass")),
        asks_passphrase=_asks(chosen.last("askpass")),
        ca_directory=None if directory is None else found.resolve(directory, directory.values[0]),
        tls_groups=chosen.value("tls-groups", chosen.value("ecdh-curve")),
        single_session=chosen.has("single-session"),
        force_exporter=chosen.has("force-tls-key-material-export"),
        rules=_rules(chosen, report),
        crl_verify=None if revoked_each else found.material(revoked),
        crl_directory=found.resolve(revoked, revoked.values[0]) if revoked and revoked_each else None,
        tls_version_min=lowest,
        tls_version_max=highest,
        tls_cipher=chosen.value("tls-cipher"),
        tls_ciphersuites=chosen.value("tls-ciphersuites"),
        tls_cert_profile=chosen.value("tls-cert-profile", "legacy"),
        control=ControlChannel(
            tls_timeout=chosen.value("tls-timeout", 2),
            hand_window=chosen.value("hand-window", 60),
            tran_window=chosen.value("tran-window", 3600),
            reneg_sec=chosen.value("reneg-sec", 3600),
            reneg_bytes=chosen.value("reneg-bytes", 0),
            reneg_pkts=chosen.value("reneg-pkts", 0),
            max_packet_size=chosen.value("max-packet-size", 1250),
        ),
        ciphers=DataCiphers(
            _data_ciphers(chosen, report),
            None if fallback is None or unusable_ciphers(fallback) else _data_cipher(fallback, report),
        ),
        pull=chosen.has("pull") or chosen.has("client"),
        pull_filters=tuple((s.values[0], s.values[1]) for s in chosen.all("pull-filter")),
        route_nopull=chosen.has("route-nopull"),
        allow_pull_fqdn=chosen.has("allow-pull-fqdn"),
        auth_user_pass=None if asks != "no" else found.material(user_pass),
        asks_user_pass=asks,
        static_challenge=None if challenge is None else _challenge(challenge),
        auth_retry=chosen.value("auth-retry", "none"),
    )


def _pkcs12(found: OptionList, setting: OptionSetting | None, report: Report) -> Material | None:
    """A PKCS#12 file is binary; a block of one is written in base64."""
    if setting is None or setting.block is None:
        return found.material(setting)
    try:
        return Material(inline=Secret(base64.b64decode(setting.block.text.reveal(), validate=False)))
    except ValueError:
        report(Mistake(setting.place, "<pkcs12> is not written in base64"))
        return None


def _asks(setting: OptionSetting | None) -> bool:
    """Whether an option that names a file with a password names none: somebody has to be asked."""
    return setting is not None and setting.block is None and setting.values[:1] in ((), ("stdin",))


def _challenge(setting: OptionSetting) -> StaticChallenge:
    text, echo, *form = setting.values
    return StaticChallenge(text, echo == "1", form[0] if form else "scrv1")


def _versions(chosen: Chosen, report: Report) -> tuple[Literal["1.2", "1.3"], Literal["1.2", "1.3"] | None]:
    """The oldest and the newest TLS; an oldest below 1.2 is 1.2, which is the oldest there is."""
    lowest: Any = _OLDEST
    highest: Any = None
    setting = chosen.last("tls-version-min")
    if setting is not None:
        known = setting.values[0] in _VERSIONS
        if not known and len(setting.values) < 2:
            report(Mistake(setting.places[0], "--tls-version-min is 1.2 or 1.3"))
        else:
            lowest = max(setting.values[0], _OLDEST) if known else _VERSIONS[-1]
    setting = chosen.last("tls-version-max")
    if setting is not None:
        highest = setting.values[0]
        if highest not in ("1.2", "1.3"):
            report(Mistake(setting.places[0], "--tls-version-max is 1.2 or 1.3"))
        elif highest < lowest:
            report(
                Mistake(setting.places[0], f"--tls-version-max {highest} is below --tls-version-min {lowest}")
            )
    return lowest, highest


def _rules(chosen: Chosen, report: Report) -> Rules:
    """What the peer's certificate must be."""
    name = chosen.last("verify-x509-name")
    fields = chosen.last("x509-username-field")
    usage: bool | tuple[int, ...] = False
    extended: str | None = chosen.value("remote-cert-eku")
    for setting in chosen.settings:
        if setting.name == "remote-cert-ku":
            usage = _usage_masks(setting, report) or True
        elif setting.name == "remote-cert-tls":
            usage, extended = remote_cert_tls(setting.values[0])
        elif setting.name == "remote-cert-eku":
            extended = setting.values[0]
    return Rules(
        fingerprints=frozenset(_fingerprints(chosen, report)),
        name=None if name is None else name.values[0],
        name_type=chosen.value("verify-x509-name", "subject", 1),
        usage=usage,
        extended_usage=extended,
        netscape=chosen.value("ns-cert-type"),
        issuer_hashes=frozenset(_issuer_hashes(chosen, report)),
        name_fields=("CN",) if fields is None else fields.values,
    )


def _issuer_hashes(chosen: Chosen, report: Report) -> list[bytes]:
    """--verify-hash: a line is SHA1 unless SHA256 is named, a block SHA256."""
    hashes = []
    for setting in chosen.all("verify-hash"):
        size = 32 if setting.block is not None or setting.values[1:] == ("SHA256",) else 20
        for text, place in _lines(setting):
            try:
                hashes.append(parse_fingerprint(text, size))
            except ValueError as error:
                report(Mistake(place, f"--verify-hash: {error}"))
    return hashes


def _lines(setting: OptionSetting) -> list[tuple[str, Place]]:
    """The value of an option, or the lines of its block that are not comments."""
    if setting.block is None:
        return [(setting.values[0], setting.places[0])]
    lines = setting.block.text.reveal().decode("utf-8", "replace").split("\n")
    return [(line.strip(), setting.place) for line in lines if line.strip() and line.strip()[0] not in "#;"]


def _usage_masks(setting: OptionSetting, report: Report) -> tuple[int, ...]:
    masks = []
    for text, place in zip(setting.values, setting.places, strict=True):
        if re.fullmatch(r"(0[xX])?[0-9A-Fa-f]{1,4}", text):
            masks.append(int(text, 16))
        else:
            report(Mistake(place, f"--remote-cert-ku: '{text}' is not a hexadecimal number"))
    return tuple(masks)


def _fingerprints(chosen: Chosen, report: Report) -> list[bytes]:
    fingerprints = []
    for setting in chosen.all("peer-fingerprint"):
        for text, place in _lines(setting):
            try:
                fingerprints.append(parse_fingerprint(text))
            except ValueError as error:
                report(Mistake(place, f"--peer-fingerprint: {error}", "tmelink keygen prints one"))
    return fingerprints


def _data_ciphers(chosen: Chosen, report: Report) -> tuple[str, ...]:
    """--data-ciphers by rank; a name with '?' before it may be unknown."""
    setting = chosen.last("data-ciphers")
    if setting is None:
        return DEFAULT_CIPHERS
    # Without its digest no cipher but AEAD ones can be offered.
    known = DATA_CIPHERS if unusable_digest(chosen) is not None else (*DATA_CIPHERS, *DATA_CIPHERS_CBC)
    names: list[str] = []
    for written in setting.values[0].split(":"):
        name = canonical(written.removeprefix("?"))
        for each in DEFAULT_CIPHERS if name == "DEFAULT" else (name,):
            if each in known:
                names += [each] if each not in names else []
            elif not written.startswith("?") and not _UNUSABLE_CIPHERS.match(each):
                message = f"--data-ciphers: '{written}' is not there"
                report(Mistake(setting.places[0], message, f"use some of {', '.join(known)}"))
    if not names:
        message = "--data-ciphers names no cipher that the cryptography library has"
        report(Mistake(setting.places[0], message, f"use some of {', '.join(known)}"))
    return tuple(names)


def unusable_ciphers(setting: OptionSetting) -> list[str]:
    """The ciphers of --data-ciphers or --data-ciphers-fallback that the cryptography library lacks."""
    names = [canonical(written.removeprefix("?")) for written in setting.values[0].split(":")]
    return [name for name in names if _UNUSABLE_CIPHERS.match(name)]


def _data_cipher(setting: OptionSetting, report: Report) -> str:
    name = canonical(setting.values[0])
    known = (*DATA_CIPHERS, *DATA_CIPHERS_CBC, "none")
    if name not in known:
        message = f"--{setting.name}: '{setting.values[0]}' is not there"
        report(Mistake(setting.places[0], message, f"use one of {', '.join(known)}"))
    return name

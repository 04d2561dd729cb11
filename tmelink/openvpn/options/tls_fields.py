"""From settings to `TlsOptions`: what the options of the TLS handshake and of a client come to.

Knows what the options mean (openvpn(8) 2.6) and which values tmelink has. Reads no certificate: files and
inline blocks are handed on as `Material`.
"""

from __future__ import annotations

import base64
import re
from typing import Any, Literal

from tmelink.openvpn.options.fields import Chosen, canonical
from tmelink.openvpn.options.reading import OptionList, OptionSetting
from tmelink.openvpn.options.values import TlsOptions
from tmelink.openvpn.secret import Material, Secret
from tmelink.openvpn.settings import ControlChannel, DataCiphers
from tmelink.openvpn.tls.engine import CURVES
from tmelink.openvpn.tls.identity import Rules, parse_fingerprint, remote_cert_tls
from tmelink.source import Mistake, Report

DATA_CIPHERS = ("AES-128-GCM", "AES-192-GCM", "AES-256-GCM", "CHACHA20-POLY1305")
DATA_CIPHERS_CBC = ("AES-128-CBC", "AES-192-CBC", "AES-256-CBC")

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
    fallback = chosen.last("data-ciphers-fallback")
    return TlsOptions(
        role=side,
        ca=found.material(chosen.last("ca")),
        cert=found.material(chosen.last("cert")),
        key=found.material(chosen.last("key")),
        extra_certs=found.material(chosen.last("extra-certs")),
        pkcs12=_pkcs12(found, chosen.last("pkcs12"), report),
        askpass=_asked(found, chosen, "askpass", report),
        tls_group=_group(chosen.last("tls-groups") or chosen.last("ecdh-curve"), report),
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
            _data_ciphers(chosen, report), None if fallback is None else _data_cipher(fallback, report)
        ),
        pull=chosen.has("pull") or chosen.has("client"),
        pull_filters=tuple((s.values[0], s.values[1]) for s in chosen.all("pull-filter")),
        route_nopull=chosen.has("route-nopull"),
        allow_pull_fqdn=chosen.has("allow-pull-fqdn"),
        auth_user_pass=_asked(found, chosen, "auth-user-pass", report) if user_pass else None,
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


def _asked(found: OptionList, chosen: Chosen, name: str, report: Report) -> Material | None:
    """A file with a password; OpenVPN would ask for it at the console without one."""
    setting = chosen.last(name)
    if setting is None:
        return None
    if setting.block is None and setting.values[:1] in ((), ("stdin",)):
        report(Mistake(setting.place, f"--{name} needs a file: tmelink asks nobody while it runs"))
        return None
    return found.material(setting)


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


def _group(setting: OptionSetting | None, report: Report) -> str | None:
    """The one curve that TLS is to use; pyOpenSSL takes no list, and no curve but those of NIST."""
    if setting is None or setting.values[0] in CURVES:
        return None if setting is None else setting.values[0]
    hint = f"name one of {', '.join(CURVES)}, or leave it out: then X25519 comes first and the others follow"
    message = (
        f"--{setting.name}: '{setting.values[0]}' cannot be had: the TLS library is told one curve, no list"
    )
    report(Mistake(setting.places[0], message, hint))
    return None


def _rules(chosen: Chosen, report: Report) -> Rules:
    """What the peer's certificate must be."""
    name = chosen.last("verify-x509-name")
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
    )


def _usage_masks(setting: OptionSetting, report: Report) -> tuple[int, ...]:
    masks = []
    for text, place in zip(setting.values, setting.places, strict=True):
        if re.fullmatch(r"(0[xX])?[0-9A-Fa-f]{1,4}", text):
            masks.append(int(text, 16))
        else:
            report(Mistake(place, f"--remote-cert-ku: '{text}' is no hexadecimal number"))
    return tuple(masks)


def _fingerprints(chosen: Chosen, report: Report) -> list[bytes]:
    fingerprints = []
    for setting in chosen.all("peer-fingerprint"):
        if setting.block is None:
            lines = [(setting.values[0], setting.places[0])]
        else:
            text = setting.block.text.reveal().decode("utf-8", "replace")
            lines = [(line, setting.place) for line in text.split("\n")]
        for line, place in lines:
            bare = line.strip()
            if not bare or bare[0] in "#;":
                continue
            try:
                fingerprints.append(parse_fingerprint(bare))
            except ValueError as error:
                report(Mistake(place, f"--peer-fingerprint: {error}", "tmelink keygen prints one"))
    return fingerprints


def _data_ciphers(chosen: Chosen, report: Report) -> tuple[str, ...]:
    """--data-ciphers by rank; a name with '?' before it may be unknown."""
    setting = chosen.last("data-ciphers")
    if setting is None:
        return DataCiphers().accepted
    known = (*DATA_CIPHERS, *DATA_CIPHERS_CBC)
    names = []
    for written in setting.values[0].split(":"):
        name = canonical(written.removeprefix("?"))
        if name in known:
            names.append(name)
        elif not written.startswith("?"):
            message = f"--data-ciphers: '{written}' is not there"
            report(Mistake(setting.places[0], message, f"use some of {', '.join(known)}"))
    return tuple(names)


def _data_cipher(setting: OptionSetting, report: Report) -> str:
    name = canonical(setting.values[0])
    known = (*DATA_CIPHERS, *DATA_CIPHERS_CBC, "none")
    if name not in known:
        message = f"--{setting.name}: '{setting.values[0]}' is not there"
        report(Mistake(setting.places[0], message, f"use one of {', '.join(known)}"))
    return name

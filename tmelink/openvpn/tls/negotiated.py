"""What two ends with TLS agree on for the data channel, and how they come to it.

Two equal ends reckon it from what each told the other; a server reckons it and pushes it to its client. Also
the options string in which each end tells its own (OCC). Pure functions; the rules are those of OpenVPN 2.6
and 2.7 (src/openvpn/ssl_ncp.c, multi.c, push.c, options.c).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, cast

from tmelink.openvpn.data import compress, static
from tmelink.openvpn.data.aead import SUITES
from tmelink.openvpn.data.keys import may_use_epochs
from tmelink.openvpn.data.super_frames import WORD
from tmelink.openvpn.plain.mtu import TAP_EXTRA
from tmelink.openvpn.settings import Compression, Framing
from tmelink.openvpn.tls import peer_info
from tmelink.openvpn.tls.key_method import EXPORTER_PEER_ID, Message
from tmelink.openvpn.tls.peer_info import Proto
from tmelink.openvpn.tls.settings import TlsSettings

UNDEFINED_PEER: Final = 0xFFFFFF
"""The peer id that means none."""

LEAST_MTU: Final = 100
"""OpenVPN's least --tun-mtu."""

_AEAD_OVERHEAD: Final = 49
_CBC_OVERHEAD: Final = 1 + 4 + 16 + 16
_BLOWFISH_OVERHEAD: Final = 1 + 4 + 8 + 8
"""What OpenVPN 2.6 adds to the MTU in an options string, without the HMAC; it reckons with Blowfish where
no cipher is given."""


@dataclass(frozen=True, slots=True)
class NegotiatedOptions:
    """What both ends use on the data channel, said once and kept through renegotiations."""

    cipher: str
    exporter: bool = False
    epoch: bool = False
    peer_id: int | None = None
    exit_message: bool = False
    dynamic_wrap: bool = False
    push_update: bool = False
    """The peer takes changes of what was pushed to it."""
    compression: Compression | None = None
    """The framing that the server pushed; None if it said nothing."""


def as_equals(
    settings: TlsSettings, remote: Message, export: Callable[[bytes, int], bytes]
) -> NegotiatedOptions | None:
    """What two equal ends agree on, or None if they have no cipher in common."""
    info = peer_info.parse(remote.peer_info)
    proto = peer_info.proto(info)
    fallback = settings.ciphers.fallback
    if fallback is None and (named := peer_info.options_cipher(remote.options)) in settings.ciphers.accepted:
        fallback = named
    cipher = peer_info.agree_as_equals(
        settings.ciphers.accepted, info, server=settings.server, fallback=fallback
    )
    if cipher is None:
        return None
    if not proto & Proto.NCP_P2P:
        return NegotiatedOptions(cipher)
    peer_id = None
    if proto & Proto.DATA_V2:
        raw = export(EXPORTER_PEER_ID, 3) if proto & Proto.TLS_KEY_EXPORT else b"vpn"
        peer_id = int.from_bytes(raw, "big")
    return _negotiated(cipher, proto, peer_id)


def as_server(settings: TlsSettings, remote: Message) -> NegotiatedOptions | None:
    """What a server settles with a client, or None if they have no cipher in common."""
    info = peer_info.parse(remote.peer_info)
    proto = peer_info.proto(info)
    named = peer_info.options_cipher(remote.options)
    if settings.require_exporter and not proto & Proto.TLS_KEY_EXPORT:
        return None
    cipher = peer_info.agree_as_server(settings.ciphers.accepted, info, named, settings.ciphers.fallback)
    if cipher is None:
        return None
    return _negotiated(cipher, proto, settings.peer_id if proto & Proto.DATA_V2 else None)


def _negotiated(cipher: str, proto: Proto, peer_id: int | None) -> NegotiatedOptions:
    exporter = bool(proto & Proto.TLS_KEY_EXPORT)
    return NegotiatedOptions(
        cipher,
        exporter,
        epoch=exporter and bool(proto & Proto.DATA_EPOCH) and may_use_epochs(cipher),
        peer_id=peer_id,
        exit_message=bool(proto & Proto.CC_EXIT_NOTIFY),
        dynamic_wrap=bool(proto & Proto.DYN_TLS_CRYPT),
        push_update=bool(proto & Proto.PUSH_UPDATE),
    )


def options_to_push(settings: TlsSettings, remote: Message, negotiated: NegotiatedOptions) -> list[str]:
    """The options in which a server tells its client what was agreed."""
    info = peer_info.parse(remote.peer_info)
    options = []
    if negotiated.peer_id is not None:
        options.append(f"peer-id {negotiated.peer_id}")
    if "IV_CIPHERS" in info or "IV_NCP" in info:
        options.append(f"cipher {negotiated.cipher}")
    flags = []
    if negotiated.exit_message:
        flags.append("cc-exit")
        if negotiated.exporter:
            flags.append("tls-ekm")
    elif negotiated.exporter:
        options.append("key-derivation tls-ekm")
    if negotiated.dynamic_wrap:
        flags.append("dyn-tls-crypt")
    if negotiated.epoch:
        flags.append("aead-epoch")
    if flags:
        options.append(" ".join(("protocol-flags", *flags)))
    if "IV_MTU" in info:
        options.append(f"tun-mtu {settings.sizes.tun_mtu}")
    return options


def pushed(settings: TlsSettings, remote: Message, options: Sequence[str]) -> NegotiatedOptions | str:
    """What a server's options say of the data channel, or in words why this client does not take it."""
    named = peer_info.options_cipher(remote.options)
    cipher = named if named in settings.ciphers.accepted else settings.ciphers.fallback
    peer_id, flags = None, set[str]()
    compression: Compression | None = None
    for option in options:
        name, *values = option.split()
        if name == "cipher" and values:
            cipher = values[0]
        elif name == "peer-id" and values and values[0].isascii() and values[0].isdigit():
            number = int(values[0][:9])
            peer_id = number if number < UNDEFINED_PEER else None
        elif name in ("protocol-flags", "key-derivation"):
            flags.update(values)
        elif name in ("comp-lzo", "compress"):
            compression = replace(settings.compression, framing=_framing(name, values))
    if cipher is None or cipher not in {*settings.ciphers.accepted, settings.ciphers.fallback}:
        return f"the server wants cipher '{cipher or named or 'unknown'}', which --data-ciphers lacks"
    return NegotiatedOptions(
        cipher,
        exporter="tls-ekm" in flags,
        epoch="aead-epoch" in flags,
        peer_id=peer_id,
        exit_message="cc-exit" in flags,
        dynamic_wrap="dyn-tls-crypt" in flags,
        compression=compression,
    )


def pushed_mtu(settings: TlsSettings, options: Sequence[str]) -> int | None:
    """The MTU that a server pushes, as far as --tun-mtu-max allows it; None if it says none."""
    mtu = None
    for option in options:
        name, *values = option.split()
        if name == "tun-mtu" and values and values[0].isascii() and values[0].isdigit():
            wanted = int(values[0][:9])
            mtu = min(wanted, settings.sizes.longest_mtu) if wanted >= LEAST_MTU else mtu
    return mtu


def _framing(name: str, values: Sequence[str]) -> Framing | None:
    """The framing of a pushed --comp-lzo or --compress; one that cannot be had is as good as LZO's."""
    kind = values[0] if values else "stub"
    if name == "comp-lzo" or kind not in ("stub", "stub-v2", "lz4", "lz4-v2", "migrate"):
        return "comp-lzo no"
    return None if kind == "migrate" else cast(Framing, kind)


def options_string(settings: TlsSettings, *, remote: bool) -> str:
    """The options string of this end or, with `remote`, the one expected from the peer."""
    tap = settings.kind == "ethernet"
    cipher = settings.ciphers.fallback or settings.encryption.cipher
    auth = static.digest_name(settings.encryption.auth)
    overhead = compress.overhead(settings.compression.framing) + (4 if settings.sizes.fragment else 0)
    overhead += 2 if settings.stream else 0
    if cipher in SUITES:
        overhead += _AEAD_OVERHEAD
        keysize, auth = SUITES[cipher].key_bytes * 8, "none"
    elif cipher in static.CIPHERS:
        overhead += _CBC_OVERHEAD + static.digest_size(auth)
        keysize = static.CIPHERS[cipher] * 8
    else:
        overhead += _BLOWFISH_OVERHEAD + static.digest_size(auth)
        keysize = 128
    # Only a cipher that this end would take is named: the peer of a client may use it for want of another.
    named = cipher is not None and (settings.mode == "equal" or cipher in settings.ciphers.accepted)
    words = [
        "V4",
        f"dev-type {'tap' if tap else 'tun'}",
        f"link-mtu {settings.sizes.tun_mtu + overhead + (TAP_EXTRA if tap else 0)}",
        f"tun-mtu {settings.sizes.tun_mtu}",
        f"proto {_proto(settings, remote=remote)}",
    ]
    if settings.compression.framing is not None:
        words.append("comp-lzo")
    if settings.sizes.fragment:
        words.append("mtu-dynamic")
    if named:
        words.append(f"cipher {cipher}")
    words += [
        f"auth {auth if auth != 'none' else '[null-digest]'}",
        f"keysize {keysize}",
        "key-method 2",
        "tls-server" if settings.server != remote else "tls-client",
    ]
    if settings.sizes.super_frames:
        words.append(WORD)
    return ",".join(words)


def _proto(settings: TlsSettings, *, remote: bool) -> str:
    if not settings.stream:
        return "UDPv4"
    return "TCPv4_SERVER" if settings.server != remote else "TCPv4_CLIENT"

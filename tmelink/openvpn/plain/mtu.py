"""Sizes that two peers have to agree on: overheads, limits, and the options string that compares them.

The arithmetic is OpenVPN 2.6's (mtu.c, mss.c, options.c) for links without TLS, so that two ends compute
alike, its warnings stay silent and a limit means what its manual says. All sizes in bytes.
"""

from __future__ import annotations

from typing import Final

from tmelink.openvpn.data import compress, static
from tmelink.openvpn.data.super_frames import WORD
from tmelink.openvpn.plain.settings import Settings

TAP_EXTRA: Final = 32
"""What OpenVPN allows for an Ethernet header, tags and slack (--tun-mtu-extra, its default for TAP)."""

DEFAULT_MTU: Final = 1500
DEFAULT_MSSFIX: Final = 1492
"""Whole IP packets of this size pass where PPPoE takes 8 bytes of 1500 (OpenVPN 2.6's default)."""

_IP_TCP: Final = 40
"""IPv4 and TCP headers in the tunnel, without options (RFC 9293, section 3.7.1)."""
_FRAGMENT: Final = 4
_SOCKS: Final = 10
_STREAM: Final = 2


def tun_mtu(settings: Settings) -> int:
    """The largest IP packet inside a frame: --tun-mtu, or what --link-mtu leaves for it."""
    if settings.sizes.link_mtu:
        return settings.sizes.link_mtu - _outer(settings, declared=True)
    return settings.sizes.tun_mtu


def options_string(settings: Settings, *, remote: bool) -> str:
    """The options string of this end or, with `remote`, the one expected from the peer."""
    tap = settings.kind == "ethernet"
    words = [
        "V4",
        f"dev-type {'tap' if tap else 'tun'}",
        f"link-mtu {_declared(settings)}",
        f"tun-mtu {settings.sizes.occ_mtu or tun_mtu(settings)}",
        f"proto {_proto(settings.proto, remote)}",
    ]
    if settings.compression.framing is not None:
        words.append("comp-lzo")
    if settings.sizes.fragment:
        words.append("mtu-dynamic")
    if settings.key_direction is not None:
        words.append(f"keydir {settings.key_direction ^ remote}")
    if settings.key is not None:
        cipher = static.cipher_name(settings.encryption.static_cipher)
        auth = static.digest_name(settings.encryption.auth)
        words += [
            f"cipher {cipher if cipher != 'none' else '[null-cipher]'}",
            f"auth {auth if auth != 'none' else '[null-digest]'}",
            f"keysize {static.CIPHERS[cipher] * 8}",
            "secret",
        ]
    if settings.sizes.super_frames:
        words.append(WORD)
    return ",".join(words)


def largest_datagram(settings: Settings) -> int:
    """The longest datagram that a frame of the tunnel's MTU comes to, padding not counted."""
    phantom = static.ID_BYTES if settings.key is None else 0
    return tun_mtu(settings) + _inner(settings) + _outer(settings) - phantom


def message_overhead(settings: Settings) -> int:
    """What is added to a message on its way to the wire, padding not counted."""
    return largest_datagram(settings) - tun_mtu(settings) - _extra(settings)


def fragment_size(settings: Settings) -> int:
    """The longest payload that --fragment sends whole; 0 without the option."""
    if not settings.sizes.fragment:
        return 0
    target = settings.sizes.fragment - _outer(settings)
    if settings.sizes.fragment_counts_encapsulation:
        target -= _encapsulation(settings)
    return _fitting(settings, target) - _FRAGMENT - (static.ID_BYTES if _cbc(settings) else 0)


def mss_limit(settings: Settings) -> int:
    """The MSS that TCP over IPv4 may have in the tunnel (20 less over IPv6); 0 for any."""
    limit, mode = _mssfix(settings)
    if not limit:
        return 0
    if mode == "fixed":
        return max(0, limit - _IP_TCP)
    target = limit - _outer(settings)
    if mode == "mtu":
        target -= _encapsulation(settings)
    return max(0, _fitting(settings, target) - mss_overhead(settings))


def mss_datagram(settings: Settings) -> int:
    """Bytes that a datagram with a TCP segment may have on a link whose keys come later; 0 for any."""
    limit, mode = _mssfix(settings)
    if not limit or mode == "fixed":
        return 0
    target = limit - _carrier(settings)
    return target - _encapsulation(settings) if mode == "mtu" else target


def mss_overhead(settings: Settings) -> int:
    """What of a payload is not TCP payload, at most, with IPv4 and without TCP's options."""
    return _inner(settings) + _IP_TCP


def _mssfix(settings: Settings) -> tuple[int, str]:
    """The limit, 0 for none, and what it counts (`Mssfix`); without the option OpenVPN 2.6's default."""
    sizes = settings.sizes
    if sizes.mssfix is not None:
        return sizes.mssfix.size, sizes.mssfix.counts
    if sizes.fragment:
        return sizes.fragment, "mtu"
    if sizes.link_mtu:
        return 0, "payload"
    if sizes.tun_mtu == DEFAULT_MTU:
        return DEFAULT_MSSFIX, "mtu"
    return sizes.tun_mtu, "fixed"


def datagram_overhead(proto: str) -> int:
    """IP and UDP or TCP headers around a datagram; IPv6 where the family is not known."""
    return (20 if "4" in proto else 40) + (8 if proto.startswith("udp") else 20)


def _encapsulation(settings: Settings) -> int:
    return datagram_overhead(settings.proto)


def _declared(settings: Settings) -> int:
    """The link-mtu of the options string, in which older versions' slack lives on."""
    keyless = settings.key is None
    outer = 0 if keyless else _outer(settings, declared=True)
    return settings.sizes.tun_mtu + _inner(settings) + outer


def _outer(settings: Settings, *, declared: bool = False) -> int:
    """Around the payload. OpenVPN reckons a packet id even where there is no key and none is sent."""
    size = _carrier(settings)
    if settings.key is not None:
        size += static.digest_size(static.digest_name(settings.encryption.auth))
    if not _cbc(settings):
        return size + static.ID_BYTES
    return size + static.BLOCK * (2 if declared else 1)


def _carrier(settings: Settings) -> int:
    """What a proxy or a stream puts before each datagram."""
    if not settings.proto.startswith("udp"):
        return _STREAM
    return _SOCKS if settings.socks else 0


def _inner(settings: Settings) -> int:
    """Within the payload, beside the IP packet."""
    return (
        _extra(settings)
        + compress.overhead(settings.compression.framing)
        + (_FRAGMENT if settings.sizes.fragment else 0)
        + (static.ID_BYTES if _cbc(settings) else 0)
    )


def _extra(settings: Settings) -> int:
    return TAP_EXTRA if settings.kind == "ethernet" else 0


def _fitting(settings: Settings, target: int) -> int:
    """What fits into `target` bytes once the cipher has padded it."""
    return target - target % static.BLOCK - 1 if _cbc(settings) else target


def _cbc(settings: Settings) -> bool:
    return settings.key is not None and static.cipher_name(settings.encryption.static_cipher) != "none"


def _proto(proto: str, remote: bool) -> str:
    if proto.startswith("udp"):
        return "UDPv4"
    return "TCPv4_SERVER" if proto.endswith("server") != remote else "TCPv4_CLIENT"

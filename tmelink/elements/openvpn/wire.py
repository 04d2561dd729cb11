"""What a link makes of a frame: its datagrams, what each holds, and the underlay IP packets.

This follows from the options alone; no key is read and nothing is connected. What the ends of a TLS link
negotiate is assumed to be OpenVPN's default: the first cipher of --data-ciphers, and a peer id. This module
knows no element.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from tmelink.elements.openvpn.sessions import settings
from tmelink.ethernet import HEADER as ETHERNET_HEADER
from tmelink.openvpn import keys
from tmelink.openvpn.data import compress, static
from tmelink.openvpn.data.fragment import HEADER_BYTES, Fragments
from tmelink.openvpn.data.frame_filter import TAGS
from tmelink.openvpn.data.keys import may_use_epochs
from tmelink.openvpn.options.parse import Options
from tmelink.openvpn.plain import mtu
from tmelink.openvpn.plain.settings import Settings
from tmelink.openvpn.secret import Secret
from tmelink.routing.facts import IPVersion
from tmelink.sizes import IP_HEADER, UDP_HEADER, HeaderSize, fragments

OPCODE_AND_PEER = 4
PACKET_ID = 4
EPOCH_PACKET_ID = 8
"""A packet id with an epoch (OpenVPN 2.7's data channel format, "aead-epoch")."""
AEAD_TAG = 16
STREAM_LENGTH = 2

_NO_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True)
class Datagram:
    """One datagram of a link: `payload` bytes of a frame, and the headers and trailers around them."""

    payload: int
    headers: tuple[HeaderSize, ...]

    @property
    def size(self) -> int:
        """Bytes of UDP or TCP payload."""
        return self.payload + sum(header.bytes for header in self.headers)


def is_stream(options: Options) -> bool:
    """Whether the link is over TCP."""
    return not options.proto.startswith("udp")


def inner_header(options: Options) -> int:
    """How many bytes a frame is longer than the IP packet in it."""
    return ETHERNET_HEADER if options.dev_type == "tap" else 0


def longest(options: Options) -> int:
    """The longest frame that the link sends, in bytes; longer ones are dropped."""
    slack = TAGS if options.dev_type == "tap" else 0
    return inner_mtu(options) + inner_header(options) + slack


def inner_mtu(options: Options) -> int:
    """--tun-mtu, or what --link-mtu leaves of it: the largest IP packet that both ends expect."""
    return mtu.tun_mtu(_keyed(options))


def datagrams(options: Options, frame: int, *, epochs: bool = False) -> list[Datagram]:
    """The datagrams of a frame of `frame` bytes; none where --fragment would make too many.

    `epochs`: both ends speak OpenVPN 2.7's data format, as two tmelink ends do under TLS 1.3.
    """
    framing = compress.overhead(options.compression.framing)
    before = [HeaderSize("compression framing", framing)] if framing else []
    if not options.sizes.fragment:
        return [_sealed(options, frame, before, epochs)]
    before.append(HeaderSize("OpenVPN fragment", HEADER_BYTES))
    cutter = Fragments(_largest_piece(options, epochs), _NO_LIMIT, Counter())
    pieces = [len(piece) - HEADER_BYTES for piece in cutter.split(bytes(frame + framing))]
    made = []
    for index, piece in enumerate(pieces):
        # The framing is part of the first piece.
        own = before if index == 0 else before[-1:]
        made.append(_sealed(options, piece - (framing if index == 0 else 0), own, epochs))
    return made


def outer_packets(options: Options, datagram: Datagram, version: IPVersion, path: int) -> list[int]:
    """The sizes of the underlay IP packets that carry a datagram over UDP."""
    return fragments(IP_HEADER[version] + UDP_HEADER + datagram.size, path, version)


def whole(options: Options, version: IPVersion, path: int, *, epochs: bool = False) -> int:
    """The largest inner IP packet that crosses a path in one underlay packet; 0 if none does."""
    for packet in range(min(inner_mtu(options), path), 0, -1):
        made = datagrams(options, packet + inner_header(options), epochs=epochs)
        if len(made) == 1 and len(outer_packets(options, made[0], version, path)) == 1:
            return packet
    return 0


def _keyed(options: Options) -> Settings:
    """The settings with an empty key instead of the one in the key file: sizes do not depend on its bytes."""
    key = None if options.secret is None else Secret(bytes(keys.KEY_BYTES))
    return replace(settings(options), key=key)


def _sealed(options: Options, payload: int, before: list[HeaderSize], epochs: bool) -> Datagram:
    inner = payload + sum(header.bytes for header in before)
    if options.tls is not None:
        around = _tls(options, inner, epochs)
    elif options.secret is not None:
        around = _static(options, inner)
    else:
        around = []
    stream = [HeaderSize("length", STREAM_LENGTH)] if is_stream(options) else []
    return Datagram(payload, (*stream, *around, *before))


def _static(options: Options, inner: int) -> list[HeaderSize]:
    """Static keys; `tmelink.openvpn.data.static` has the layout."""
    cipher = static.cipher_name(options.encryption.cipher or "none")
    return _hmac(options) + _block_cipher(cipher, static.ID_BYTES, inner)


def _tls(options: Options, inner: int, epochs: bool) -> list[HeaderSize]:
    cipher = data_cipher(options)
    head = [HeaderSize("opcode and peer id", OPCODE_AND_PEER)]
    if cipher in static.CIPHERS:
        return head + _hmac(options) + _block_cipher(cipher, PACKET_ID, inner)
    number = EPOCH_PACKET_ID if epochs and may_use_epochs(cipher) else PACKET_ID
    return [*head, HeaderSize("packet id", number), HeaderSize(f"{cipher} tag", AEAD_TAG)]


def data_cipher(options: Options) -> str:
    """The cipher that both ends of a TLS link negotiate, as far as one of them knows."""
    assert options.tls is not None, "only TLS negotiates"
    return (*options.tls.ciphers.accepted, options.tls.ciphers.fallback or "none")[0]


def _hmac(options: Options) -> list[HeaderSize]:
    size = static.digest_size(static.digest_name(options.encryption.auth))
    return [HeaderSize(f"HMAC {options.encryption.auth}", size)] if size else []


def _block_cipher(cipher: str, number: int, inner: int) -> list[HeaderSize]:
    if cipher == "none":
        return [HeaderSize("packet id", number)]
    padding = static.BLOCK - (number + inner) % static.BLOCK
    return [HeaderSize("IV", static.BLOCK), HeaderSize("packet id", number), HeaderSize("padding", padding)]


def _largest_piece(options: Options, epochs: bool) -> int:
    """The longest payload, without the fragment header, that --fragment sends whole."""
    if options.tls is None:
        return mtu.fragment_size(_keyed(options))
    room = options.sizes.fragment - sum(h.bytes for h in _tls(options, 0, epochs) if h.name != "padding")
    if data_cipher(options) in static.CIPHERS and data_cipher(options) != "none":
        encrypted = room + PACKET_ID
        room = encrypted - encrypted % static.BLOCK - 1 - PACKET_ID
    return max(room - HEADER_BYTES, HEADER_BYTES)

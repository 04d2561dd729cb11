"""Compression framing: what OpenVPN sets around a payload to say whether it is compressed.

Knows the framings of --comp-lzo no and of --compress, and unpacks LZ4 where the peer insists on it
(OpenVPN 2.6, comp.h). Nothing sent is ever compressed: compressing before encrypting tells an observer about
the contents (VORACLE). LZO has no well-kept library for Python: what a peer packs with it is dropped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, get_args

from tmelink.errors import ProtocolError
from tmelink.frame import Frame
from tmelink.openvpn.settings import Compression, Framing

_LZO, _LZ4, _PLAIN, _PLAIN_SWAPPED = 0x66, 0x69, 0xFA, 0xFB
_V2, _V2_PLAIN, _V2_LZ4 = 0x50, 0, 1
_V2_PLAIN_READ: Final = (_V2_PLAIN, 10)
"""OpenVPN 2.6 writes 10 where it reads 0."""
_V2_ESCAPE: Final = bytes((_V2, _V2_PLAIN))


_DROPPED: Final = "the peer compresses with {}, which {}; its packets are dropped: {}"
LZO_COMPLAINT: Final = _DROPPED.format(
    "LZO", "nothing here can unpack", "write comp-lzo no there, and push it to clients"
)
LZ4_COMPLAINT: Final = _DROPPED.format(
    "LZ4", "is not allowed here", "write --allow-compression asym here, or compress stub-v2 there"
)


def check(compression: Compression) -> None:
    """Raises `ValueError` if the framing is not allowed, or not available."""
    framing = compression.framing
    if framing not in get_args(Framing):
        raise ValueError(f"'{framing}' is not a compression framing; write stub-v2, or leave compression out")
    if framing in ("lz4", "lz4-v2"):
        if compression.allow == "no":
            raise ValueError(
                f"--compress {framing} would take compressed packets; write --allow-compression asym if "
                "the peer insists, or --compress stub-v2"
            )
        _lz4()


def overhead(framing: Framing | None) -> int:
    """Bytes that OpenVPN allows for the framing; the v2 framings add some only in rare cases."""
    return 0 if framing in (None, "stub-v2", "lz4-v2") else 1


class CompressionFramer:
    """One framing, both ways; payloads unpack to at most `limit` bytes.

    `complaint` says why, once a packet came that cannot be unpacked.
    """

    def __init__(self, compression: Compression, limit: int) -> None:
        """Raises `ValueError` of `check`; without a framing there is nothing to make."""
        check(compression)
        framing = compression.framing
        assert framing is not None, "check refuses it"
        self.complaint: str | None = None
        self._limit = limit
        self._lz4: Callable[..., bytes] | None = None if compression.allow == "no" else _lz4_or_none()
        self._v2 = framing.endswith("v2")
        self._swapped = framing in ("stub", "lz4")

    def frame(self, payload: Frame) -> Frame:
        """The payload in its framing, not compressed."""
        if not payload:
            return payload
        if self._v2:
            return _V2_ESCAPE + payload if payload[0] == _V2 else payload
        if self._swapped:
            return b"".join((bytes((_PLAIN_SWAPPED,)), memoryview(payload)[1:], bytes((payload[0],))))
        return bytes((_PLAIN,)) + payload

    def unframe(self, framed: Frame) -> Frame:
        """The payload; raises `ProtocolError` for what is none in this framing, or may not be unpacked."""
        if not framed:
            raise ProtocolError("bad compression")
        if self._v2:
            return self._unframe_v2(framed)
        kind, body = framed[0], memoryview(framed)[1:]
        if kind == _PLAIN and not self._swapped:
            return body
        if kind == _LZO:
            self.complaint = LZO_COMPLAINT
            raise ProtocolError("LZO compressed")
        if not self._swapped or not body or kind not in (_PLAIN_SWAPPED, _LZ4):
            raise ProtocolError("bad compression")
        payload = bytes(body[-1:]) + body[:-1]
        return payload if kind == _PLAIN_SWAPPED else self._unpack(payload)

    def _unframe_v2(self, framed: Frame) -> Frame:
        if framed[0] != _V2:
            return framed
        if len(framed) < 2:
            raise ProtocolError("bad compression")
        if framed[1] in _V2_PLAIN_READ:
            return framed[2:]
        if framed[1] == _V2_LZ4:
            return self._unpack(framed[2:])
        raise ProtocolError("bad compression")

    def _unpack(self, packed: Frame) -> bytes:
        if self._lz4 is None:
            self.complaint = LZ4_COMPLAINT
            raise ProtocolError("compressed")
        try:
            return self._lz4(packed, uncompressed_size=self._limit)
        except Exception as error:  # lz4.block.LZ4BlockError, which exists only where lz4 does
            raise ProtocolError("bad compression") from error


def _lz4_or_none() -> Callable[..., bytes] | None:
    try:
        return _lz4()
    except ValueError:
        return None


def _lz4() -> Callable[..., bytes]:
    try:
        import lz4.block
    except ImportError:
        raise ValueError("--compress lz4 needs the lz4 package: pip install 'tmelink[lz4]'") from None
    unpack: Any = lz4.block.decompress
    return unpack  # type: ignore[no-any-return]

"""OpenVPN's static key files: 2048 bits in hexadecimal between two marker lines.

Knows the format that `openvpn --genkey secret` writes, for --secret, --tls-auth and --tls-crypt alike, and
the halves that a key direction picks. Reads no file: it is given bytes, of a file or of an inline block.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from tmelink.openvpn.secret import Secret

KEY_BYTES: Final = 256
"""Two keys, each of 64 bytes for a cipher and 64 for an HMAC."""

HALF: Final = 64

KeyDirection = Literal[0, 1]

_BEGIN: Final = "-----BEGIN OpenVPN Static key V1-----"
_END: Final = "-----END OpenVPN Static key V1-----"
_LINE: Final = 16


class Pair(NamedTuple):
    """What one direction of a link uses: 64 bytes each, of which ciphers and HMACs take the first ones."""

    cipher: bytes
    hmac: bytes


def parse(text: bytes, name: str = "the static key") -> Secret:
    """The 256 bytes of a static key file.

    Raises `ValueError` that says what is wrong and in which line, and shows nothing of the key. Text before
    the first marker is ignored, as OpenVPN does.
    """
    data = bytearray()
    begun = False
    for number, line in enumerate(text.decode("ascii", "replace").splitlines(), 1):
        line = line.strip()
        if not begun:
            begun = line == _BEGIN
        elif line == _END:
            break
        else:
            try:
                data += bytes.fromhex(line)
            except ValueError:
                raise ValueError(f"{name}: line {number} is not hexadecimal") from None
    else:
        missing = f"no line '{_END}'" if begun else f"no line '{_BEGIN}'"
        raise ValueError(f"{name}: {missing}; 'tmelink genkey' writes a key file")
    if len(data) != KEY_BYTES:
        raise ValueError(f"{name}: {len(data)} bytes of key, {KEY_BYTES} are needed")
    return Secret(bytes(data))


def generate(random: Callable[[int], bytes]) -> bytes:
    """A new key as the contents of a key file; `random(n)` gives n bytes fit for keys."""
    key = random(KEY_BYTES)
    lines = [key[at : at + _LINE].hex() for at in range(0, KEY_BYTES, _LINE)]
    return "\n".join(["#", "# 2048 bit OpenVPN static key", "#", _BEGIN, *lines, _END, ""]).encode()


def direction_keys(key: Secret, direction: KeyDirection | None) -> tuple[Pair, Pair]:
    """What to send with and what to receive with; without a direction, both ends use the same pair."""
    data = key.reveal()
    pairs = [
        Pair(data[at : at + HALF], data[at + HALF : at + 2 * HALF]) for at in range(0, len(data), 2 * HALF)
    ]
    if direction is None:
        return pairs[0], pairs[0]
    return pairs[direction], pairs[1 - direction]

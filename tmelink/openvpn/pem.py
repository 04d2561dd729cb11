"""OpenVPN's key files in PEM: base64 between a line that begins and one that ends them."""

from __future__ import annotations

import base64


def build(name: str, raw: bytes) -> bytes:
    """A file with one block of that name."""
    text = base64.b64encode(raw).decode("ascii")
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return "\n".join((f"-----BEGIN {name}-----", *lines, f"-----END {name}-----", "")).encode("ascii")


def parse(name: str, pem: bytes) -> bytes:
    """What the first block of that name holds; raises `ValueError`."""
    begin, end = f"-----BEGIN {name}-----".encode(), f"-----END {name}-----".encode()
    _, found, rest = pem.partition(begin)
    text, ended, _ = rest.partition(end)
    if not found or not ended:
        raise ValueError(f"no '{begin.decode()}' block")
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)
    except ValueError:
        raise ValueError(f"the {name} is not base64") from None

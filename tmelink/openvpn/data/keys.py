"""The data channel's keys by the cipher's name.

Which of the formats a cipher uses, and that all of them have one face. Knows no session.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from tmelink.frame import Frame, Run
from tmelink.openvpn.data.aead import SUITES, AeadKeys
from tmelink.openvpn.data.cbc import CbcKeys
from tmelink.openvpn.data.direction import StaticDirection
from tmelink.openvpn.data.epoch import EpochKeys
from tmelink.openvpn.data.replay import Lateness
from tmelink.openvpn.data.static import CIPHERS
from tmelink.openvpn.session import Item


class DataKeys(Protocol):
    """Both directions of one key negotiation.

    A head goes before each packet; its first `skip` bytes are not authenticated, its whole length is `at`.
    """

    @property
    def overhead(self) -> int:
        """Bytes that a packet adds to its frame at most, beside the head."""
        ...

    def needs_rekey(self) -> bool:
        """Whether new keys are due."""
        ...

    def max_payload(self, room: int) -> int:
        """The longest frame whose packet, without its head, takes no more than `room` bytes."""
        ...

    def seal(self, head: bytes, skip: int, frames: Sequence[Item]) -> list[Item]:
        """Packets out of frames, equal-sized ones in runs."""
        ...

    def age(self, now: float) -> None:
        """Called before packets that have come now are opened: what was overtaken long ago is too late."""
        ...

    def open_each(self, at: int, skip: int, packets: Sequence[Frame]) -> list[Item]:
        """The frames of packets; counts the others by reason."""
        ...

    def open_run(self, at: int, skip: int, run: Run) -> list[Item]:
        """The frames of a run of packets that all begin alike."""
        ...


def known(cipher: str) -> bool:
    """Whether there is such a data cipher; names are written as OpenVPN writes them."""
    return cipher in SUITES or cipher in CIPHERS


def may_use_epochs(cipher: str) -> bool:
    """Whether the epoch format is for this cipher."""
    return cipher in SUITES


def make(
    cipher: str,
    auth: str,
    send: StaticDirection,
    receive: StaticDirection,
    drops: Counter[str],
    *,
    epoch: bool,
    window: Lateness,
) -> DataKeys:
    """The keys of a `known` cipher; `auth` is the digest of those that need an HMAC."""
    suite = SUITES.get(cipher)
    if suite is None:
        return CbcKeys(cipher, auth, send, receive, drops, window=window)
    return (EpochKeys if epoch else AeadKeys)(suite, send, receive, drops, window=window)

"""What must not be shown: keys and passwords, and where key material comes from.

Knows no format and does no I/O. A `Secret` never shows itself in `repr`, `str` or a format; only `reveal`
gives it away, so that every place that does can be found by that word.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass


class Secret:
    """Bytes that no log, error or listing may show; equal in constant time."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    def reveal(self) -> bytes:
        """The bytes themselves."""
        return self._data

    def __len__(self) -> int:
        return len(self._data)

    def __repr__(self) -> str:
        return "Secret(…)"

    def __eq__(self, other: object) -> bool:
        return hmac.compare_digest(self._data, other._data) if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._data)


@dataclass(frozen=True, slots=True)
class Material:
    """What an option such as --ca, --key or --secret names: a file, or the text of an inline block.

    Exactly one of `path` (absolute, or relative to the process's directory) and `inline` is set.
    """

    path: str | None = None
    inline: Secret | None = None

    def load(self, read_file: Callable[[str], bytes]) -> Secret:
        """The contents, read anew from the file if there is one; raises what `read_file` raises."""
        if self.inline is not None:
            return self.inline
        assert self.path is not None
        return Secret(read_file(self.path))

    def __str__(self) -> str:
        return self.path if self.path is not None else "[inline]"

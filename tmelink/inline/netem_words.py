"""Impairments as words: `delay 50ms 10ms distribution normal loss 1% burst 4 rate 10mbit`, read and written.

The words and their meaning are those of tc-netem(8), with `burst`, `drop every`, `match`, `flap` and
`direction` beside them. Reading words changes only what they name. No I/O, no clock and no frames.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal, cast

from tmelink.source import suggestion

Distribution = Literal["uniform", "normal", "pareto", "paretonormal"]
Direction = Literal["in", "out", "both"]


@dataclass(frozen=True, slots=True)
class Delay:
    """Seconds that a frame waits: `time`, varied by `jitter` as `distribution` says.

    `correlation` (0 to 1) is how much a wait depends on the one before.
    """

    time: float
    jitter: float = 0.0
    correlation: float = 0.0
    distribution: Distribution = "uniform"


@dataclass(frozen=True, slots=True)
class Chance:
    """A probability (0 to 1) that depends on the decision before by `correlation` (0 to 1)."""

    probability: float
    correlation: float = 0.0


@dataclass(frozen=True, slots=True)
class GilbertElliott:
    """Loss in two states (`loss gemodel P R 1-H 1-K`), all probabilities 0 to 1.

    `to_bad` and `to_good` are the transitions a frame; `lost_bad` and `lost_good` the loss in each state.
    """

    to_bad: float
    to_good: float
    lost_bad: float = 1.0
    lost_good: float = 0.0

    @property
    def loss(self) -> float:
        """The share of frames that is lost in the long run."""
        total = self.to_bad + self.to_good
        bad = self.to_bad / total if total else 0.0
        return bad * self.lost_bad + (1 - bad) * self.lost_good


@dataclass(frozen=True, slots=True)
class Rate:
    """Bits a second, and what each frame is reckoned longer by (`rate RATE [OVERHEAD]`), in bytes."""

    bits: float
    overhead: int = 0


@dataclass(frozen=True, slots=True)
class Slot:
    """Frames leave only at intervals of `minimum` to `maximum` seconds, so many at a time (0: any number)."""

    minimum: float
    maximum: float
    packets: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Flap:
    """The connection is up for so many seconds, then down for so many, again and again."""

    up: float
    down: float


@dataclass(frozen=True, slots=True)
class Impairment:
    """What happens to the frames of one direction; None and 0 leave them alone.

    `limit` is how many frames may wait. `match` is a filter expression: the rest is not impaired. `gap` is
    netem's: every so-manieth frame is reordered. `drop_every` drops one frame of so many.
    """

    delay: Delay | None = None
    loss: Chance | GilbertElliott | None = None
    rate: Rate | None = None
    duplicate: Chance | None = None
    corrupt: Chance | None = None
    reorder: Chance | None = None
    gap: int = 0
    slot: Slot | None = None
    limit: int = 1000
    drop_every: int = 0
    match: str = ""
    flap: Flap | None = None
    down: bool = False
    seed: int | None = None

    def __bool__(self) -> bool:
        return replace(self, limit=1000, seed=None, match="") != Impairment()

    def __str__(self) -> str:
        return " ".join(text for name, write in _WRITTEN.items() if (text := write(self, name)))


class WordError(ValueError):
    """A word that cannot be read; `index` says which, counted from 0. `hint` is the remedy, or None."""

    def __init__(self, index: int, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.index = index
        self.hint = hint


@dataclass(frozen=True, slots=True)
class ImpairmentRequest:
    """What a person wants changed: `clear` first, then the words over what holds, in `direction`."""

    direction: Direction
    clear: bool
    words: tuple[str, ...]

    def applied(self, before: Impairment) -> Impairment:
        """What holds afterwards: everything that the words do not name stays."""
        return _Reader(self.words).read(Impairment() if self.clear else before)


def directed(words: Sequence[str]) -> tuple[list[str], Direction]:
    """The words without `direction in|out|both`, and that direction; "both" where there is none."""
    rest, direction = list(words), "both"
    while "direction" in rest:
        at = rest.index("direction")
        choice = rest[at + 1] if at + 1 < len(rest) else ""
        if choice not in ("in", "out", "both"):
            raise WordError(min(at + 1, len(rest) - 1), "direction is in, out or both")
        direction = choice
        del rest[at : at + 2]
    return rest, cast(Direction, direction)


def request(words: list[str]) -> ImpairmentRequest:
    """Read a whole request; raises `WordError`.

    `clear` alone takes every impairment away. `direction in|out|both` may stand anywhere; "both" is meant
    without it.
    """
    rest, direction = directed(words)
    clear = False
    if rest[:1] == ["clear"]:
        clear = True
        del rest[0]
    asked = ImpairmentRequest(direction, clear, tuple(rest))
    try:
        asked.applied(Impairment())
    except WordError as error:
        wrong = rest[error.index] if error.index < len(rest) else rest[-1] if rest else ""
        raise WordError(words.index(wrong) if wrong in words else 0, str(error), error.hint) from error
    return asked


_UNITS = {"": 1e6, "us": 1e6, "usec": 1e6, "ns": 1e9, "ms": 1e3, "msec": 1e3, "s": 1.0, "sec": 1.0}
"""What a second has of each; without a unit a time is in microseconds, as tc takes it."""

_RATES = {
    "bit": 1.0,
    "kbit": 1e3,
    "mbit": 1e6,
    "gbit": 1e9,
    "bps": 8.0,
    "kbps": 8e3,
    "mbps": 8e6,
    "gbps": 8e9,
}
_NUMBER = re.compile(r"(\d+(?:\.\d*)?|\.\d+)([a-zA-Z]*)")
DISTRIBUTIONS: tuple[Distribution, ...] = ("uniform", "normal", "pareto", "paretonormal")
KEYWORDS = (
    *("delay", "loss", "rate", "duplicate", "corrupt", "reorder", "gap", "slot", "limit"),
    *("drop", "match", "flap", "down", "up", "seed", "direction", "clear"),
)


class _Reader:
    """Goes through the words; each keyword takes those after it that are its own."""

    def __init__(self, words: tuple[str, ...]) -> None:
        self.words = words
        self.at = 0

    def read(self, impairment: Impairment) -> Impairment:
        while self.at < len(self.words):
            keyword = self.words[self.at]
            if keyword not in KEYWORDS or keyword in ("clear", "direction"):
                hint = suggestion(keyword, KEYWORDS) or f"the words are {', '.join(KEYWORDS)}"
                raise WordError(self.at, f"'{keyword}' is not a word of impair", hint)
            self.at += 1
            changes = getattr(self, f"_{keyword}")(impairment)
            impairment = replace(impairment, **changes)
        return impairment

    # Words

    def _next(self, what: str) -> str:
        if self.at >= len(self.words):
            raise WordError(len(self.words) - 1, f"'{self.words[-1]}' needs {what}")
        self.at += 1
        return self.words[self.at - 1]

    def _peek(self) -> str:
        return self.words[self.at] if self.at < len(self.words) else ""

    def _wrong(self, message: str) -> WordError:
        return WordError(self.at - 1, message)

    def _time(self, what: str = "a time, such as 50ms") -> float:
        word = self._next(what)
        found = _NUMBER.fullmatch(word)
        if not found or found[2].lower() not in _UNITS:
            raise self._wrong(f"'{word}' is not a time; write it as 50ms, 200us or 1.5s")
        return float(found[1]) / _UNITS[found[2].lower()]

    def _maybe_time(self) -> float | None:
        found = _NUMBER.fullmatch(self._peek())
        return self._time() if found and found[2].lower() in _UNITS else None

    def _percent(self, what: str = "a share, such as 1%") -> float:
        word = self._next(what)
        try:
            share = float(word.removesuffix("%")) / 100
        except ValueError:
            raise self._wrong(f"'{word}' is not a share; write it as 1% or 0.1%") from None
        if not 0 <= share <= 1:
            raise self._wrong(f"'{word}' is not a share between 0% and 100%")
        return share

    def _maybe_percent(self) -> float | None:
        return self._percent() if re.fullmatch(r"[\d.]+%?", self._peek()) else None

    def _count(self, what: str, low: int = 1) -> int:
        word = self._next(what)
        if not word.isdecimal() or int(word) < low:
            raise self._wrong(f"'{word}' is not {what}; it is a whole number of at least {low}")
        return int(word)

    # Keywords

    def _delay(self, before: Impairment) -> dict[str, object]:
        time = self._time()
        jitter = self._maybe_time() or 0.0
        correlation = (self._maybe_percent() if jitter else None) or 0.0
        distribution: Distribution = "uniform"
        if self._peek() == "distribution":
            self.at += 1
            word = self._next("the name of a distribution")
            if word not in DISTRIBUTIONS:
                raise self._wrong(f"'{word}' is not a distribution: {', '.join(DISTRIBUTIONS)}")
            distribution = word
        elif self._peek() in DISTRIBUTIONS:
            distribution = self._next("a distribution")  # type: ignore[assignment]
        return {"delay": Delay(time, jitter, correlation, distribution) if time or jitter else None}

    def _loss(self, before: Impairment) -> dict[str, object]:
        if self._peek() == "random":
            self.at += 1
        elif self._peek() == "gemodel":
            self.at += 1
            to_bad = self._percent("the chance of turning bad, such as 1%")
            shares = [share for _ in range(3) if (share := self._maybe_percent()) is not None]
            to_good = shares[0] if shares else 1 - to_bad
            lost_bad = shares[1] if len(shares) > 1 else 1.0
            lost_good = shares[2] if len(shares) > 2 else 0.0
            return {"loss": GilbertElliott(to_bad, to_good, lost_bad, lost_good)}
        share = self._percent()
        if self._peek() == "burst":
            self.at += 1
            length = self._count("a mean length of bursts, in frames")
            if share >= 1:
                raise self._wrong("a loss of 100% has no bursts")
            to_good = 1 / length
            to_bad = to_good * share / (1 - share)
            if to_bad > 1:
                raise self._wrong(
                    f"bursts of {length} frames cannot add up to so much loss; make them longer"
                )
            return {"loss": GilbertElliott(to_bad, to_good) if share else None}
        correlation = self._maybe_percent() or 0.0
        return {"loss": Chance(share, correlation) if share else None}

    def _rate(self, before: Impairment) -> dict[str, object]:
        word = self._next("a rate, such as 10mbit")
        found = _NUMBER.fullmatch(word)
        if not found or (found[2].lower() or "bit") not in _RATES:
            raise self._wrong(f"'{word}' is not a rate; write it as 10mbit, 64kbit or 1gbit")
        bits = float(found[1]) * _RATES[found[2].lower() or "bit"]
        overhead = 0
        if re.fullmatch(r"-?\d+", self._peek()):
            overhead = int(self._next("an overhead"))
        return {"rate": Rate(bits, overhead) if bits else None}

    def _chance(self) -> Chance | None:
        share = self._percent()
        correlation = self._maybe_percent() or 0.0
        return Chance(share, correlation) if share else None

    def _duplicate(self, before: Impairment) -> dict[str, object]:
        return {"duplicate": self._chance()}

    def _corrupt(self, before: Impairment) -> dict[str, object]:
        return {"corrupt": self._chance()}

    def _reorder(self, before: Impairment) -> dict[str, object]:
        changes: dict[str, object] = {"reorder": self._chance()}
        if self._peek() == "gap":
            self.at += 1
            changes["gap"] = self._count("a gap in frames")
        return changes

    def _gap(self, before: Impairment) -> dict[str, object]:
        return {"gap": self._count("a gap in frames", 0)}

    def _slot(self, before: Impairment) -> dict[str, object]:
        minimum = self._time("the least time between two slots")
        maximum = self._maybe_time() or minimum
        packets = size = 0
        while self._peek() in ("packets", "bytes"):
            if self._next("") == "packets":
                packets = self._count("a number of frames")
            else:
                size = self._count("a number of bytes")
        if maximum < minimum:
            raise self._wrong("the longest time between two slots is below the shortest")
        return {"slot": Slot(minimum, maximum, packets, size) if maximum else None}

    def _limit(self, before: Impairment) -> dict[str, object]:
        return {"limit": self._count("a number of frames that may wait")}

    def _drop(self, before: Impairment) -> dict[str, object]:
        if self._next("'every N'") != "every":
            raise self._wrong("write it as 'drop every 10'")
        return {"drop_every": self._count("a number of frames", 0)}

    def _match(self, before: Impairment) -> dict[str, object]:
        return {"match": self._next("a filter expression in quotes")}

    def _flap(self, before: Impairment) -> dict[str, object]:
        up, down = self._time("the time up, such as 10s"), self._time("the time down, such as 2s")
        return {"flap": Flap(up, down) if up and down else None}

    def _down(self, before: Impairment) -> dict[str, object]:
        return {"down": True}

    def _up(self, before: Impairment) -> dict[str, object]:
        return {"down": False, "flap": None}

    def _seed(self, before: Impairment) -> dict[str, object]:
        return {"seed": self._count("a seed", 0)}


# Writing


def _seconds(value: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= size:
            return f"{round(value / size, 6):g}{unit}"
    return "0ms"


def _share(value: float) -> str:
    return f"{round(value * 100, 6):g}%"


def _bits(value: float) -> str:
    for unit, size in (("gbit", 1e9), ("mbit", 1e6), ("kbit", 1e3)):
        if value >= size:
            return f"{round(value / size, 6):g}{unit}"
    return f"{round(value, 6):g}bit"


def _write_delay(impairment: Impairment, name: str) -> str:
    delay = impairment.delay
    if delay is None:
        return ""
    parts = ["delay", _seconds(delay.time)]
    if delay.jitter:
        parts.append(_seconds(delay.jitter))
        if delay.correlation:
            parts.append(_share(delay.correlation))
        if delay.distribution != "uniform":
            parts += ["distribution", delay.distribution]
    return " ".join(parts)


def _write_loss(impairment: Impairment, name: str) -> str:
    loss = impairment.loss
    if isinstance(loss, GilbertElliott):
        shares = (loss.to_bad, loss.to_good, loss.lost_bad, loss.lost_good)
        return "loss gemodel " + " ".join(map(_share, shares))
    return _write_chance(impairment, name)


def _write_chance(impairment: Impairment, name: str) -> str:
    chance = getattr(impairment, name)
    if chance is None:
        return ""
    text = f"{name} {_share(chance.probability)}"
    return f"{text} {_share(chance.correlation)}" if chance.correlation else text


def _write_rate(impairment: Impairment, name: str) -> str:
    rate = impairment.rate
    if rate is None:
        return ""
    return f"rate {_bits(rate.bits)}" + (f" {rate.overhead}" if rate.overhead else "")


def _write_slot(impairment: Impairment, name: str) -> str:
    slot = impairment.slot
    if slot is None:
        return ""
    text = f"slot {_seconds(slot.minimum)} {_seconds(slot.maximum)}"
    text += f" packets {slot.packets}" if slot.packets else ""
    return text + (f" bytes {slot.bytes}" if slot.bytes else "")


def _write_number(impairment: Impairment, name: str) -> str:
    value = getattr(impairment, name)
    default = next(field.default for field in fields(Impairment) if field.name == name)
    words = {"drop_every": "drop every"}.get(name, name)
    return "" if value == default else f"{words} {value}"


def _write_match(impairment: Impairment, name: str) -> str:
    return f'match "{impairment.match}"' if impairment.match else ""


def _write_flap(impairment: Impairment, name: str) -> str:
    flap = impairment.flap
    return "" if flap is None else f"flap {_seconds(flap.up)} {_seconds(flap.down)}"


_WRITTEN = {
    "match": _write_match,
    "delay": _write_delay,
    "loss": _write_loss,
    "rate": _write_rate,
    "duplicate": _write_chance,
    "corrupt": _write_chance,
    "reorder": _write_chance,
    "gap": _write_number,
    "slot": _write_slot,
    "drop_every": _write_number,
    "flap": _write_flap,
    "down": lambda impairment, name: "down" if impairment.down else "",
    "limit": _write_number,
    "seed": _write_number,
}


def words_of(impairment: Impairment) -> Iterator[str]:
    """The words that read as `impairment`, a filter expression as one word."""
    for name, write in _WRITTEN.items():
        text = write(impairment, name)
        if name == "match" and text:
            yield from ("match", impairment.match)
        else:
            yield from text.split()

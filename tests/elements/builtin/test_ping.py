"""The arithmetic and the words of a ping; that it works is tested with hosts."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from tmelink.elements.builtin.ping import PingArguments, PingResult, parse_ping
from tmelink.errors import ElementError


def test_statistics() -> None:
    result = PingResult(ip_address("10.0.0.2"), sent=4)
    for rtt in (0.003, 0.001, 0.002):
        result.answered(rtt)
    assert (result.minimum, result.maximum) == (0.001, 0.003)
    assert result.average == pytest.approx(0.002)
    assert (result.received, result.lost, result.loss) == (3, 1, 0.25)
    assert str(result) == "10.0.0.2: 4 sent, 3 received, 25% loss\nrtt min/avg/max 1.000/2.000/3.000 ms"


def test_statistics_of_nothing() -> None:
    result = PingResult(ip_address("fd00::2"))
    assert (result.loss, result.average) == (0.0, 0.0)
    assert str(result) == "fd00::2: 0 sent, 0 received, 0% loss"


def test_statistics_tell_what_else_came() -> None:
    result = PingResult(ip_address("10.0.0.2"), sent=3, duplicates=2, late=1)
    result.errors["host unreachable"] += 2
    assert str(result) == "10.0.0.2: 3 sent, 0 received, 100% loss, 2 duplicate, 1 late\n2 x host unreachable"


def test_arguments() -> None:
    assert parse_ping(["10.0.0.2"]) == PingArguments(ip_address("10.0.0.2"))
    words = ["fd00::2", "count", "9", "interval", "0.25", "size", "1400", "timeout", "3"]
    assert parse_ping(words) == PingArguments(
        ip_address("fd00::2"), count=9, interval=0.25, size=1400, timeout=3.0
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "missing argument: ADDR"),
        ("example.org", "'example.org' is not a valid IP address"),
        ("10.0.0.2 cuont 3", "unknown argument 'cuont' .did you mean count"),
        ("10.0.0.2 count 0", "count 0 is out of range"),
        ("10.0.0.2 interval 0", "out of range: 0.001"),
        ("10.0.0.2 size 65508", "size 65508 is out of range: 0 to 65507"),
        ("10.0.0.2 timeout x", "expected seconds"),
    ],
)
def test_mistakes_say_what_to_write(words: str, message: str) -> None:
    with pytest.raises(ElementError, match=message) as caught:
        parse_ping(words.split())
    assert "usage: ping ADDR [count N]" in str(caught.value)

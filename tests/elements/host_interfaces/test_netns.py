"""A namespace machine's arguments."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

import pytest

from tmelink.element import Claim
from tmelink.elements.host_interfaces.netns import Netns
from tmelink.errors import ElementError, UnsupportedHere
from tmelink.source import Mistake, Place, Source, Word


def read(*words: str) -> tuple[Netns.Arguments | None, list[str]]:
    source = Source("test.conf", " ".join(words))
    placed = [Word(word, Place(source, 1, number + 1)) for number, word in enumerate(words)]
    mistakes: list[Mistake] = []
    arguments = Netns.parse(placed, Place(source, 1, 1), mistakes.append)
    return arguments, [str(mistake) for mistake in mistakes]


def test_arguments() -> None:
    text = (
        "lab inet 10.0.0.1/24 inet 10.0.1.1/24 inet6 fd00::1/64 gateway 10.0.0.9 gateway6 fe80::9 mtu 1400 "
        "offload off"
    )
    arguments, mistakes = read(*text.split())
    assert mistakes == []
    assert arguments == Netns.Arguments(
        netns="lab",
        inet=(IPv4Interface("10.0.0.1/24"), IPv4Interface("10.0.1.1/24")),
        inet6=(IPv6Interface("fd00::1/64"),),
        gateway=IPv4Address("10.0.0.9"),
        gateway6=IPv6Address("fe80::9"),
        mtu=1400,
        offload=False,
    )
    element = Netns("pc", arguments)
    assert element.interface == "eth0"
    assert not element.port().offload
    assert element.claims() == [Claim("interface", ("eth0 of namespace lab",))]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), "test.conf:1:1: missing argument: NAME"),
        (("../lab",), "test.conf:1:1: netns: '../lab' is not a valid namespace name: letters, digits"),
        (
            ("lab", "inet", "10.0.0.1"),
            "test.conf:1:3: inet: '10.0.0.1' is not a valid IPv4 address with a prefix",
        ),
        (("lab", "gatway", "x"), "test.conf:1:2: unknown argument 'gatway' (did you mean gateway?)"),
    ],
)
def test_mistakes_are_located(words: tuple[str, ...], expected: str) -> None:
    arguments, mistakes = read(*words)
    assert arguments is None
    assert mistakes[0].startswith(expected)


def test_an_unknown_command_is_answered_with_the_known_ones() -> None:
    element = Netns("pc", Netns.Arguments(netns="lab"))
    with pytest.raises(ElementError, match="pc knows the commands: exec PROGRAM ARGUMENTS…, show"):
        asyncio.run(element.command(["exec"]))


def test_another_system_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(UnsupportedHere, match="needs Linux, and this is darwin"):
        asyncio.run(Netns("pc", Netns.Arguments(netns="no-such-namespace")).open())

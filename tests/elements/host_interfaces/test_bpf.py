"""A packet tap's arguments, and which frames it takes for its own come back."""

from __future__ import annotations

import asyncio

import pytest

from tmelink.element import connect
from tmelink.elements.host_interfaces.bpf import ECHOES, Bpf, Echoes
from tmelink.errors import UnsupportedHere
from tmelink.frame import Burst
from tmelink.source import Mistake, Place, Source, Word
from tmelink.system.packets import stripped_tag


def read(*words: str) -> tuple[Bpf.Arguments | None, list[str]]:
    source = Source("test.conf", " ".join(words))
    placed = [Word(word, Place(source, 1, number + 1)) for number, word in enumerate(words)]
    mistakes: list[Mistake] = []
    arguments = Bpf.parse(placed, Place(source, 1, 1), mistakes.append)
    return arguments, [str(mistake) for mistake in mistakes]


def test_arguments() -> None:
    assert read() == (Bpf.Arguments(None, 0, "none"), [])
    assert read("interface", "tap0", "delay", "500", "filter", "udp port 5000") == (
        Bpf.Arguments("tap0", 500, "udp port 5000"),
        [],
    )
    assert read("delay", "soon")[1] == [
        "test.conf:1:2: delay: 'soon' is not a valid delay; expected a whole number"
    ]
    assert read("interfaces")[1] == ["test.conf:1:1: unknown argument 'interfaces' (did you mean interface?)"]


def test_an_echo_is_met_as_often_as_it_went_in() -> None:
    echoes = Echoes()
    echoes.expect(b"a" * 60)
    echoes.expect(memoryview(b"a" * 60))
    echoes.expect(b"b" * 60)
    assert [echoes.met(b"a" * 60) for _ in range(3)] == [True, True, False]
    assert echoes.met(b"b" * 60)
    assert not echoes.met(b"c" * 60)


def test_echoes_that_never_come_are_forgotten_oldest_first() -> None:
    echoes = Echoes()
    for number in range(ECHOES + 1):
        echoes.expect(number.to_bytes(60, "big"))
    assert not echoes.met((0).to_bytes(60, "big"))
    assert echoes.met((1).to_bytes(60, "big"))
    assert echoes.met(ECHOES.to_bytes(60, "big"))


@pytest.mark.parametrize(
    ("status", "protocol", "expected"),
    [(0x01, 0, None), (0x10, 0, "81000005"), (0x50, 0x88A8, "88a80005"), (0x50, 0x8100, "81000005")],
)
def test_the_tag_that_the_kernel_took_out(status: int, protocol: int, expected: str | None) -> None:
    order = "little"
    auxiliary = b"".join(
        value.to_bytes(size, order)  # type: ignore[arg-type]
        for value, size in ((status, 4), (60, 4), (60, 4), (0, 2), (14, 2), (5, 2), (protocol, 2))
    )
    tag = stripped_tag(auxiliary)
    assert (tag and tag.hex()) == expected


def test_frames_before_open_are_counted() -> None:
    a, b = Bpf("a", Bpf.Arguments()).port(), Bpf("b", Bpf.Arguments()).port()
    connect(a, b)
    a.send(Burst([bytes(60)] * 3))
    assert b.sent.drops == {"closed": 3}


def test_another_system_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(UnsupportedHere, match="needs Linux, and this is darwin"):
        asyncio.run(Bpf("bpf1", Bpf.Arguments()).open())

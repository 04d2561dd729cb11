"""Clients of the control socket in numbers, with bad manners and with any bytes: traffic is unaffected."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from pathlib import Path
from random import Random

import pytest

from tests.support.fuzzing import scaled
from tests.support.raw_client import Raw
from tests.support.traffic import Traffic, running, traffic_lab
from tmelink.control.all_methods import METHODS
from tmelink.control.lab_names import NameLock

CLIENTS = 50
ROUNDS = 20
"""Requests of each of them."""

INPUTS = 20_000
"""What a stranger says in the suite; TMELINK_FUZZ=50 makes it a million."""

BATCH = 200

HARMLESS = ("summary", "elements", "source", "connections", "impairments", "events", "cancel")
"""Methods that may be called with any parameters."""

PARAMETERS = ("since", "follow", "request", "count", "filter", "snaplen")

OTHERS = ("capture", "apply", "exec", "impair", "capture_wire", "status", "stop", "restart", "doctor")
"""Those that are called with parameters that they do not take."""


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMELINK_RUNTIME_DIR", str(tmp_path / "tmelink"))


def taken_name() -> NameLock:
    return NameLock.take("lab", "lab.conf", None)


def test_fifty_clients_and_those_that_never_read_cost_no_frame(tmp_path: Path) -> None:
    async def ask(number: int) -> None:
        client = await Raw.connect()
        for turn in range(ROUNDS):
            client.ask(turn, ("status", "summary", "elements", "events")[number % 4])
            while (await client.read()).get("id") != turn:
                if number % 4 == 3:
                    break
        await client.close()

    async def never_read() -> Raw:
        client = await Raw.connect()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        client.ask("frames", "capture")
        for number in range(200):
            client.ask(number, "status")
        return client

    async def crowd() -> None:
        deaf = [await never_read() for _ in range(3)]
        await asyncio.gather(*(ask(number) for number in range(CLIENTS)))
        for client in deaf:
            client.writer.transport.abort()

    async def main() -> int:
        own = taken_name()
        async with running(traffic_lab(), tmp_path) as control, control.serving(own, METHODS):
            traffic = Traffic(control.lab)
            await traffic.up()
            work = asyncio.create_task(crowd())
            await traffic.run(work)
            await work
            assert traffic.got == list(range(1, traffic.sent + 1)), "frames were lost or came twice"
        own.leave()
        return traffic.sent

    print(f"{asyncio.run(main())} frames, none lost, beside {CLIENTS} clients")


class Lines:
    """Lines that a stranger says: requests of every kind, changed here and there, and any bytes."""

    def __init__(self, seed: int) -> None:
        self._chance = Random(seed)

    def line(self) -> bytes:
        chance = self._chance
        kind = chance.random()
        if kind < 0.1:
            return chance.randbytes(chance.randrange(60)).replace(b"\n", b" ")
        text = bytearray(json.dumps(self._request()).encode())
        if kind < 0.6:
            for _ in range(chance.randrange(1, 4)):
                at = chance.randrange(len(text))
                text[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(3)).replace(
                    b"\n", b""
                )
                if not text:
                    break
        return bytes(text)

    def _request(self) -> object:
        chance = self._chance
        if chance.random() < 0.05:
            return self._value()
        harmless = chance.random() < 0.7
        method = chance.choice(HARMLESS if harmless else OTHERS)
        parameters = {} if harmless else {"nothing": self._value()}
        for name in chance.sample(
            ("since", "follow", "request", "count", "filter", "snaplen"), chance.randrange(3)
        ):
            parameters[name] = self._value()
        request: dict[str, object] = {"jsonrpc": "2.0", "method": method, "params": parameters}
        if chance.random() < 0.9:
            request["id"] = chance.choice((chance.randrange(40), self._value()))
        return request

    def _value(self) -> object:
        chance = self._chance
        return chance.choice(
            (
                None,
                True,
                -1,
                1e300,
                2**70,
                "",
                "x" * 30,
                "\ud800",
                [],
                [1, [2]],
                {},
                {"a": {}},
                chance.random(),
            )
        )


def test_a_stranger_who_says_anything_costs_no_frame(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    inputs = scaled(INPUTS)

    async def say() -> int:
        """Everything, by connection after connection; the number of lines that were answered with."""
        lines, said, answered = Lines(1), 0, 0
        while said < inputs:
            client = await Raw.connect()
            reading = asyncio.create_task(_read_all(client))
            for _ in range(10):
                count = min(BATCH, inputs - said)
                client.write(b"\n".join(lines.line() for _ in range(count)) + b"\n")
                said += count
                await client.writer.drain()
            client.ask("last", "summary")
            answered += await reading
            await client.close()
        return answered

    async def main() -> tuple[int, int]:
        own = taken_name()
        async with running(traffic_lab(), tmp_path) as control, control.serving(own, METHODS):
            faults: list[object] = []
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context))
            traffic = Traffic(control.lab)
            await traffic.up()
            work = asyncio.create_task(say())
            await traffic.run(work)
            answered = await work
            assert traffic.got == list(range(1, traffic.sent + 1)), "frames were lost or came twice"
            assert control.lab["link_a"].up
            assert not faults
        own.leave()
        return answered, traffic.sent

    answered, sent = asyncio.run(main())
    assert not caplog.records
    print(f"{inputs:,} inputs, {answered:,} answers; {sent:,} frames meanwhile, none lost")


async def _read_all(client: Raw) -> int:
    """Read until the last request is answered; how many lines that takes."""
    count = 0
    with contextlib.suppress(ConnectionError):
        while True:
            line = await asyncio.wait_for(client.reader.readline(), 60)
            assert line, "the lab ended the connection"
            count += 1
            if json.loads(line).get("id") == "last":
                return count
    raise AssertionError("the lab ended the connection")

"""The control socket: who may ask, what is answered, and that a client who does not read holds up nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import stat
import tempfile
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.raw_client import Raw
from tmelink.cli import main
from tmelink.control import lab_names, server
from tmelink.control.client import Client, ControlError, NotRunning, connect
from tmelink.control.lab_names import NameLock, NameTaken
from tmelink.control.methods import Methods, RequestError, Sink
from tmelink.control.protocol import (
    BUSY,
    FAILED,
    INTERNAL_ERROR,
    INVALID_PARAMETERS,
    INVALID_REQUEST,
    PARSE_ERROR,
    UNKNOWN_METHOD,
)
from tmelink.control.server import ControlServer
from tmelink.errors import TmelinkError

METHODS = Methods()


class Subject:
    """What the test's methods act on."""

    def __init__(self) -> None:
        self.sinks: list[Sink] = []
        self.ended = 0
        self.waits = asyncio.Event()


@METHODS.request("add")
def _add(subject: Subject, *, a: int, b: float = 1.0, names: list[str] | None = None) -> object:
    return {"sum": a + b, "names": names}


@METHODS.request("wait")
async def _wait(subject: Subject) -> str:
    await subject.waits.wait()
    return "waited"


@METHODS.request("refuse")
def _refuse(subject: Subject) -> None:
    raise RequestError("not today", FAILED, {"why": "rain"})


@METHODS.request("break")
def _break(subject: Subject) -> None:
    raise ZeroDivisionError("a fault of our own")


@METHODS.request("much")
def _much(subject: Subject) -> str:
    return "x" * 1_000_000


@METHODS.stream("follow")
def _follow(subject: Subject, sink: Sink) -> Callable[[], None]:
    subject.sinks.append(sink)

    def stop() -> None:
        subject.ended += 1
        subject.sinks.remove(sink)

    return stop


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMELINK_RUNTIME_DIR", str(tmp_path / "tmelink"))


@contextlib.asynccontextmanager
async def serving(name: str = "lab") -> AsyncIterator[ControlServer[Subject]]:
    name_lock = NameLock.take(name, "lab.conf", None)
    control = ControlServer(name_lock, METHODS, Subject())
    await control.open()
    try:
        yield control
    finally:
        await control.close()
        name_lock.leave()


async def elsewhere(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call something that blocks, while the loop goes on."""
    async with asyncio.timeout(20):
        return await asyncio.to_thread(function, *arguments)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


# The socket


def test_the_directory_is_the_systems_for_root_and_the_sessions_for_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("TMELINK_RUNTIME_DIR")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert lab_names.directory() == Path("/run/user/1000/tmelink")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert lab_names.directory() == Path("/run/tmelink")


def test_the_socket_and_its_directory_are_this_users_alone(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving():
            path = lab_names.socket_path("lab")
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

    asyncio.run(main())
    assert list((tmp_path / "tmelink").iterdir()) == [], "nothing is left behind"


def test_a_directory_that_others_may_enter_is_closed_to_them(tmp_path: Path) -> None:
    (tmp_path / "tmelink").mkdir(mode=0o777)
    (tmp_path / "tmelink").chmod(0o777)
    NameLock.take("lab", "lab.conf", None).leave()
    assert stat.S_IMODE((tmp_path / "tmelink").stat().st_mode) == 0o700


@pytest.mark.needs_root
def test_a_directory_of_another_users_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tmelink").mkdir()
    os.chown(tmp_path / "tmelink", 65534, 65534)
    with pytest.raises(TmelinkError, match="belongs to another user; set XDG_RUNTIME_DIR"):
        NameLock.take("lab", "lab.conf", None)


def test_a_second_lab_of_the_name_is_refused_with_the_process_of_the_first() -> None:
    name_lock = NameLock.take("lab", "lab.conf", None)
    with pytest.raises(NameTaken, match=rf"already running \(process {os.getpid()}\)"):
        NameLock.take("lab", "other.conf", None)
    name_lock.leave()
    NameLock.take("lab", "other.conf", None).leave()


def test_what_a_killed_lab_left_behind_is_replaced(tmp_path: Path) -> None:
    async def main() -> None:
        directory = tmp_path / "tmelink"
        directory.mkdir(mode=0o700)
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(directory / "lab.sock"))
        (directory / "lab.lock").write_text(json.dumps({"name": "lab", "pid": 1, "file": "", "host": None}))
        assert lab_names.running() == []
        async with serving():
            assert [lab.pid for lab in lab_names.running()] == [os.getpid()]
            client = await elsewhere(connect, "lab")
            assert client.hello.pid == os.getpid()
            client.close()

    asyncio.run(main())


def test_what_killed_labs_left_behind_goes_when_labs_are_listed(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "tmelink"
    running = NameLock.take("lab", "lab.conf", None)
    for name in ("killed", "lab"):
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(directory / f"{name}.sock"))
    (directory / "killed.lock").write_text("{}")
    assert main(["ps"]) == 0
    assert sorted(path.name for path in directory.iterdir()) == ["lab.lock", "lab.sock"]
    assert "lab.conf" in capfd.readouterr().out
    running.leave()
    assert list(directory.iterdir()) == []


def test_labs_that_begin_and_end_while_others_clean_up_keep_what_is_theirs() -> None:
    over = threading.Event()

    def clean() -> None:
        while not over.is_set():
            lab_names.remove_ended()

    cleaners = [threading.Thread(target=clean) for _ in range(3)]
    for cleaner in cleaners:
        cleaner.start()
    try:
        for number in range(200):
            name_lock = NameLock.take("lab", str(number), None)
            name_lock.socket.write_text("")
            found = lab_names.find("lab")
            assert found is not None
            assert found.file == str(number)
            assert name_lock.socket.exists()
            if number % 2:
                name_lock.leave()
            else:
                os.close(name_lock._descriptor)  # as when it is killed
    finally:
        over.set()
        for cleaner in cleaners:
            cleaner.join()


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "x" * 65, "a b", "ä"])
def test_a_name_that_no_file_could_have_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not a valid name"):
        lab_names.valid_name(name)


@pytest.mark.parametrize(
    ("file", "host", "name"),
    [
        ("machines/lab.conf", None, "lab"),
        ("lab.conf", "one", "lab.one"),
        ("-", None, "stdin"),
        ("my lab.conf", None, "my-lab"),
        (".conf", None, "conf"),
        ("x" * 100, None, "x" * 64),
    ],
)
def test_a_lab_has_its_files_name(file: str, host: str | None, name: str) -> None:
    assert lab_names.name_of(file, host) == name
    assert lab_names.valid_name(name) == name


@pytest.mark.needs_root
def test_another_user_is_refused_even_where_the_directory_lets_him_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def main() -> None:
        # Right in the system's place for such, which everybody may enter; pytest's own folder is not.
        with tempfile.TemporaryDirectory(prefix="tm-") as folder:
            monkeypatch.setenv("TMELINK_RUNTIME_DIR", folder)
            await refused()

    async def refused() -> None:
        async with serving():
            path = lab_names.socket_path("lab")
            path.parent.chmod(0o755)
            path.chmod(0o666)

            def ask() -> bytes:
                reading, writing = os.pipe()
                child = os.fork()
                if child == 0:
                    try:
                        os.setuid(65534)
                        with socket.socket(socket.AF_UNIX) as sock:
                            sock.connect(str(path))
                            os.write(writing, sock.recv(65536))
                    finally:
                        os._exit(0)
                os.close(writing)
                os.waitpid(child, 0)
                said = os.read(reading, 65536)
                os.close(reading)
                return said

            said = json.loads(await elsewhere(ask))
            assert "only the user that runs the lab" in said["error"]["message"]

    asyncio.run(main())


# Requests


def test_a_request_is_answered_with_its_result() -> None:
    async def main() -> None:
        async with serving():
            client = await elsewhere(connect)
            assert client.hello.name == "lab"
            assert await elsewhere(lambda: client.call("add", a=1, b=2.5)) == {"sum": 3.5, "names": None}
            result = await elsewhere(lambda: client.call("add", a=1, names=["x"]))
            assert result == {"sum": 2.0, "names": ["x"]}
            client.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("method", "params", "code", "message"),
    [
        ("nonsense", {}, UNKNOWN_METHOD, "unknown method 'nonsense'; there are add, break, cancel,"),
        ("add", {}, INVALID_PARAMETERS, "add needs the parameter 'a'"),
        ("add", {"a": "1"}, INVALID_PARAMETERS, "add: a is a number"),
        ("add", {"a": True}, INVALID_PARAMETERS, "add: a is a number"),
        ("add", {"a": 1.5}, INVALID_PARAMETERS, "add: a is a number"),
        ("add", {"a": 1, "names": [1]}, INVALID_PARAMETERS, "add: names is a list of texts"),
        ("add", {"a": 1, "c": 1}, INVALID_PARAMETERS, "add has no parameter 'c'; it has a, b, names"),
        ("refuse", {}, FAILED, "not today"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(
    method: str, params: dict[str, Any], code: int, message: str
) -> None:
    async def main() -> None:
        async with serving():
            client = await elsewhere(connect)
            with pytest.raises(ControlError, match=message) as refused:
                await elsewhere(lambda: client.call(method, **params))
            assert refused.value.code == code
            client.close()

    asyncio.run(main())


def test_a_fault_of_our_own_is_told_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with serving():
            client = await elsewhere(connect)
            with pytest.raises(ControlError, match="ZeroDivisionError") as refused:
                await elsewhere(client.call, "break")
            assert refused.value.code == INTERNAL_ERROR
            assert (await elsewhere(lambda: client.call("add", a=1)))["sum"] == 2.0
            client.close()

    asyncio.run(main())
    assert "please report this" in caplog.text


def test_requests_of_one_client_run_beside_each_other_up_to_a_bound() -> None:
    async def main() -> None:
        async with serving() as control:
            raw = await Raw.connect()
            raw.ask("slow", "wait")
            raw.ask(2, "add", a=1)
            assert (await raw.read())["id"] == 2
            raw.ask("slow", "wait")
            assert (await raw.read())["error"]["code"] == INVALID_REQUEST
            for number in range(100, 100 + server.MAX_REQUESTS):
                raw.ask(number, "wait")
            assert (await raw.read())["error"]["code"] == BUSY
            control.subject.waits.set()
            ids = {(await raw.read())["id"] for _ in range(server.MAX_REQUESTS)}
            assert ids == {"slow", *range(100, 99 + server.MAX_REQUESTS)}
            await raw.close()

    asyncio.run(main())


def test_a_request_can_be_cancelled() -> None:
    async def main() -> None:
        async with serving():
            raw = await Raw.connect()
            raw.ask(1, "wait")
            raw.ask(2, "cancel", request=1)
            answers = {answer["id"]: answer for answer in (await raw.read(), await raw.read())}
            assert answers[1]["error"]["message"] == "the request was cancelled"
            assert answers[2]["result"] is None
            raw.ask(3, "cancel", request=1)
            assert (await raw.read())["error"]["message"] == "no request 1 is open"
            await raw.close()

    asyncio.run(main())


def test_lines_that_are_not_requests_are_answered_and_the_next_one_is_carried_out() -> None:
    async def main() -> None:
        async with serving():
            raw = await Raw.connect()
            raw.write(b"hello?\n")
            assert (await raw.read())["error"]["code"] == PARSE_ERROR
            raw.write(b'{"jsonrpc":"2.0","method":"add","params":{"a":1}}\n')  # wants no reply
            raw.ask(1, "add", a=1)
            assert (await raw.read())["id"] == 1
            await raw.close()

    asyncio.run(main())


def test_a_client_that_leaves_ends_what_it_asked_for() -> None:
    async def main() -> None:
        async with serving() as control:
            raw = await Raw.connect()
            raw.ask(1, "follow")
            raw.ask(2, "wait")
            await until(lambda: len(control.subject.sinks) == 1)
            await raw.close()
            await until(lambda: control.subject.ended == 1 and not control.clients)

    asyncio.run(main())


# Streams


def test_a_stream_gives_its_items_and_ends() -> None:
    async def main() -> None:
        async with serving() as control:
            client = await elsewhere(connect)
            stream = client.stream("follow")
            first = asyncio.create_task(elsewhere(next, stream))
            await until(lambda: len(control.subject.sinks) == 1)
            sink = control.subject.sinks[0]
            sink.put({"n": 1})
            sink.put({"n": 2})
            assert (await first).value == {"n": 1}
            assert (await elsewhere(next, stream)).value == {"n": 2}
            sink.end()
            assert await elsewhere(lambda: list(stream)) == []
            assert control.subject.ended == 1
            client.close()

    asyncio.run(main())


def test_a_client_that_stops_following_ends_the_stream_and_keeps_the_connection() -> None:
    async def main() -> None:
        async with serving() as control:
            client = await elsewhere(connect)
            stream = client.stream("follow")
            first = asyncio.create_task(elsewhere(next, stream))
            await until(lambda: len(control.subject.sinks) == 1)
            control.subject.sinks[0].put(1)
            await first
            await elsewhere(stream.close)
            assert control.subject.ended == 1
            assert (await elsewhere(lambda: client.call("add", a=1)))["sum"] == 2.0
            client.close()

    asyncio.run(main())


def test_a_client_that_does_not_read_loses_items_and_holds_up_nobody() -> None:
    async def main() -> None:
        async with serving() as control:
            slow, quick = await Raw.connect(), await Raw.connect()
            slow.ask(1, "follow")
            await until(lambda: len(control.subject.sinks) == 1)
            slow.writer.transport.pause_reading()  # type: ignore[attr-defined]
            sink = control.subject.sinks[0]
            item = "x" * 1000
            for _ in range(50):
                for _ in range(server.QUEUE):
                    sink.put(item)
                await asyncio.sleep(0)
            quick.ask(1, "add", a=1)
            assert (await quick.read())["result"]["sum"] == 2.0
            queued = [len(work.queue) for c in control.clients for work in c._running.values()]  # type: ignore[union-attr]
            assert max(queued) == server.QUEUE
            slow.writer.transport.resume_reading()  # type: ignore[attr-defined]
            sink.end()
            got = dropped = 0
            while "result" not in (message := await slow.read()):
                got += 1
                dropped += message["params"].get("dropped", 0)
            assert got + dropped <= 50 * server.QUEUE
            assert got < 50 * server.QUEUE
            await slow.close()
            await quick.close()

    asyncio.run(main())


def test_a_client_that_does_not_read_replies_is_not_read_either() -> None:
    """What it asks for is not even computed, so that it costs no memory beyond its buffers."""

    async def main() -> None:
        async with serving() as control:
            raw = await Raw.connect()
            raw.writer.transport.pause_reading()  # type: ignore[attr-defined]
            for number in range(20):
                raw.ask(number, "much")
                await asyncio.sleep(0.002)
            (client,) = control.clients
            assert client._transport is not None
            assert client._transport.get_write_buffer_size() < 4_000_000
            raw.writer.transport.resume_reading()  # type: ignore[attr-defined]
            assert {(await raw.read())["id"] for _ in range(20)} == set(range(20))
            await raw.close()

    asyncio.run(main())


def test_fifty_clients_at_once_are_served_and_too_many_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_CLIENTS", 50)

    async def main() -> None:
        async with serving():
            clients = [await Raw.connect() for _ in range(50)]
            for number, client in enumerate(clients):
                client.ask(number, "add", a=number)
            assert [(await c.read())["result"]["sum"] for c in clients] == [n + 1.0 for n in range(50)]
            with pytest.raises(ControlError, match="50 clients already"):
                await elsewhere(connect)
            for client in clients:
                await client.close()

    asyncio.run(main())


# Finding a lab


def test_a_lab_is_found_by_name_or_where_it_is_the_only_one() -> None:
    async def main() -> None:
        with pytest.raises(NotRunning, match="no lab is running"):
            connect()
        async with serving("one"):
            (await elsewhere(connect)).close()
            with pytest.raises(NotRunning, match="no lab named 'two' is running; there are one"):
                connect("two")
            async with serving("two"):
                with pytest.raises(NotRunning, match="say which: one, two"):
                    connect()
                client: Client = await elsewhere(connect, "two")
                assert client.hello.name == "two"
                client.close()

    asyncio.run(main())


def test_a_lab_that_does_not_answer_is_named_with_its_process() -> None:
    name_lock = NameLock.take("lab", "lab.conf", None)
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(name_lock.socket))
        mute.listen()
        with pytest.raises(ControlError, match=rf"lab 'lab' \(process {os.getpid()}\) does not answer"):
            connect("lab", timeout=0.05)
    name_lock.leave()

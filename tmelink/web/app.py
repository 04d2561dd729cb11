"""The page's requests: the lab's state as it goes on, captures, impairments, a file to apply.

Each request is one of the control socket's. The socket's client is blocking, so that requests run in threads.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from tmelink.control import ControlError, LabControl
from tmelink.control.protocol import StreamItem
from tmelink.errors import no_connection
from tmelink.web import wireshark
from tmelink.web.guard import Guard

STATIC = Path(__file__).parent / "static"

PERIOD = 1.0
"""Seconds between two updates of an open page."""

EVENTS = 200
"""The most events that a page gets at first."""

BODY_BYTES = 4 << 20
"""The most bytes of a request: a machine file, which is a hundred times shorter."""

CAPTURES = 32
"""The most captures and consoles at once; each waits in a thread for what comes."""

DOCTOR_SECONDS = 60.0
"""For all findings: some ask name servers and the network."""

_CAPTURING = ThreadPoolExecutor(CAPTURES, thread_name_prefix="capture")

_UNSAFE = re.compile(r"[^A-Za-z0-9_.+-]")


class LabPage:
    """The page of the lab to which `connect` makes a new connection, or of those on several hosts."""

    def __init__(self, connect: Callable[[], LabControl], *, write: bool) -> None:
        self._connect = connect
        self._write = write

    def routes(self) -> list[Route | Mount]:
        """Paths and what answers them."""
        return [
            Route("/", _index),
            Route("/api/live", self.live),
            Route("/api/capture", self.capture),
            Route("/api/file", self.file),
            Route("/api/doctor", self.doctor),
            Route("/api/console", self.console),
            Route("/api/console", self.type, methods=["POST"]),
            Route("/api/wireshark", self.wireshark, methods=["POST"]),
            Route("/api/impair", self.impair, methods=["POST"]),
            Route("/api/apply", self.apply, methods=["POST"]),
            Mount("/static", StaticFiles(directory=STATIC)),
        ]

    async def live(self, request: Request) -> Response:
        """The lab's state every second, and what happened, as server-sent events."""
        return StreamingResponse(self._live(), media_type="text/event-stream")

    def _live(self) -> Iterator[str]:
        while True:
            try:
                with self._connect() as lab:
                    here = lab.lab.pid != 0
                    can = {"write": self._write, "wireshark": here and self._write and wireshark.can_open()}
                    yield _event("hello", {"name": lab.lab.name, "here": here, **can})
                    yield from self._follow(lab)
            except ControlError as error:
                yield _event("gone", {"message": str(error)})
            time.sleep(PERIOD)

    def _follow(self, lab: LabControl) -> Iterator[str]:
        since, first = 0.0, True
        while True:
            status = lab.call("status")
            status["impairments"] = lab.call("impairments")
            status["consoles"] = lab.call("consoles") if self._write else []
            status["time"] = time.time()
            yield _event("status", status)
            events = [item.value for item in lab.stream("events", since=since, follow=False)]
            for each in events[-EVENTS:] if first else events:
                yield _event("happened", each)
            if events:
                # Later than the last by less than the clock tells apart: it is not to come again.
                since, first = events[-1]["time"] + 1e-6, False
            time.sleep(PERIOD)

    async def capture(self, request: Request) -> Response:
        """Frames of a connection as a pcapng file, until there are `count` or the browser has enough."""
        asked = request.query_params
        name = asked.get("connection", "")
        parameters = {
            "connections": [name] if name else [],
            "filter": asked.get("filter", ""),
            "count": int(asked.get("count", "0")) if asked.get("count", "0").isdecimal() else 0,
        }
        try:
            lab = await run_in_threadpool(self._connect)
        except ControlError as error:
            return _failed(error)
        items = lab.stream("capture", **parameters)
        try:
            first = await run_in_threadpool(next, items)
        except ControlError as error:
            lab.close()
            return _failed(error)
        file = f"{_UNSAFE.sub('-', name or lab.lab.name)}.pcapng"
        return StreamingResponse(
            _blocks(lab, first, items),
            media_type="application/x-pcapng",
            headers={"Content-Disposition": f'attachment; filename="{file}"'},
        )

    async def doctor(self, request: Request) -> Response:
        """Why nothing flows: `tmelink doctor`'s findings."""
        return await self._answer(lambda lab: lab.call("doctor", wait=DOCTOR_SECONDS))

    async def console(self, request: Request) -> Response:
        """What an emulator writes on its console, in base64, as server-sent events; only with `write`."""
        if not self._write:
            return JSONResponse({"message": "consoles are for 'tmelink web --write'"}, HTTPStatus.FORBIDDEN)
        try:
            lab = await run_in_threadpool(self._connect)
        except ControlError as error:
            return _failed(error)
        items = lab.stream("console", element=request.query_params.get("element", ""))
        return StreamingResponse(_written(lab, items), media_type="text/event-stream")

    async def type(self, request: Request) -> Response:
        """Type a `text` at the console of an `element`."""
        asked = await _json(request)
        return await self._answer(lambda lab: lab.call("type", **_only(asked, "element", "text")))

    async def wireshark(self, request: Request) -> Response:
        """Open Wireshark on this computer's screen, with a capture of a `connection` that goes on."""
        asked = await _json(request)

        def opened(lab: LabControl) -> dict[str, str]:
            names = [row["name"] for row in lab.call("connections")]
            wanted = str(asked.get("connection", ""))
            name = _shown(names, wanted)
            if name is None:
                raise ControlError(no_connection(wanted))
            wireshark.open_for(lab.lab.name, name)
            return {"connection": name}

        return await self._answer(opened)

    async def file(self, request: Request) -> Response:
        """The lab's file as it was read last."""
        return await self._answer(lambda lab: lab.call("source"))

    async def impair(self, request: Request) -> Response:
        """Change what happens to the frames of a connection: `element`, `other` and the `words`."""
        asked = await _json(request)
        return await self._answer(lambda lab: lab.call("impair", **_only(asked, "element", "other", "words")))

    async def apply(self, request: Request) -> Response:
        """What a `text` would change, with `dry_run`; without, change it."""
        asked = await _json(request)
        return await self._answer(lambda lab: lab.call("apply", wait=None, **_only(asked, "text", "dry_run")))

    async def _answer(self, ask: Callable[[LabControl], Any]) -> Response:
        def asked() -> Any:
            with self._connect() as lab:
                return ask(lab)

        try:
            return JSONResponse(await run_in_threadpool(asked))
        except ControlError as error:
            return _failed(error)


def application(
    connect: Callable[[], LabControl], *, write: bool, token: str | None, certified: bool = False
) -> Guard:
    """The page as an ASGI application; `certified` says that TLS lets only those with a certificate ask."""
    routes = LabPage(connect, write=write).routes()
    return Guard(Starlette(routes=routes), token=token, write=write, certified=certified)


def _shown(names: list[str], asked: str) -> str | None:
    """A connection as `capture` names it, asked for from either end."""
    one, _, other = asked.partition(":")
    return next((name for name in names if name in (asked, f"{other}:{one}")), None)


async def _written(lab: LabControl, items: Iterator[StreamItem]) -> AsyncIterator[str]:
    """What is written on a console, until the browser or the lab has gone."""
    loop = asyncio.get_running_loop()
    try:
        while (item := await loop.run_in_executor(_CAPTURING, next, items, None)) is not None:
            yield _event("output", item.value["output"])
    except ControlError as error:
        yield _event("gone", {"message": str(error)})
    finally:
        lab.interrupt()


async def _blocks(lab: LabControl, first: StreamItem, items: Iterator[StreamItem]) -> AsyncIterator[bytes]:
    """The blocks of a capture; a browser that has enough ends the capture, also while nothing comes."""
    loop = asyncio.get_running_loop()
    try:
        yield base64.b64decode(first.value["pcapng"])
        while (item := await loop.run_in_executor(_CAPTURING, next, items, None)) is not None:
            yield base64.b64decode(item.value["pcapng"])
    except ControlError:
        return  # the lab has ended, and with it the file
    finally:
        lab.interrupt()


async def _index(request: Request) -> Response:
    return FileResponse(STATIC / "index.html")


async def _json(request: Request) -> dict[str, Any]:
    """The object that a request brings; empty if it is not one."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > BODY_BYTES:
            return {}
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _only(asked: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: asked[name] for name in names if name in asked}


def _event(kind: str, value: Any) -> str:
    return f"event: {kind}\ndata: {json.dumps(value)}\n\n"


def _failed(error: ControlError) -> Response:
    return JSONResponse({"message": str(error), "data": error.data}, HTTPStatus.BAD_REQUEST)

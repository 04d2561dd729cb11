"""Methods that look at a lab and change nothing: `summary`, `status`, `events`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from importlib.metadata import version

from tmelink.control.control import Control
from tmelink.control.data import as_data
from tmelink.control.methods import Methods, Sink
from tmelink.control.protocol import Json
from tmelink.control.rates import ELEMENTS_A_TURN, Key
from tmelink.element import Element, Port
from tmelink.frame import Counters
from tmelink.inline.filters import filter_of
from tmelink.state import Event

METHODS = Methods()


@METHODS.request("summary")
def summary(control: Control) -> Json:
    """A summary of the lab: name, file, host, process, start time, and how many elements are up."""
    elements = control.lab.machine.elements.values()
    return {
        "name": control.name,
        "file": control.file,
        "host": control.host,
        "pid": os.getpid(),
        "version": version("tmelink"),
        "since": control.since,
        "up": sum(element.up for element in elements),
        "total": len(elements),
    }


@METHODS.request("elements")
def elements(control: Control) -> list[Json]:
    """Name, module and state of each element, in the order of the file."""
    machine = control.lab.machine
    return [
        {"name": each.name, "module": machine.modules.get(path, ""), "state": each.state.condition}
        for path, each in machine.elements.items()
    ]


@METHODS.request("status")
async def status(control: Control, *, element: str | None = None) -> Json:
    """The summary, and for each element, or for one: its state, details, counters and connections.

    Rates cover the last few seconds. Each element counts its drops by reason. If you ask for one element
    alone, it also measures what takes a moment, such as a link's round trip.
    """
    machine = control.lab.machine
    if element is not None:
        await control.lab[element].measure()
    chosen = machine.elements if element is None else _one(control, element)
    now = asyncio.get_running_loop().time()
    rows = []
    connections = []
    for number, (path, each) in enumerate(list(chosen.items()), 1):
        rows.append(_element(control, path, each, now))
        connections += [
            _connection(control, port, now)
            for port in each.ports
            if port.peer is not None and (element is not None or _first(port))
        ]
        if number % ELEMENTS_A_TURN == 0:
            await asyncio.sleep(0)
    return {**summary(control), "elements": rows, "connections": connections}


@METHODS.request("source")
def source(control: Control) -> Json:
    """The name of the lab's file, and its text when the lab last read it."""
    text = control.lab.machine.source
    return {"file": text.name, "text": text.text}


@METHODS.stream("events")
def events(
    control: Control, sink: Sink, *, since: float | None = None, follow: bool = True
) -> Callable[[], None]:
    """Past events since a time (seconds since the epoch), oldest first, and then new events.

    Without `follow`, the stream ends after the past events.
    """
    for event in control.events.since(since):
        sink.put(_event(event))
    if not follow:
        sink.end()
        return lambda: None
    return control.events.follow(lambda event: sink.put(_event(event)))


def _one(control: Control, name: str) -> dict[str, Element]:
    found = control.lab[name]
    return {path: each for path, each in control.lab.machine.elements.items() if each is found}


def _element(control: Control, path: str, element: Element, now: float) -> Json:
    description = element.describe()
    return {
        "name": element.name,
        "module": control.lab.machine.modules.get(path, ""),
        "state": description.state.condition,
        "since": description.state.since,
        "reason": description.state.reason,
        "summary": description.details.summary if description.details is not None else "",
        "details": as_data(description.details),
        "counters": {
            name: _counters(control, (element.name, name), counters, now)
            for name, counters in element.counters().items()
        },
    }


def _first(port: Port) -> bool:
    """Whether a connection is listed at this of its two ports."""
    assert port.peer is not None
    return port is port.peer or id(port) < id(port.peer)


def _connection(control: Control, port: Port, now: float) -> Json:
    peer = port.peer
    assert peer is not None
    here, there = port.element.name, peer.element.name
    return {
        "from": here,
        "to": there,
        "sent": _counters(control, (here, port.index), port.sent, now),
        "received": _counters(control, (there, peer.index), peer.sent, now),
        "filters": {
            direction: " ".join(stage.selection.words)
            for direction, end in (("out", port), ("in", peer))
            if (stage := filter_of(end)) is not None
        },
    }


def _counters(control: Control, key: Key, counters: Counters, now: float) -> Json:
    rate = control.rates.rate(key, counters, now)
    return {
        "frames": counters.frames,
        "bytes": counters.bytes,
        "drops": {reason: count for reason, count in counters.drops.items() if count},
        "frames_per_second": None if rate is None else round(rate.frames, 1),
        "bits_per_second": None if rate is None else round(rate.bits),
    }


def _event(event: Event) -> Json:
    data: Json = as_data(event)
    return data

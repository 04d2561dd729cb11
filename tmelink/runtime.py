"""A machine while it runs: open its elements, supervise them, close them in reverse.

Knows elements only through `tmelink.element`, but for the card that an embedder takes hold of; knows nothing
of files, arguments and output. `Lab` is what an embedder holds; the command line's `run` is one of its users.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Literal

from tmelink.difference import Difference
from tmelink.element import Element, Port, connect, disconnect
from tmelink.elements.builtin.nic import Nic
from tmelink.errors import (
    ClosedError,
    ElementError,
    Interrupted,
    TmelinkError,
    UnsupportedHere,
    no_connection,
    shortage,
)
from tmelink.frame import Counters
from tmelink.inline import chain
from tmelink.inline.capture import SNAPLEN, CaptureOptions
from tmelink.inline.capture_file import CaptureFile
from tmelink.inline.filters import FilterRequest, set_filter
from tmelink.inline.impairment import impair
from tmelink.inline.netem_words import Impairment, WordError
from tmelink.inline.netem_words import request as impairment_request
from tmelink.logs import set_level
from tmelink.machine import CheckedMachine, ConnectionImpairment, ElementCommand
from tmelink.state import Event, State
from tmelink.state_log import StateLog
from tmelink.system import namespaces, recovery, remains

RESTORE_SECONDS = 5.0
"""What each element has for undoing what it has changed on the host, which takes a few milliseconds: more
than that only where another process holds the journals or a script hangs. It comes before all other
closing."""

CLOSE_SECONDS = 1.5
"""Seconds that all elements together have for closing, so that a signal is answered within 2 s."""

CANCEL_SECONDS = 1.0
"""How long a task that is cancelled is waited for: one that does not hear it must not keep the rest."""

log = logging.getLogger("tmelink.run")


class Lab(Mapping[str, Element]):
    """The running elements of a machine, by path: `lab["le0"]`, `lab["/a/le0"]`.

    Use as `async with machine.run() as lab`. With `keep_going` an element that fails to open is reported
    (`failures`) and the rest runs; without, `report` is called with its `ElementError`, everything is closed
    again, and the error is raised.
    """

    def __init__(
        self,
        machine: CheckedMachine,
        *,
        keep_going: bool = False,
        output: Callable[[str], None] | None = None,
        report: Callable[[Exception], None] | None = None,
    ) -> None:
        self.machine = machine
        self.failures: dict[str, Exception] = {}
        self.missing: dict[str, str] = {}
        self.left: list[str] = []
        """What could not be undone on the host, in words; known once it is closed."""
        self.reported: Exception | None = None
        """What `report` was called with."""
        self._keep_going = keep_going
        self._output = output or (lambda text: None)
        self._watchers: list[Callable[[Event], None]] = []
        self._report = report or (lambda error: None)
        self._opened: list[Element] = []
        self._states: dict[str, StateLog] = {}
        self._stopped = asyncio.Event()
        self._hurried = asyncio.Event()
        self.restored = asyncio.Event()
        """Set once the host is as it was: what remains to be closed goes with the process."""
        self._state = "new"

    def __getitem__(self, path: str) -> Element:
        return self.machine.find(path)

    def __iter__(self) -> Iterator[str]:
        return iter(self.machine.elements)

    def __len__(self) -> int:
        return len(self.machine.elements)

    def nic(self, path: str) -> Nic:
        """The network card at `path`; `ElementError` for any other element."""
        element = self[path]
        if not isinstance(element, Nic):
            raise ElementError(f"{path} is not a network card that a program can use")
        return element

    def connect(self, path: str, other: str) -> None:
        """Plug one element into another while they run, as `PATH at OTHER` in the file would.

        Raises `PortError` if one of them takes no (further) connection.
        """
        self._check_open()
        first, second = self[path], self[other]
        a = _free_port(first)
        b = a if first is second else _free_port(second)
        connect(a, b)
        self.machine.connections.append((a, b))
        self._announce_connections(a, b)

    def disconnect(self, path: str, other: str | None = None) -> None:
        """Remove every connection of an element, or those to one other; harmless where there is none."""
        self._check_open()
        element = self[path]
        beyond = None if other is None else self[other]
        for port in element.ports:
            peer = port.peer
            if peer is not None and beyond in (None, peer.element):
                chain.clear(port)
                chain.clear(peer)
                disconnect(port)
                connections = self.machine.connections
                connections[:] = [pair for pair in connections if port not in pair]
                self._announce_connections(port, peer)

    async def reconcile(self, difference: Difference) -> dict[str, Exception]:
        """Become the difference's machine; everything that the difference does not name keeps running.

        Returns what failed, by name of the element: the rest is done all the same.
        """
        self._check_open()
        gone = set(difference.gone)
        left = {port for pair in difference.ended for port in pair if port.element not in gone}
        impairments = self.machine.impairments
        for port, peer in difference.ended:
            chain.clear(port)
            chain.clear(peer)
            disconnect(port)
        self._announce_connections(*left)
        for element in reversed(difference.gone):
            self._opened.remove(element)
            await self._close_one(element)
            self.failures.pop(element.name, None)
            self.missing.pop(element.name, None)
        self.machine = difference.machine
        refused = _renew(difference)
        self._set_levels()
        joined = difference.join()
        self._renew_impairments(impairments, joined)
        self._renew_filters()
        failed_before = set(self.failures)
        self._keep_going, keep_going = True, self._keep_going
        try:
            await asyncio.gather(*map(self._open_one, difference.new))
        finally:
            self._keep_going = keep_going
        self._announce_connections(*(port for port in joined if port.element not in difference.new))
        for command in self.machine.commands:
            opened = command.element in difference.new and command.element.name not in self.failures
            if opened and command.level is None:
                await self._command(command)
        failed = {name: error for name, error in self.failures.items() if name not in failed_before}
        return refused | failed

    def impair(self, path: str, other: str, words: Sequence[str]) -> dict[str, Impairment]:
        """Change what happens to the frames of a connection, in tc-netem's words (docs/impairment.md).

        What holds afterwards, by direction: "out" is what `path` sends, "in" what it receives. All that the
        words do not name stays. Raises `ElementError` for wrong words and where there is no connection.
        """
        self._check_open()
        ports = self.ports_between(path, other)
        try:
            request = impairment_request(list(words))
            holds = [impair(port, request) for port in ports]
        except ValueError as error:
            hint = f"; {error.hint}" if isinstance(error, WordError) and error.hint else ""
            raise ElementError(f"{error}{hint}") from error
        return holds[0]

    def capture(
        self,
        *connections: str,
        file: Path | str | BinaryIO | None = None,
        filter: str = "",
        direction: Literal["in", "out", "both"] = "both",
        snaplen: int = SNAPLEN,
        count: int = 0,
        super_frames: bool = False,
        call: Callable[[Callable[[], None]], None] = lambda function: function(),
    ) -> CaptureFile:
        """Capture connections from now on, as pcapng: `with lab.capture("le0", file="le0.pcapng")`.

        A connection is `le0:link0`, or the name of an element for all of its connections; without any, all of
        the lab are captured. Without a `file` the capture stays in memory (`pcapng()`). `filter` is a
        pcap-filter(7) expression; `direction` is seen from the first element; `snaplen` bytes are kept of a
        frame; after `count` frames it captures no more. Raises `ElementError` for a wrong name or filter.
        """
        self._check_open()
        try:
            ports = self.ports_of(connections)
            return CaptureFile(
                ports, CaptureOptions(filter, direction, snaplen, super_frames, count), file, call=call
            )
        except ValueError as error:
            raise ElementError(str(error)) from error

    def ports_of(self, names: Sequence[str]) -> list[Port]:
        """The ports that connections are seen from, named as for `capture`; `ValueError` for another name."""
        if not names:
            return [a for a, _ in self.machine.connections]
        found: list[Port] = []
        for name in names:
            element, _, other = name.partition(":")
            ports = [port for port in self[element].ports if port.peer is not None]
            if other:
                beyond = self[other]
                ports = [port for port in ports if port.peer is not None and port.peer.element is beyond]
            if not ports:
                raise ValueError(no_connection(name))
            found += [port for port in ports if port not in found]
        return found

    def ports_between(self, path: str, other: str) -> list[Port]:
        """The ports of one element that are connected to another; `ElementError` if there is none."""
        first, second = self[path], self[other]
        found = [port for port in first.ports if port.peer is not None and port.peer.element is second]
        if not found:
            raise ElementError(f"{first.name} and {second.name} are not connected")
        return found

    def _impair(self, impairments: Iterable[ConnectionImpairment]) -> None:
        for each in impairments:
            for port in self.ports_between(each.element, each.other):
                impair(port, each.request)

    def _renew_impairments(self, before: Sequence[ConnectionImpairment], joined: Sequence[Port]) -> None:
        """Impair new connections, and those of which the file says something else than it did."""
        old, new = _by_pair(before), _by_pair(self.machine.impairments)
        changed = {pair for pair in (*old, *new) if old.get(pair) != new.get(pair)}
        changed |= {_pair(port.element.name, port.peer.element.name) for port in joined if port.peer}
        for a, b in self.machine.connections:
            if _pair(a.element.name, b.element.name) in changed:
                chain.clear(a)
                chain.clear(b)
        for pair in changed:
            self._impair(new.get(pair, ()))

    def _renew_filters(self) -> None:
        """Filter every connection as the file says now."""
        held: dict[Port, FilterRequest] = {}
        for each in self.machine.filters:
            for port in self.ports_between(each.element, each.other):
                assert port.peer is not None, "it is connected"
                for direction, end in (("out", port), ("in", port.peer)):
                    if each.request.direction in (direction, "both"):
                        held[end] = each.request
        for pair in self.machine.connections:
            for end in pair:
                set_filter(end, held[end].words if end in held else ())

    def _announce_connections(self, *ports: Port) -> None:
        for port in dict.fromkeys(ports):
            port.element.carrier(port)

    def _check_open(self) -> None:
        if self._state == "closed":
            raise ClosedError("the lab is closed")

    async def __aenter__(self) -> Lab:
        if self._state != "new":
            raise ClosedError("this lab has already run: load the machine again to run it again")
        self._state = "running"
        bringing_up = asyncio.create_task(self._bring_up())
        stopped = asyncio.create_task(self._stopped.wait())
        try:
            # A signal is answered at once, even while an element waits for something that may never come.
            await asyncio.wait((bringing_up, stopped), return_when=asyncio.FIRST_COMPLETED)
            if bringing_up.done():
                bringing_up.result()
        except BaseException as error:
            if isinstance(error, Exception):
                # Before the closing, which may take its time.
                self._report(error)
                self.reported = error
            await _cancel(bringing_up)
            await self.close()
            raise
        finally:
            await _cancel(bringing_up, stopped)
        # What was built for the run stays for the run: the collector need not look at it again and again
        # while frames pass.
        gc.collect()
        gc.freeze()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _bring_up(self) -> None:
        await namespaces.run(recovery.recover)
        self._set_levels()
        self._impair(self.machine.impairments)
        self._renew_filters()
        # All at once, since one may wait for what another creates (a packet tap on a TAP's interface).
        tasks = [asyncio.create_task(self._open_one(e)) for e in self.machine.elements.values()]
        try:
            if tasks:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            failed = [task for task in tasks if task.done() and task.exception() is not None]
            if failed:
                failed[0].result()
        finally:
            await _cancel(*tasks)
        for command in self.machine.commands:
            if command.level is None and command.element.name not in self.failures:
                await self._command(command)

    def _set_levels(self) -> None:
        """Set each element's log level from the file, which takes precedence over the element's arguments."""
        for element in self.machine.elements.values():
            set_level(element.name, element.log_level)
        for command in self.machine.commands:
            if command.level is not None:
                set_level(command.element.name, command.level)

    async def _open_one(self, element: Element) -> None:
        element.status = self
        self._opened.append(element)
        element.state = State("opening", time.time())
        try:
            if element.platforms and sys.platform not in element.platforms:
                raise UnsupportedHere(
                    f"works only on {', '.join(element.platforms)}, and this is {sys.platform}"
                )
            await element.open()
            if element.state.condition == "opening":
                reason = self.missing.get(element.name, "")
                element.state = State("up" if element.up else "down", time.time(), reason)
        except (ElementError, OSError) as error:
            why = shortage(error) or str(error)
            self.failures[element.name] = error
            element.state = State("failed", time.time(), why)
            self._note("failed", element.name, why)
            if not self._keep_going:
                raise ElementError(f"{element.name}: {why}") from error
            element.log.error("%s", why)

    async def _command(self, command: ElementCommand) -> None:
        try:
            text = await command.element.command([str(word) for word in command.words])
        except Interrupted as interrupted:
            self._output(str(interrupted))
            raise asyncio.CancelledError from None
        except TmelinkError as error:
            raise ElementError(f"{command.place}: {error}") from error
        if text:
            self._output(text)

    def failed(self, element: Element, error: Exception) -> None:
        """An element has stopped working; the others continue while any of them has something to do."""
        element.log.error("%s", error)
        self.failures[element.name] = error
        self._note("failed", element.name, str(error))
        if all(self._idle(opened) for opened in self._opened):
            self.stop()

    def _idle(self, element: Element) -> bool:
        """Whether an element has failed, or all that it serves has."""
        if element.name in self.failures:
            return True
        others = [port.peer.element.name for port in element.ports if port.peer is not None]
        return element.serves_others and bool(others) and self.failures.keys() >= set(others)

    def incomplete(self, element: Element, missing: str) -> None:
        """An element works without something that it was asked for; the log has said so."""
        before = self.missing.get(element.name)
        missing = missing if before is None or before == missing else f"{before}; {missing}"
        self.missing[element.name] = missing
        element.state = replace(element.state, reason=missing)
        self._note("incomplete", element.name, missing)

    def changed(self, element: Element, up: bool, detail: str) -> None:
        """What an element leads to came up or went down."""
        log = self._states.get(element.name)
        if log is None:
            log = self._states[element.name] = StateLog(element.log)
            if self._state == "closed":
                log.close()  # so that it keeps nothing
        log.changed(up, detail)
        self._note("up" if up else "down", element.name, detail)

    def happened(self, element: Element, kind: str, detail: str, data: Mapping[str, Any]) -> None:
        """Something else happened to an element."""
        self._note(kind, element.name, detail, data)

    def watch(self, watcher: Callable[[Event], None]) -> Callable[[], None]:
        """Call `watcher` with each event from now on; call the returned function to stop."""
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    def _note(self, kind: str, element: str, detail: str, data: Mapping[str, Any] | None = None) -> None:
        if self._watchers:
            event = Event(time.time(), kind, element, detail, data or {})
            for watcher in list(self._watchers):
                watcher(event)

    def stop(self) -> None:
        """Let `wait` return."""
        self._stopped.set()

    async def wait(self) -> None:
        """Run until `stop`, or until every element has failed."""
        await self._stopped.wait()

    def hurry(self) -> None:
        """Close without waiting for what ends with the process anyway; still restore the host."""
        self._hurried.set()

    async def close(self) -> None:
        """Restore the host, then close every element in reverse order; a second call does nothing.

        The first takes as long as it needs, up to `RESTORE_SECONDS` an element; the second has
        `CLOSE_SECONDS` and may be cut short by `hurry`. What is left on the host stands in `left`, and in
        the log.
        """
        if self._state == "closed":
            return
        self._state = "closed"
        for states in self._states.values():
            states.close()
        order = {element.name: number for number, element in enumerate(self.machine.elements.values())}
        opened = sorted(self._opened, key=lambda element: order[element.name], reverse=True)
        self._opened.clear()
        for a, b in self.machine.connections:
            chain.clear(a)
            chain.clear(b)
        for element in opened:
            await self._restore_one(element)
        self.restored.set()
        closing = asyncio.create_task(self._close_all(opened))
        hurried = asyncio.create_task(self._hurried.wait())
        await asyncio.wait((closing, hurried), timeout=CLOSE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        if not closing.done() and not hurried.done():
            log.error("closing took longer than %s s; the rest was left to the system", CLOSE_SECONDS)
        await _cancel(closing, hurried)
        # What those that were cut short have not removed themselves.
        self._leave(await namespaces.run(remains.remove_all))
        gc.unfreeze()

    async def _restore_one(self, element: Element) -> None:
        task = asyncio.create_task(element.restore())
        done, _ = await asyncio.wait((task,), timeout=RESTORE_SECONDS)
        if not done:
            await _cancel(task)
            self._leave([f"{element.name}: what it has changed could not be undone in {RESTORE_SECONDS:g} s"])
        elif not task.cancelled() and (error := task.exception()) is not None:
            self._leave([f"{element.name}: {error}"])

    def _leave(self, what: list[str]) -> None:
        """Report what remains on the host, and what will remove it."""
        self.left += what
        for text in what:
            log.error("left on this computer: %s; the next run here undoes it", text)

    async def _close_all(self, elements: list[Element]) -> None:
        await asyncio.gather(*(self._close_one(element) for element in elements if element.program))
        for element in elements:
            if not element.program:
                await self._close_one(element)

    async def _close_one(self, element: Element) -> None:
        try:
            await element.close()
        except Exception as error:  # one element's failure never stops another's closing
            element.log.error("did not close cleanly: %s", error, exc_info=log.isEnabledFor(logging.DEBUG))

    def traffic(self) -> Iterator[tuple[str, Counters]]:
        """A name and the counters for each direction of each connection, then for what elements count."""
        seen: set[Port] = set()
        for element in self.machine.elements.values():
            for port in element.ports:
                if port in seen or port.peer is None:
                    continue
                seen.update((port, port.peer))
                here, there = element.name, port.peer.element.name
                yield f"{here} -> {there}", port.sent
                if port.peer is not port:
                    yield f"{there} -> {here}", port.peer.sent
        for element in self.machine.elements.values():
            for name, counters in element.counters().items():
                yield f"{element.name} {name}", counters


def _renew(difference: Difference) -> dict[str, Exception]:
    """Give elements that stay their other arguments; those that refuse, which keep what they had."""
    refused: dict[str, Exception] = {}
    for element, arguments in difference.renewed:
        try:
            element.renew(arguments)
        except ElementError as error:
            refused[element.name] = error
    return refused


def _pair(name: str, other: str) -> frozenset[str]:
    return frozenset((name, other))


def _by_pair(
    impairments: Iterable[ConnectionImpairment],
) -> dict[frozenset[str], list[ConnectionImpairment]]:
    """Impairments by the elements whose connections they are about."""
    found: dict[frozenset[str], list[ConnectionImpairment]] = {}
    for each in impairments:
        found.setdefault(_pair(each.element, each.other), []).append(each)
    return found


def _free_port(element: Element) -> Port:
    """A port that an earlier connection has left, or a new one."""
    return next((port for port in element.ports if port.peer is None), None) or element.port()


async def _cancel(*tasks: asyncio.Task[None] | asyncio.Task[Literal[True]]) -> None:
    """Cancel the tasks that still run, and wait for them, except for one that ignores it."""
    if not tasks:
        return
    for task in tasks:
        task.cancel()
    _, deaf = await asyncio.wait(tasks, timeout=CANCEL_SECONDS)
    for task in deaf:
        log.debug("does not end: %r", task)

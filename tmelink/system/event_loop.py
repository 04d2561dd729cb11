"""The event loop of a program that carries frames: asyncio's own, with a shorter path from epoll to a reader.

asyncio wraps a reader in a handle and queues it until epoll has returned: some twenty calls, which a lone
frame pays for at each of its four wake-ups. Here `add_reader` gives the callback to the selector, which calls
it as soon as epoll names the descriptor, and keeps waiting while there is nothing else to do. Everything else
is asyncio's, and code written for it works with any other loop too. docs/performance.md shows what this
gains.
"""

from __future__ import annotations

import asyncio
import functools
import select
import selectors
import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextvars import Context
from typing import Any, TypeVar, TypeVarTuple, Unpack

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

EVENTS = 64
"""The most descriptors that one epoll call names; those left out come first in the next."""

SHORT_SECONDS = 0.005
"""Waits up to this length are kept to the microsecond: epoll alone would round them up to milliseconds."""

MOST_SELECTED = 1024
"""select(2) takes descriptors below this one (FD_SETSIZE)."""

BUSY_SECONDS = 100e-6
"""How long is polled where it is to be found out whether that pays."""

FRUITLESS = 8
"""Polls in a row that found nothing, after which it does not pay."""

TRY_AGAIN = 64
"""Wake-ups until it is tried again."""

TURNS = 1000
"""epoll calls after which `select` returns in any case, for what asyncio does only between its turns."""


END_SECONDS = 1.0
"""What tasks have for their ends once the program is over; one that takes longer is left behind."""


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` in the quickest loop, which waits for nobody at the end that does not end.

    asyncio's own waits without limit for tasks that do not hear that they are cancelled, and for threads such
    as one that looks up a name which no server answers.
    """
    loop = new_event_loop()
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(main)
    finally:
        try:
            if tasks := asyncio.all_tasks(loop):
                for task in tasks:
                    task.cancel()
                loop.run_until_complete(asyncio.wait(tasks, timeout=END_SECONDS))
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            asyncio.set_event_loop(None)
            loop.close()


def new_event_loop() -> asyncio.AbstractEventLoop:
    """The fastest event loop on this system."""
    return DirectLoop() if sys.platform == "linux" else asyncio.new_event_loop()


class DirectSelector(selectors.BaseSelector):
    """epoll(7) for an event loop, and readers that are called from within `select`.

    `report` is given what a reader raises, so that it ends nobody else's turn. Whoever gives the event loop
    something else to do while `select` runs calls `return_soon`.
    """

    def __init__(self, report: Callable[[Callable[[], object], Exception], None]) -> None:
        self._report = report
        self._epoll = select.epoll()
        self._precise = self._epoll.fileno() < MOST_SELECTED
        self._keys: dict[int, selectors.SelectorKey] = {}
        self._readers: dict[int, Callable[[], object]] = {}
        self._waits = False
        self.busy: float | None = 0.0
        """Seconds of polling after a reader was called, before `select` sleeps; None as long as it pays."""
        self._fruitless = 0
        self._skipped = 0

    def return_soon(self) -> None:
        """Let `select` return once the readers that are ready have been called."""
        self._waits = False

    def add_reader(self, descriptor: int, callback: Callable[[], object]) -> None:
        """Call back whenever there is something to read; replaces an earlier reader."""
        before = self._mask(descriptor)
        self._readers[descriptor] = callback
        self._set_mask(descriptor, before)

    def remove_reader(self, descriptor: int) -> bool:
        """Remove the reader; returns whether there was one."""
        before = self._mask(descriptor)
        if self._readers.pop(descriptor, None) is None:
            return False
        self._set_mask(descriptor, before)
        return True

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Call readers until something else is ready or asked for; return what, and what it is ready for.

        `timeout` in seconds, as of `selectors.BaseSelector`.
        """
        until = 0.0 if timeout is None else time.monotonic() + timeout
        wait = -1.0 if timeout is None else max(timeout, 0.0)
        self._waits = wait != 0
        poll, readers = self._epoll.poll, self._readers
        called = False
        for _ in range(TURNS):
            if called and self.busy != 0 and (found := self._poll_busily(wait)):
                pass
            elif 0 < wait < SHORT_SECONDS and self._precise:
                select.select((self._epoll,), (), (), wait)
                found = poll(0.0, EVENTS)
            else:
                found = poll(wait, EVENTS)
            if not found:
                break
            ready = []
            for descriptor, event in found:
                # Errors and hang-ups concern both readers and writers.
                if event & ~select.EPOLLOUT and (reader := readers.get(descriptor)) is not None:
                    called = True
                    try:
                        reader()
                    except Exception as error:
                        self._report(reader, error)
                if descriptor in self._keys:
                    ready.append((descriptor, event))
            if ready:
                return list(self._ready_keys(ready))
            if not self._waits:
                break
            if timeout is not None and (wait := until - time.monotonic()) <= 0:
                break
        return []

    def _poll_busily(self, wait: float) -> list[tuple[int, int]]:
        """What becomes ready within a moment after traffic, without sleeping until then."""
        seconds = self.busy
        if seconds is None:
            seconds = BUSY_SECONDS
            if self._fruitless >= FRUITLESS:
                self._skipped += 1
                if self._skipped % TRY_AGAIN:
                    return []
        poll, clock = self._epoll.poll, time.monotonic
        until = clock() + (seconds if wait < 0 else min(seconds, wait))
        while not (found := poll(0.0, EVENTS)) and clock() < until:
            pass
        self._fruitless = 0 if found else self._fruitless + 1
        return found

    def _ready_keys(self, ready: Iterable[tuple[int, int]]) -> Iterator[tuple[selectors.SelectorKey, int]]:
        for descriptor, event in ready:
            # A reader of the same turn may have made an end of it.
            if (key := self._keys.get(descriptor)) is not None:
                events = selectors.EVENT_WRITE if event & ~select.EPOLLIN else 0
                events |= selectors.EVENT_READ if event & ~select.EPOLLOUT else 0
                if events & key.events:
                    yield key, events & key.events

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """As of `selectors.BaseSelector`; raises `KeyError` for what is registered."""
        descriptor = _descriptor(fileobj)
        if descriptor in self._keys:
            raise KeyError(f"{fileobj!r} is already registered")
        before = self._mask(descriptor)
        key = self._keys[descriptor] = selectors.SelectorKey(fileobj, descriptor, events, data)
        self._set_mask(descriptor, before)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """As of `selectors.BaseSelector`; raises `KeyError` for what is not registered."""
        descriptor = _descriptor(fileobj)
        before = self._mask(descriptor)
        key = self._keys.pop(descriptor)
        self._set_mask(descriptor, before)
        return key

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """What is registered, by descriptor or file object; readers are not."""
        return _Registered(self._keys)

    def close(self) -> None:
        """Close epoll."""
        self._keys.clear()
        self._readers.clear()
        self._epoll.close()

    def _mask(self, descriptor: int) -> int:
        key = self._keys.get(descriptor)
        events = 0 if key is None else key.events
        reads = events & selectors.EVENT_READ or descriptor in self._readers
        return (select.EPOLLIN if reads else 0) | (select.EPOLLOUT if events & selectors.EVENT_WRITE else 0)

    def _set_mask(self, descriptor: int, before: int) -> None:
        mask = self._mask(descriptor)
        if before == mask:
            return
        try:
            if before == 0:
                self._epoll.register(descriptor, mask)
            elif mask == 0:
                self._epoll.unregister(descriptor)
            else:
                self._epoll.modify(descriptor, mask)
        except OSError:
            # A descriptor that has been closed has left epoll by itself.
            if mask != 0:
                self._keys.pop(descriptor, None)
                self._readers.pop(descriptor, None)
                raise


class _Registered(Mapping[Any, selectors.SelectorKey]):
    """Keys by descriptor, found by file object too."""

    def __init__(self, keys: Mapping[int, selectors.SelectorKey]) -> None:
        self._keys = keys

    def __getitem__(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys[_descriptor(fileobj)]

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[int]:
        return iter(self._keys)


class DirectLoop(asyncio.SelectorEventLoop):
    """asyncio's loop on a `DirectSelector`."""

    time = staticmethod(time.monotonic)

    def __init__(self) -> None:
        self._direct = DirectSelector(self._failed)
        self._busy: dict[int, float | None] = {}
        super().__init__(self._direct)

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """As in asyncio."""
        self._direct.return_soon()
        return super().call_soon(callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[Ts]], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """As in asyncio."""
        self._direct.return_soon()
        return super().call_at(when, callback, *args, context=context)

    def poll_busily(self, owner: object, seconds: float | None) -> None:
        """Poll for so many seconds after traffic, as the one who wants it longest; 0 for no more.

        None polls as long as that pays. What is given counts until `owner` gives something else.
        """
        if seconds == 0:
            self._busy.pop(id(owner), None)
        else:
            self._busy[id(owner)] = seconds
        wanted = self._busy.values()
        fixed = [each for each in wanted if each is not None]
        self._direct.busy = max(fixed) if fixed else None if wanted else 0.0

    def stop(self) -> None:
        """As in asyncio."""
        self._direct.return_soon()
        super().stop()

    def add_reader(self, fd: Any, callback: Callable[[Unpack[Ts]], Any], *args: *Ts) -> None:
        """As of asyncio, but that the callback runs within the selector's turn."""
        self._direct.add_reader(_descriptor(fd), functools.partial(callback, *args) if args else callback)

    def remove_reader(self, fd: Any) -> bool:
        """As of asyncio, which calls it for its own readers too: whether there was one."""
        removed = self._direct.remove_reader(_descriptor(fd))
        return super().remove_reader(fd) or removed

    def _failed(self, reader: Callable[[], object], error: Exception) -> None:
        self.call_exception_handler({"message": f"Exception in reader {reader!r}", "exception": error})


def _descriptor(file: Any) -> int:
    return file if isinstance(file, int) else int(file.fileno())

"""The embedding API for a program with a loop of its own: a lab in a thread, and cards for other threads.

`ThreadedLab` runs a `tmelink.runtime.Lab` in an event loop of its own; `ThreadedNic` is a card of it. Frames
cross between threads in deques, whose ends are atomic in CPython. A thread that finds work queued does not
announce its own, so that a burst of frames wakes the other thread once. Knows no protocol and no file.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import inspect
import os
import threading
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import CancelledError, Future
from time import monotonic
from types import TracebackType
from typing import Any, TypeVar, overload

from tmelink.elements.builtin.nic import BLOCK, DROP_OLDEST, Nic, drop_oldest
from tmelink.errors import ClosedError
from tmelink.frame import Counters, Frame
from tmelink.inline.capture_file import CaptureFile
from tmelink.machine import CheckedMachine
from tmelink.runtime import Lab
from tmelink.system.event_loop import new_event_loop

T = TypeVar("T")

BURST = 256
"""The most frames that are sent at once, before the lab's thread does anything else."""


class ThreadedLab:
    """A lab that runs in a thread of its own until `close`; usable from any thread, and as a context.

    Making one opens its elements; what goes wrong is raised here as `Lab` raises it. A lab that is still open
    when the interpreter exits is closed then.
    """

    def __init__(
        self,
        machine: CheckedMachine,
        *,
        keep_going: bool = False,
        output: Callable[[str], None] | None = None,
    ) -> None:
        self.machine = machine
        self._lab = Lab(machine, keep_going=keep_going, output=output)
        self._nics: dict[Nic, ThreadedNic] = {}
        self._lock = threading.Lock()
        self._open = False
        self._loop = new_event_loop()
        self._ending = asyncio.Event()
        started: Future[None] = Future()
        # A daemon thread: what ends it only runs after the interpreter has waited for other threads.
        self._thread = threading.Thread(target=self._run, args=(started,), name="tmelink", daemon=True)
        self._thread.start()
        try:
            started.result()
        except BaseException:
            self.close()
            raise
        atexit.register(self.close)

    def __enter__(self) -> ThreadedLab:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def failures(self) -> dict[str, Exception]:
        """The elements that could not be opened or have stopped working, and why."""
        return dict(self._lab.failures)

    def nic(self, path: str) -> ThreadedNic:
        """The network card at `path`, always the same one; `ElementError` for any other element."""

        def take(lab: Lab) -> ThreadedNic:
            element = lab.nic(path)
            if element not in self._nics:
                self._nics[element] = ThreadedNic(self, element)
            return self._nics[element]

        return self.run(take)

    def connect(self, path: str, other: str) -> None:
        """Plug one element into another; `PortError` if one of them takes no (further) connection."""
        self.run(lambda lab: lab.connect(path, other))

    def disconnect(self, path: str, other: str | None = None) -> None:
        """Remove every connection of an element, or those to one other; harmless where there is none."""
        self.run(lambda lab: lab.disconnect(path, other))

    def capture(self, *connections: str, **options: Any) -> CaptureFile:
        """Capture connections from now on; the arguments are those of `Lab.capture`.

        What is given as `file` is written to by the lab's thread.
        """
        return self.run(lambda lab: lab.capture(*connections, call=self._call, **options))

    def _call(self, function: Callable[[], None]) -> None:
        """Run a function in the lab's thread; once that has ended, here."""
        try:
            self.run(lambda lab: function())
        except ClosedError:
            function()

    def traffic(self) -> list[tuple[str, Counters]]:
        """A name and the counters for each direction of each connection, then for what elements count."""
        return self.run(lambda lab: list(lab.traffic()))

    @overload
    def run(self, function: Callable[[Lab], Awaitable[T]]) -> T: ...
    @overload
    def run(self, function: Callable[[Lab], T]) -> T: ...
    def run(self, function: Callable[[Lab], Awaitable[T] | T]) -> T:
        """Call `function` with the `Lab` in its own thread, and return the result; await a coroutine there.

        It must not block. Raises what it raises, and `ClosedError` if the lab is closed (meanwhile).
        """
        if threading.current_thread() is self._thread:
            result = function(self._lab)
            if inspect.isawaitable(result):
                raise RuntimeError("the lab's own thread cannot wait for a coroutine: use asyncio there")
            return result

        async def call() -> T:
            result = function(self._lab)
            return await result if inspect.isawaitable(result) else result

        with self._lock:
            self._check_open()
            asked = asyncio.run_coroutine_threadsafe(call(), self._loop)
        try:
            return asked.result()
        except CancelledError:
            raise ClosedError("the lab was closed") from None

    def soon(self, function: Callable[[], object]) -> None:
        """Call `function` in the lab's thread soon; `ClosedError` once the lab is closed."""
        # The lock keeps the loop from ending in between.
        with self._lock:
            self._check_open()
            self._loop.call_soon_threadsafe(function)

    def close(self) -> None:
        """Close every element and end the thread; a second call does nothing."""
        with contextlib.suppress(RuntimeError):  # the loop is closed already
            self._loop.call_soon_threadsafe(self._end)
        if threading.current_thread() is not self._thread:
            self._thread.join()
        atexit.unregister(self.close)

    def _check_open(self) -> None:
        if not self._open:
            raise ClosedError("the lab is closed")

    # In the lab's thread

    def _run(self, started: Future[None]) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._live(started))

    async def _live(self, started: Future[None]) -> None:
        try:
            async with self._lab:
                self._open = True
                started.set_result(None)
                await self._ending.wait()
                with self._lock:
                    self._open = False
                # What was asked for until now is called by then.
                await asyncio.sleep(0)
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    def _end(self) -> None:
        self._ending.set()
        # One that is still opening stops waiting for what may never come.
        self._lab.stop()


class ThreadedNic:
    """A network card for any thread but the lab's: `send`, `recv`, and a descriptor to wait for frames with.

    Each direction's queue is as long as the element's `queue`, and follows its `full` when full; what they
    dropped is counted in `sent` and `received`. After `lab.close()` every use raises `ClosedError`.
    """

    def __init__(self, lab: ThreadedLab, element: Nic) -> None:
        self.mac = element.mac
        self._lab = lab
        self._nic = element
        self._name = element.name
        self._room = element.room
        self._full = element.full
        self._closed = False
        # Outwards
        self._pending: deque[bytes] = deque()
        self._announced = False
        self._space = threading.Condition()
        self._senders = 0
        # Inwards
        self._waiting = element.waiting
        self._frames = threading.Condition()
        self._receivers = 0
        self._bell: _Bell | None = None
        self._lab_thread = threading.get_ident()
        element.holder = self

    @property
    def sent(self) -> Counters:
        """Counters of the frames sent, and of those that could not be sent, by reason."""
        return self._nic.sent

    @property
    def received(self) -> Counters:
        """Counters of the frames that passed the address filter, and of those that a full queue dropped."""
        return self._nic.received

    @property
    def link(self) -> bool:
        """Whether the card is connected and, where the connection leads to a remote peer, the peer is up."""
        return self._nic.link

    @property
    def promiscuous(self) -> bool:
        """Whether it takes frames for every station; may be changed at any time."""
        return self._nic.promiscuous

    @promiscuous.setter
    def promiscuous(self, value: bool) -> None:
        self._nic.promiscuous = value

    def join(self, group: bytes) -> None:
        """Take frames to a multicast MAC address too; `ValueError` for another address."""
        self._lab.run(lambda lab: self._nic.join(group))

    def leave(self, group: bytes) -> None:
        """Stop taking frames to a multicast MAC address; harmless for one that was not joined."""
        self._lab.run(lambda lab: self._nic.leave(group))

    def on_link(self, callback: Callable[[bool], object]) -> None:
        """Call `callback(up)` now and whenever `link` changes, in the lab's thread: it must not block."""
        self._lab.run(lambda lab: self._nic.on_link(callback))

    # Out

    def send(self, frame: Frame) -> None:
        """Send an Ethernet frame of at least 14 bytes, without its check sequence; a shorter one is counted.

        The frame may be reused when `send` returns. With `full block` it returns when there is room.
        """
        if self._closed:
            raise ClosedError(f"{self._name} is closed")
        pending = self._pending
        if len(pending) >= self._room and not self._make_room():
            return
        pending.append(bytes(frame))
        # The drain clears this before it takes the first frame, so what comes after is announced again.
        if not self._announced:
            self._announced = True
            self._lab.soon(self._drain)

    def _make_room(self) -> bool:
        """Handle a full queue by the element's policy; returns whether the frame may enter."""
        if self._full == DROP_OLDEST:
            self.sent.drops["queue full"] += 1
            drop_oldest(self._pending, 1)
            return True
        # The thread that makes room cannot wait for it.
        if self._full == BLOCK and threading.get_ident() != self._lab_thread:
            with self._space:
                self._senders += 1
                try:
                    while len(self._pending) >= self._room and not self._closed:
                        self._space.wait()
                finally:
                    self._senders -= 1
            if self._closed:
                raise ClosedError(f"{self._name} is closed")
            return True
        self.sent.drops["queue full"] += 1
        return False

    def _drain(self) -> None:
        """In the lab's thread: send waiting frames, in bursts that leave half of such a queue free."""
        if self._nic.stopped or self._closed:
            return  # `released` comes back to it
        self._announced = False
        frames: list[Frame] = []
        take = self._pending.popleft
        with contextlib.suppress(IndexError):
            for _ in range(min(BURST, self._room // 2 or 1)):
                frames.append(take())
        if self._senders:
            with self._space:
                self._space.notify_all()
        if frames:
            self._nic.send_many(frames)
        if self._pending and not self._announced:
            self._announced = True
            self._soon(self._drain)

    def released(self) -> None:
        """In the lab's thread: the other end of the connection has room again."""
        if self._announced:
            self._soon(self._drain)

    def _soon(self, function: Callable[[], object]) -> None:
        """Once the lab is closing, nothing needs to be done soon."""
        with contextlib.suppress(ClosedError):
            self._lab.soon(function)

    # In

    def recv(self, timeout: float | None = None) -> bytes | None:
        """The next frame, in the order of arrival; None where `timeout` seconds pass without one.

        A timeout of 0 only looks. Raises `ClosedError` once the lab is closed.
        """
        waiting = self._waiting
        try:
            frame = waiting.popleft()
        except IndexError:
            return self._wait(timeout)
        if not waiting or self._nic.holding:
            self._frame_taken()
        return frame

    def recv_into(self, buffer: bytearray | memoryview, timeout: float | None = None) -> int:
        """The next frame into `buffer`; its length, or 0 where `timeout` seconds pass without one.

        One that is longer than the buffer is dropped, counted, and the next one is taken.
        """
        end = None if timeout is None else monotonic() + timeout
        while True:
            frame = self.recv(None if end is None else max(0.0, end - monotonic()))
            if frame is None:
                return 0
            length = len(frame)
            if length <= len(buffer):
                buffer[:length] = frame
                return length
            self.received.drops["longer than the buffer"] += 1

    def __iter__(self) -> Iterator[bytes]:
        """The frames as they arrive, until the lab is closed."""
        while True:
            try:
                frame = self.recv()
            except ClosedError:
                return
            assert frame is not None, "recv without a timeout returns a frame"
            yield frame

    def fileno(self) -> int:
        """A descriptor that is readable while a frame waits, and once the lab is closed; only to wait on."""
        if self._bell is None:
            with self._frames:
                if self._bell is None:
                    bell = _Bell()
                    weakref.finalize(self, bell.close)
                    self._bell = bell
            if self._waiting or self._closed:
                self._bell.ring()
        return self._bell.descriptor

    def _wait(self, timeout: float | None) -> bytes | None:
        end = None if timeout is None else monotonic() + timeout
        waiting = self._waiting
        with self._frames:
            # Counted before looking: a frame that comes after that finds a waiter to wake.
            self._receivers += 1
            try:
                while True:
                    if self._closed:
                        raise ClosedError(f"{self._name} is closed")
                    with contextlib.suppress(IndexError):
                        frame = waiting.popleft()
                        break
                    remaining = None if end is None else end - monotonic()
                    if remaining is not None and remaining <= 0:
                        self._frame_taken()
                        return None
                    self._frames.wait(remaining)
            finally:
                self._receivers -= 1
        self._frame_taken()
        return frame

    def _frame_taken(self) -> None:
        """Silence the bell when nothing waits, and let the other end continue if it waits for room."""
        bell = self._bell
        if bell is not None and not self._waiting:
            bell.silence()
            # A frame that came in between found it ringing.
            if self._waiting or self._closed:
                bell.ring()
        if self._nic.holding and len(self._waiting) <= self._room // 4:
            self._soon(self._nic.taken)

    def arrived(self) -> None:
        """In the lab's thread: frames wait."""
        if not self._waiting:
            return
        if self._receivers:
            with self._frames:
                self._frames.notify_all()
        bell = self._bell
        if bell is not None and not bell.ringing:
            bell.ring()

    def closed(self) -> None:
        """In the lab's thread: wake all waiters, so that they see the end."""
        self._closed = True
        for condition in (self._space, self._frames):
            with condition:
                condition.notify_all()
        if self._bell is not None:
            self._bell.ring()


class _Bell:
    """A descriptor that is readable from `ring` to `silence`; each may be called by any thread."""

    def __init__(self) -> None:
        self.descriptor, self._button = os.pipe()
        os.set_blocking(self.descriptor, False)
        os.set_blocking(self._button, False)
        self.ringing = False

    def ring(self) -> None:
        self.ringing = True
        # A full pipe is readable as it is.
        with contextlib.suppress(BlockingIOError):
            os.write(self._button, b"\0")

    def silence(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self.descriptor, 65536)
        self.ringing = False

    def close(self) -> None:
        os.close(self.descriptor)
        os.close(self._button)

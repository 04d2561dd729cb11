"""Names to addresses, as the system's resolver has them (hosts file, nsswitch.conf), each in its own thread.

A name server that never answers delays no other name, and not the end of the program either. asyncio's own
resolver has a handful of threads for all names, and waits for them at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import threading
from collections.abc import Sequence
from typing import Any

Found = Sequence[tuple[Any, ...]]
"""What `socket.getaddrinfo` returns."""

Question = tuple[str, int | None, int, int]
"""Host, port, family and socket type."""

PATIENCE_SECONDS = 10.0
"""For an answer to a name that has never been answered; the resolver itself may take far longer."""

REFRESH_SECONDS = 1.0
"""For an answer to a name that has been answered before: after that the earlier answer holds."""

MAX_THREADS = 64
"""Names that are asked for at once: each costs a thread until the resolver gives it up."""

MAX_ANSWERS = 1024
"""Answers that are remembered."""

_answers: dict[Question, Found] = {}
_threads: set[threading.Thread] = set()
_asked: dict[tuple[asyncio.AbstractEventLoop, Question], asyncio.Future[Found]] = {}


async def lookup(host: str, port: int | None, family: int, kind: int) -> Found:
    """The addresses of `host`; raises `OSError` if there is none, and where nobody answers in time."""
    loop = asyncio.get_running_loop()
    question = (host, port, family, kind)
    known = _answers.get(question)
    future = _asked.get((loop, question))
    if future is None:
        future = _ask(loop, question)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS if known is None else REFRESH_SECONDS):
            return await asyncio.shield(future)
    except TimeoutError:
        if known is None:
            raise OSError(errno.ETIMEDOUT, "the name server does not answer") from None
        return known
    except socket.gaierror as error:
        if known is None or error.errno != socket.EAI_AGAIN:
            raise
        return known


def _ask(loop: asyncio.AbstractEventLoop, question: Question) -> asyncio.Future[Found]:
    """Ask in a thread that nobody waits for; the answer is also for those who ask the same meanwhile."""
    if len(_threads) >= MAX_THREADS:
        raise OSError(errno.EAGAIN, f"{MAX_THREADS} names already wait for an answer")
    future: asyncio.Future[Found] = loop.create_future()
    # Nobody may be left to take an error.
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
    _asked[loop, question] = future

    def settle(found: Found | None, error: OSError | None) -> None:
        _asked.pop((loop, question), None)
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        elif found is not None:
            future.set_result(found)

    def work() -> None:
        host, port, family, kind = question
        found: Found | None = None
        failure: OSError | None = None
        try:
            found = socket.getaddrinfo(host, port, family, kind)
            _remember(question, found)
        except UnicodeError:
            failure = OSError(errno.EINVAL, "not a valid host name")
        except OSError as error:
            failure = error
        finally:
            _threads.discard(threading.current_thread())
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(settle, found, failure)

    thread = threading.Thread(target=work, name=f"tmelink-name-{question[0]}", daemon=True)
    _threads.add(thread)
    thread.start()
    return future


def _remember(question: Question, found: Found) -> None:
    _answers.pop(question, None)
    while len(_answers) >= MAX_ANSWERS:
        _answers.pop(next(iter(_answers)), None)
    _answers[question] = found

"""Work in a thread of its own: what the caller gets, and what is left of the thread."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from tmelink.errors import ElementError
from tmelink.system import namespaces


def test_the_thread_has_ended_once_its_result_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even one that the system holds up after it has handed over its result."""
    run = threading.Thread.run

    def slow(self: threading.Thread) -> None:
        run(self)
        time.sleep(0.05)

    async def main() -> set[str]:
        assert await namespaces.run(lambda: 7) == 7
        with pytest.raises(ZeroDivisionError):
            await namespaces.run(lambda: 1 // 0)
        return {thread.name for thread in threading.enumerate()}

    monkeypatch.setattr(threading.Thread, "run", slow)
    assert "tmelink-system" not in asyncio.run(main())


def test_a_namespace_that_does_not_exist() -> None:
    with pytest.raises(ElementError, match="no-such-namespace"):
        asyncio.run(namespaces.run(lambda: None, "no-such-namespace"))

"""Coroutines in tests: run to their end within a time, on the real clock or on one that jumps."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

TIMEOUT = 20
"""Seconds to await what must come."""

WHOLE_SECONDS = 60
"""Seconds for a whole test: more than any takes, so that one that hangs ends with a stack."""

POLL_SECONDS = 0.005


class _Jump(selectors.DefaultSelector):
    """Waits for nothing: what would be waited for is added to the time."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "everybody waits for ever"
        self.now += max(0.0, timeout)
        return super().select(0)


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next thing to do; for what lives in memory alone."""

    def __init__(self) -> None:
        self._jump = _Jump()
        super().__init__(self._jump)

    def time(self) -> float:
        return self._jump.now


def run(
    main: Callable[[], Coroutine[Any, Any, T]],
    *,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> T:
    """`main()`'s result, in a new event loop; TimeoutError if it takes longer than a minute of that loop."""

    async def limited() -> T:
        async with asyncio.timeout(WHOLE_SECONDS):
            return await main()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        return runner.run(limited())


def run_jumping(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """`main()`'s result, on a clock that jumps to the next thing to do."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(main())


async def eventually(condition: Callable[[], object]) -> None:
    """Wait for what has no event of its own, such as a link having lost its peer."""
    async with asyncio.timeout(TIMEOUT):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)

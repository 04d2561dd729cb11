"""What all asynchronous parts do with a task of their own at the end of their work."""

from __future__ import annotations

import asyncio


async def end(task: asyncio.Task[None] | None) -> None:
    """Cancel a task and wait until it has ended; raises what it failed with. None is a task never begun."""
    if task is None:
        return
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()

"""What reports changes of the host's routes, and what it leaves behind."""

from __future__ import annotations

import asyncio
import gc
import sys
import warnings
from typing import Any

import pytest

from tmelink.system import namespaces
from tmelink.system.monitor import Monitor

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="netlink is Linux's")


def test_a_socket_that_nobody_waits_for_any_more_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    made = asyncio.Event()
    run = namespaces.run

    async def run_and_lag(work: Any, netns: str | None = None) -> Any:
        result = await run(work, netns)
        made.set()
        await asyncio.sleep(60)
        return result

    monkeypatch.setattr(namespaces, "run", run_and_lag)

    async def main() -> None:
        opening = asyncio.get_running_loop().create_task(Monitor(lambda: None).open(None))
        await made.wait()
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening

    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        asyncio.run(main())
        gc.collect()

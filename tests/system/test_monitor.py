"""What reports changes of the host's routes, to whom, and what it leaves behind."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import warnings
from typing import Any

import pytest

from tests.support.aio import TIMEOUT
from tests.support.netns import Namespace, network
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


def test_all_monitors_of_a_namespace_share_one_socket() -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    async def main() -> None:
        before = descriptors()
        monitors = [Monitor(lambda: None) for _ in range(50)]
        await asyncio.gather(*(monitor.open(None) for monitor in monitors))
        assert descriptors() == before + 1
        for monitor in monitors:
            monitor.close()
            monitor.close()
        assert descriptors() == before

    asyncio.run(main())


@pytest.mark.needs_root
@pytest.mark.needs("ip")
def test_every_monitor_of_a_namespace_is_told_until_it_is_closed() -> None:
    told: list[str] = []

    async def main(space: Namespace) -> None:
        heard = asyncio.Event()

        def first() -> None:
            told.append("first")
            second.close()

        def last() -> None:
            told.append("last")
            heard.set()

        monitors = [Monitor(first), second := Monitor(lambda: told.append("second")), Monitor(last)]
        for monitor in monitors:
            await monitor.open(space.name)
        await asyncio.to_thread(space.run, "ip", "link", "set", "lo", "mtu", "60000")
        async with asyncio.timeout(TIMEOUT):
            await heard.wait()
        for monitor in monitors:
            monitor.close()

    with network() as net:
        asyncio.run(main(net.namespace()))
    assert told == ["first", "last"]

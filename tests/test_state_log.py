"""The log of changes of state, and that it keeps nothing once its lab has closed."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref

from tmelink.state_log import StateLog


def test_a_change_while_the_lab_closes_keeps_nothing() -> None:
    """A timer kept it for a minute, so that a program that opens and closes labs grew meanwhile."""

    async def main() -> None:
        log = StateLog(logging.getLogger("tmelink.test"))
        log.changed(True, "")
        log.close()
        log.changed(False, "closed")
        kept = weakref.ref(log)
        del log
        gc.collect()
        assert kept() is None

    asyncio.run(main())

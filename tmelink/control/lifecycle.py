"""Methods that end or restart a lab: `stop`, `restart`."""

from __future__ import annotations

import asyncio

from tmelink.control.control import Control
from tmelink.control.methods import Methods

METHODS = Methods()


@METHODS.request("stop")
def stop(control: Control) -> None:
    """Close every element and end the process; the reply comes first."""
    asyncio.get_running_loop().call_soon(control.lab.stop)


@METHODS.request("restart")
async def restart(control: Control) -> None:
    """Check the lab's file, then close every element and open those of the file, in the same process.

    The lab refuses a file with mistakes, and continues unchanged.
    """
    await asyncio.to_thread(control.reload)
    control.restarting = True
    asyncio.get_running_loop().call_soon(control.lab.stop)

"""Findings that `tmelink check` has about the file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from tmelink.control.findings import Finding, Subject, check
from tmelink.proof.problems import problems
from tmelink.system import route_lookup


@check
async def warnings(subject: Subject) -> AsyncIterator[Finding]:
    """Every warning of `tmelink check`: ends that do not meet, sizes, loops, missing keys."""
    # In a thread: routes are asked for without an event loop.
    for warning in await asyncio.to_thread(problems, subject.machine, route_lookup.towards):
        yield Finding("file", "", warning.message, str(warning.place), warning.hint or "", 65)

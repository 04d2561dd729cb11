"""Methods that change a running lab: `apply` a file, `exec` statements of the language.

A change is made in three steps: the file is read with the edits made since (in a thread, so that traffic goes
on), what differs is found, and only that is changed. A mistake anywhere, and nothing is.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from tmelink.control import live
from tmelink.control.control import Control
from tmelink.control.methods import Methods, RequestError
from tmelink.control.protocol import Json
from tmelink.difference import Difference, between
from tmelink.errors import Interrupted
from tmelink.machine import CheckedMachine, load

METHODS = Methods()

SWITCH_SECONDS = 0.000_5
"""How long a thread that reads a file may hold the interpreter while traffic waits."""

SHOWN = 5
"""The most changes that an event describes in words; its data has all of them."""


@METHODS.request("apply")
async def apply(
    control: Control, *, file: str | None = None, text: str | None = None, dry_run: bool = False
) -> Json:
    """Change the lab to what a file, a text or its own changed file says; only what differs changes.

    The lab compares elements by name. If the module and arguments are the same, an element keeps its
    connections and its traffic. Changes made with `exec` that are not in the file are undone. With `dry_run`
    the lab reports the changes without making them. A path is absolute, or relative to the lab's directory.
    """
    async with control.changing:
        reload = control.reload if file is None and text is None else _reader(control, file, text)
        difference = await _difference(control, reload)
        if dry_run:
            return _as_reply(difference, {})
        control.reload = reload
        control.edits.clear()
        if file is not None:
            control.file = file
        control.enter_folder()
        return await _change(control, difference)


@METHODS.request("exec")
async def execute(control: Control, *, text: str, directory: str = "/") -> Json:
    """Run statements of the language in `directory`, as if they were at the end of the lab's file.

    Two more forms exist here: `disconnect A [at B]`, and `ELEMENT WORDS…` for `command ELEMENT WORDS…`. The
    result has the `output`, the `changes`, and the `directory` at the end. If `cancel` ends a command, it
    still prints what it can, such as a ping's statistics. Then `interrupted` is true, and later commands do
    not run.
    """
    async with control.changing:
        machine = control.lab.machine
        orders = live.orders(text, directory, machine)
        if orders is not None:
            output, interrupted = await _carry_out(orders)
            return {
                "output": output,
                "changes": [],
                "failed": {},
                "directory": directory,
                "interrupted": interrupted,
            }
        script = live.LiveScript(text, directory, machine)
        difference = await _difference(control, lambda: _edited(control, machine, script))
        result = await _change(control, difference)
        if script.changes_something:
            control.edits.append(script)
        printed = difference.machine.output[script.printed_before :]
        # One of a new element has been carried out when that was opened.
        output, interrupted = await _carry_out(
            live.LiveCommand.of(command)
            for command in difference.machine.commands[script.ordered_before :]
            if command.level is None and command.element not in difference.new
        )
        return {
            **result,
            "output": [*printed, *output],
            "directory": script.directory,
            "interrupted": interrupted,
        }


async def _carry_out(commands: Iterable[live.LiveCommand]) -> tuple[list[str], bool]:
    """What commands print, and whether one was interrupted, which ends all of them."""
    output: list[str] = []
    try:
        for command in commands:
            output.append(await command.carry_out())
    except Interrupted as interrupted:
        return [*filter(None, output), str(interrupted)], True
    return [*filter(None, output)], False


def _reader(control: Control, file: str | None, text: str | None) -> Callable[[], CheckedMachine]:
    host, network_only = control.host, control.lab.machine.network_only
    if file is not None and text is not None:
        raise RequestError("give a file or a text, and not both")
    if text is not None:
        return lambda: load(f"{text}\n", host=host, network_only=network_only, name="<stdin>")
    return lambda: load(Path(str(file)), host=host, network_only=network_only)


def _edited(control: Control, machine: CheckedMachine, script: live.LiveScript) -> CheckedMachine:
    """The lab's file as it was read, with the edits since and this one."""
    source = machine.source
    return load(
        f"{source.text}\n",
        host=control.host,
        network_only=machine.network_only,
        name=source.name,
        folder=Path(source.name).parent,
        edits=[*control.edits, script],
    )


async def _difference(control: Control, reload: Callable[[], CheckedMachine]) -> Difference:
    """What differs in a machine that is read now; nothing is changed yet."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        machine = await asyncio.to_thread(reload)
    finally:
        sys.setswitchinterval(interval)
    if machine.not_emulated and not machine.network_only:
        parts = ", ".join(path.lstrip("/") for path in machine.not_emulated)
        raise RequestError(f"not emulated by tmelink: {parts}; run it with --network-only")
    return between(control.lab.machine, machine)


async def _change(control: Control, difference: Difference) -> Json:
    failed = await control.lab.reconcile(difference)
    reply = _as_reply(difference, failed)
    if difference.changes:
        first = "; ".join(map(str, difference.changes[:SHOWN]))
        more = len(difference.changes) - SHOWN
        control.note("applied", f"{first}; and {more} more" if more > 0 else first, **reply)
    return reply


def _as_reply(difference: Difference, failed: dict[str, Exception]) -> Json:
    return {
        "changes": [change._asdict() for change in difference.changes],
        "failed": {name: str(error) for name, error in failed.items()},
    }

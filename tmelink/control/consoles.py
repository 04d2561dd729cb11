"""Methods for the serial consoles of emulators: `console`, `type`."""

from __future__ import annotations

import base64
from collections.abc import Callable

from tmelink.control.control import Control
from tmelink.control.methods import Methods, RequestError, Sink
from tmelink.control.protocol import INVALID_PARAMETERS
from tmelink.elements.emulators.console import EmulatorConsole
from tmelink.elements.emulators.process import Process
from tmelink.elements.emulators.qemu import Qemu

METHODS = Methods()


@METHODS.request("consoles")
def consoles(control: Control) -> list[str]:
    """The names of the elements that have a console."""
    return [
        element.name
        for element in control.lab.machine.elements.values()
        if isinstance(element, Qemu | Process) and element.console is not None
    ]


@METHODS.stream("console")
def console(control: Control, sink: Sink, *, element: str) -> Callable[[], None]:
    """The latest output of an emulator's console, and then new output: items with `output`, in base64."""
    found = _console(control, element)
    return found.watch(lambda data: sink.put({"output": base64.b64encode(data).decode()}))


@METHODS.request("type")
def type_(control: Control, *, element: str, text: str) -> None:
    """Type text on an emulator's console."""
    _console(control, element).type(text.encode())


def _console(control: Control, name: str) -> EmulatorConsole:
    element = control.lab[name]
    if not isinstance(element, Qemu | Process) or element.console is None:
        raise RequestError(
            f"{element.name} has no console here: give a tmelink/qemu 'console pty', or a tmelink/process "
            "'terminal'",
            INVALID_PARAMETERS,
        )
    return element.console

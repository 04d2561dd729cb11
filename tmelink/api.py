"""The API of `import tmelink` for embedders: load a machine, run it, use its elements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from tmelink import machine
from tmelink.runtime import Lab
from tmelink.threads import ThreadedLab


class Machine(machine.CheckedMachine):
    """A checked machine that can be run, once: `async with machine.run() as lab`."""

    def run(self, *, keep_going: bool = False, output: Callable[[str], None] | None = None) -> Lab:
        """A lab that opens the elements when entered and closes them when left.

        With `keep_going` an element that fails to open is reported in `lab.failures` and the rest runs;
        without, entering raises its `ElementError`. `output` takes what the file's commands print.
        """
        return Lab(self, keep_going=keep_going, output=output)


def load(path_or_text: Path | str, *, host: str | None = None, network_only: bool = False) -> Machine:
    """Read and check a machine file, or a text (a str with a newline), without opening anything.

    With `host` only that host's part is loaded. Raises `MachineError` with every mistake, in file order.
    """
    loaded = machine.load(path_or_text, host=host, network_only=network_only)
    return Machine(**{field.name: getattr(loaded, field.name) for field in fields(loaded)})


def start(
    path_or_text: Path | str,
    *,
    host: str | None = None,
    network_only: bool = False,
    keep_going: bool = False,
    output: Callable[[str], None] | None = None,
) -> ThreadedLab:
    """Load a machine file, or a text, and run it in a thread: `with start("machine.conf") as lab`.

    The arguments are those of `load` and `Machine.run`, and so are the errors.
    """
    machine = load(path_or_text, host=host, network_only=network_only)
    return ThreadedLab(machine, keep_going=keep_going, output=output)

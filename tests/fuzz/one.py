"""One target under atheris: `python -m tests.fuzz.one TARGET` and libFuzzer's options."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["tmelink"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    function = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, function)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

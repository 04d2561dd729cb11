"""The methods in docs/control.md: `python -m tmelink.control.page` prints what the registries have."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from tmelink.control.all_methods import METHODS
from tmelink.control.methods import Method, Parameter


def page() -> str:
    """A section for each method."""
    return "\n\n".join(line for method in METHODS for line in _section(method)) + "\n"


def _section(method: Method) -> Iterator[str]:
    yield f"### `{method.name}`" + (" (a stream)" if method.streams else "")
    yield inspect.cleandoc(method.function.__doc__ or "")
    if method.parameters:
        rows = [f"| `{name}` | {_kind(parameter)} |" for name, parameter in method.parameters.items()]
        yield "\n".join(["| parameter | |", "|---|---|", *rows])


def _kind(parameter: Parameter) -> str:
    if parameter.required:
        return f"{parameter.text}, needed"
    default = "" if parameter.default is None else f", otherwise {str(parameter.default).lower()}"
    return parameter.text + default


if __name__ == "__main__":
    print(page(), end="")

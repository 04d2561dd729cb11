"""What machine files can create, in words: each element's summary, its explanation and the reference page."""

from __future__ import annotations

import inspect

from tmelink import registry
from tmelink.element import Element
from tmelink.elements.openvpn.link import Link
from tmelink.elements.openvpn.server import Server
from tmelink.errors import ElementError


def summary(module: str) -> str:
    """The first line of the element's docstring, or why it is not available."""
    try:
        lines = inspect.cleandoc(registry.element_class(module).__doc__ or "").splitlines()
    except ElementError as error:
        return f"({error})"
    return lines[0] if lines else ""


def usage(module: str) -> str:
    """One line: how a machine file writes it."""
    return registry.element_class(module).usage(module)


def about(module: str) -> str:
    """The element's description: its class docstring."""
    return inspect.cleandoc(registry.element_class(module).__doc__ or "")


def example(module: str) -> str:
    """The machine file that the element's class declares as its example; empty if it declares none."""
    return str(vars(registry.element_class(module)).get("example", ""))


def explanation(module: str) -> str:
    """Usage, a row for each argument, the element's description and its example."""
    cls = registry.element_class(module)
    rows = cls.reference()
    width = max((len(written) for written, _help in rows), default=0)
    parts = [cls.usage(module), ""]
    parts += [f"  {written:<{width}}  {text}" for written, text in rows]
    parts += ["", inspect.cleandoc(cls.__doc__ or "")]
    if shown := example(module):
        parts += ["", "Example:", "", *(f"  {line}" for line in shown.splitlines())]
    return "\n".join(parts)


def page() -> str:
    """The reference page, docs/elements.md, from the declarations that the parser uses."""
    parts = [
        "# The elements",
        "",
        "This page lists what a machine file can create; `tmelink elements --page` prints it. `nme/…` means",
        "the same as `tme/…`. [The language](language.md) explains how to write a file.",
    ]
    modules: dict[type[Element], list[str]] = {}
    for name in registry.names():
        modules.setdefault(registry.element_class(name), []).append(name)
    for cls, names in modules.items():
        parts += [
            "",
            f"## {', '.join(f'`{name}`' for name in names)}",
            "",
            inspect.cleandoc(cls.__doc__ or ""),
        ]
        if shown := example(names[0]):
            parts += ["", "```tmesh", shown.rstrip("\n"), "```"]
        if cls in (Link, Server):
            parts += ["", "Its arguments have a page of their own: [OpenVPN's options](openvpn-options.md)."]
            continue
        parts += ["", "```", f"NAME: {cls.usage(names[0])}", "```", "", "| argument | meaning |", "|---|---|"]
        parts += [f"| `{cell(written)}` | {cell(text)} |" for written, text in cls.reference()]
    return "\n".join(parts)


def cell(text: str) -> str:
    """A text as the cell of a Markdown table."""
    return text.replace("|", "\\|")

"""Module names and the element classes behind them.

Every element, built in or from a third party, is an entry point of the group `tmelink.elements`. Its name is
the module name that a machine file writes: `"tme/host/tun/tap" = "tmelink.elements.host_interfaces.tap:Tap"`.
`nme/…` means the same as `tme/…` everywhere.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points

from tmelink.element import Element
from tmelink.errors import ElementError

GROUP = "tmelink.elements"


@cache
def _entry_points() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def names() -> list[str]:
    """Every module name that can be created, sorted."""
    return sorted(_entry_points())


def canonical(module: str) -> str:
    """The name that `module` is registered under: `nme/x` is `tme/x`."""
    return "tme/" + module[4:] if module.startswith("nme/") else module


def known(module: str) -> bool:
    """Whether `module` names an element."""
    return canonical(module) in _entry_points()


@cache
def element_class(module: str) -> type[Element]:
    """The class of `module`; `KeyError` for an unknown name, `ElementError` if it cannot be loaded."""
    point = _entry_points()[canonical(module)]
    try:
        loaded = point.load()
    except (ImportError, AttributeError) as error:
        raise ElementError(
            f"the package behind {module} ({point.value}) cannot be loaded: {error}"
        ) from error
    if not (isinstance(loaded, type) and issubclass(loaded, Element)):
        raise ElementError(f"{module} is registered as {point.value}, which is not a tmelink.Element")
    return loaded

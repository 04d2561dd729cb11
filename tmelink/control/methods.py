"""What can be asked of a lab: a registry of methods, and parameters checked against what a method declares.

A feature declares its methods in its own module::

    METHODS = Methods()

    @METHODS.request("kick")
    async def kick(control: Control, *, element: str, client: str) -> object:
        "End a client's session."

    @METHODS.stream("events")
    def events(control: Control, sink: Sink, *, since: float | None = None) -> Callable[[], None]:
        "Each event as it happens; what is returned is called at the end."

`tmelink.control.server` puts the registries together. Annotations of keyword parameters are what a client
may send (`str`, `int`, `float`, `bool`, `list[str]`, each also `| None`), and the docstrings are what
docs/control.md prints.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, get_args, get_type_hints

from tmelink.control.protocol import FAILED, INVALID_PARAMETERS
from tmelink.errors import TmelinkError

F = TypeVar("F", bound=Callable[..., Any])


class RequestError(TmelinkError):
    """A request cannot be carried out: the code is one of the protocol's, `data` any JSON."""

    def __init__(self, message: str, code: int = FAILED, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.data = data


class Sink(Protocol):
    """Takes a stream's items; never waits, and drops items if the client is too slow."""

    def put(self, value: Any) -> None:
        """Send an item; it is encoded only when the client can receive it, so it must not change."""

    def end(self, result: Any = None) -> None:
        """The stream is over."""


@dataclass(frozen=True)
class Parameter:
    """What a client may send under one name."""

    types: tuple[type, ...]
    items: type | None
    required: bool
    default: Any

    @property
    def text(self) -> str:
        """For the reference page."""
        names = [_JSON_NAMES[kind] for kind in self.types if kind is not types.NoneType]
        if self.items is not None:
            names = [f"list of {_JSON_NAMES[self.items]}s"]
        return " or ".join(names)

    def fits(self, value: object) -> bool:
        """Whether a value has one of the types; JSON's whole numbers are fit for fractions too."""
        if isinstance(value, bool):
            return bool in self.types
        if isinstance(value, int) and float in self.types:
            return True
        if isinstance(value, list):
            return self.items is not None and all(type(item) is self.items for item in value)
        return isinstance(value, self.types)


_JSON_NAMES: Mapping[Any, str] = {str: "text", int: "number", float: "number", bool: "boolean", list: "list"}


@dataclass(frozen=True)
class Method:
    """One thing that can be asked for; a stream has a `Sink` as its second argument."""

    name: str
    function: Callable[..., Any]
    streams: bool
    parameters: Mapping[str, Parameter]

    @property
    def help(self) -> str:
        """The first paragraph of the docstring."""
        return inspect.cleandoc(self.function.__doc__ or "").split("\n\n")[0]

    def checked(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """The parameters, checked against their declarations; raises `RequestError`."""
        for name, value in given.items():
            parameter = self.parameters.get(name)
            if parameter is None:
                takes = ", ".join(self.parameters) or "none"
                raise RequestError(
                    f"{self.name} has no parameter {name!r}; it has {takes}", INVALID_PARAMETERS
                )
            if not parameter.fits(value):
                raise RequestError(f"{self.name}: {name} is a {parameter.text}", INVALID_PARAMETERS)
        for name, parameter in self.parameters.items():
            if parameter.required and name not in given:
                raise RequestError(f"{self.name} needs the parameter {name!r}", INVALID_PARAMETERS)
        return given


class Methods:
    """A registry; `a | b` has the methods of both."""

    def __init__(self) -> None:
        self._methods: dict[str, Method] = {}

    def request(self, name: str) -> Callable[[F], F]:
        """Register a function or coroutine function that returns the result, as JSON."""
        return lambda function: self._add(name, function, streams=False)

    def stream(self, name: str) -> Callable[[F], F]:
        """Register a function that begins a stream, and returns a function that ends it."""
        return lambda function: self._add(name, function, streams=True)

    def get(self, name: str) -> Method | None:
        """The method of that name."""
        return self._methods.get(name)

    def __iter__(self) -> Iterator[Method]:
        return iter(self._methods.values())

    def __or__(self, other: Methods) -> Methods:
        both = Methods()
        both._methods = {**self._methods, **other._methods}
        return both

    def _add(self, name: str, function: F, *, streams: bool) -> F:
        assert name not in self._methods, f"{name} is registered twice"
        self._methods[name] = Method(name, function, streams, _parameters(function))
        return function


def _parameters(function: Callable[..., Any]) -> dict[str, Parameter]:
    keywords = {
        name: parameter
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    # Of these alone: the others' types may be imported for type checkers only.
    written = types.SimpleNamespace(__annotations__={n: p.annotation for n, p in keywords.items()})
    hints = get_type_hints(written, globalns=function.__globals__)
    return {name: _parameter(hints[name], parameter.default) for name, parameter in keywords.items()}


def _parameter(hint: Any, default: Any) -> Parameter:
    kinds = get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    items = next((get_args(kind)[0] for kind in kinds if get_args(kind)), None)
    required = default is inspect.Parameter.empty
    plain = tuple(kind for kind in kinds if isinstance(kind, type) and not get_args(kind))
    return Parameter(plain, items, required, None if required else default)


async def settled(value: Awaitable[Any] | Any) -> Any:
    """What a request's function returned, awaited if necessary."""
    return await value if inspect.isawaitable(value) else value

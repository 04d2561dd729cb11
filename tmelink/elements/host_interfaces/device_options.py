"""OpenVPN's options of a TAP or a TUN (openvpn(8)): read from a table into an element's settings.

Knows how they are written and what is wrong with them; which ones there are, and what they mean, is in the
tables of `openvpn_tap` and `openvpn_tun`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tmelink import values
from tmelink.source import Mistake, Place, Report, Word, suggestion
from tmelink.system import tuntap

Device = Literal["tap", "tun"]


@dataclass(frozen=True, slots=True)
class DeviceOption:
    """One of OpenVPN's options that a device takes: `read` turns its parameters into settings."""

    parameters: tuple[str, ...]
    help: str
    read: Callable[[list[str]], dict[str, Any]] = lambda parameters: {}
    least: int = 0
    refused: str | None = None


Table = Mapping[str, DeviceOption]


def read(
    table: Table, device: Device, words: Sequence[Word], place: Place, report: Report
) -> dict[str, Any] | None:
    """Read `words` as OpenVPN's command line; every mistake is reported with the word it concerns.

    Returns None if there was a mistake.
    """
    failures = 0

    def fail(where: Place, message: str, hint: str | None = None) -> None:
        nonlocal failures
        failures += 1
        report(Mistake(where, message, hint))

    given: dict[str, tuple[Word, list[Word]]] = {}
    for option, parameters in _options(words, device, fail):
        name = option.text[2:]
        known = table.get(name)
        if known is None:
            near = suggestion(option.text, [f"--{known}" for known in table])
            fail(
                option.place,
                f"unknown option '{option}' for a {device.upper()}",
                near or f"it takes {', '.join(written(table))}",
            )
        elif known.refused is not None:
            fail(option.place, f"'{option}' is not accepted here: {known.refused}")
        elif not known.least <= len(parameters) <= len(known.parameters):
            fail(option.place, f"'{option}' takes {' '.join(known.parameters) or 'no parameter'}")
        elif name in given:
            fail(option.place, f"option '{option}' is given twice")
        else:
            given[name] = (option, parameters)
    settings: dict[str, Any] = {}
    for name, (option, parameters) in given.items():
        try:
            settings.update(table[name].read([parameter.text for parameter in parameters]))
        except ValueError as error:
            fail(parameters[0].place if parameters else option.place, f"{option}: {error}")
    if "dev" not in given:
        fail(place, f"missing option: --dev {device}")
    elif not failures and given["dev"][1][0].text[:3] != device and "dev-type" not in given:
        word = given["dev"][1][0]
        fail(
            word.place,
            f"'--dev {word}' does not say whether it is a TAP or a TUN",
            f"add --dev-type {device}",
        )
    return None if failures else settings


def usage(table: Table, device: Device, module: str) -> str:
    """The options in one line."""
    optional = [f"[{each}]" for each in written(table) if not each.startswith("--dev ")]
    return " ".join((module, f"--dev {device}|NAME", *optional))


def reference(table: Table) -> list[tuple[str, str]]:
    """A row for each option."""
    return list(zip(written(table), (option.help for option in _accepted(table).values()), strict=True))


def written(table: Table) -> list[str]:
    """Each option that is taken, as a machine file writes it."""
    return [" ".join((f"--{name}", *option.parameters)) for name, option in _accepted(table).items()]


def common(device: Device) -> dict[str, DeviceOption]:
    """The options that name the device and its driver."""
    what, other = device.upper(), "TAP" if device == "tun" else "TUN"
    carries = "an Ethernet" if device == "tun" else "no Ethernet"

    def dev(parameters: list[str]) -> dict[str, Any]:
        name = values.interface_name(parameters[0])
        if name.startswith(other.lower()):
            raise ValueError(
                f"'{name}' is a {other}, which carries {carries}; write {device}, or a name and "
                f"--dev-type {device}"
            )
        return {} if name == device else {"interface": name}

    def dev_type(parameters: list[str]) -> dict[str, Any]:
        if parameters[0] != device:
            raise ValueError(f"'{parameters[0]}' carries {carries}; the type of a {what} is {device}")
        return {}

    def dev_node(parameters: list[str]) -> dict[str, Any]:
        if parameters[0] != tuntap.DEVICE:
            raise ValueError(f"'{parameters[0]}' is not the {what} driver's device, which is {tuntap.DEVICE}")
        return {}

    return {
        "dev": DeviceOption(
            (f"{device}|NAME",), f"its name; plain '{device}' takes the next free {device}N", dev, least=1
        ),
        "dev-type": DeviceOption(
            (device,), f"states that a --dev of another name is a {what}", dev_type, least=1
        ),
        "dev-node": DeviceOption(("PATH",), f"the driver's device, {tuntap.DEVICE}", dev_node, least=1),
    }


def ifconfig_ipv6(parameters: list[str]) -> dict[str, Any]:
    """The IPv6 address of --ifconfig-ipv6; the peer's is only checked."""
    if len(parameters) > 1:
        values.ipv6(parameters[1])
    return {"inet6": (values.ipv6_interface(parameters[0]),)}


MTU = DeviceOption(
    ("BYTES",), "largest packet", lambda parameters: {"mtu": values.mtu(parameters[0])}, least=1
)

SCRIPT = DeviceOption(
    ("SCRIPT",),
    "",
    refused="TAPs and TUNs run no scripts; run it around tmelink, or give it to the link",
)


def _options(
    words: Sequence[Word], device: Device, fail: Callable[..., None]
) -> list[tuple[Word, list[Word]]]:
    options: list[tuple[Word, list[Word]]] = []
    for word in words:
        if word.text.startswith("--"):
            options.append((word, []))
        elif options:
            options[-1][1].append(word)
        else:
            fail(word.place, f"'{word}' is not an option", f"options begin with --, as in --dev {device}")
    return options


def _accepted(table: Table) -> dict[str, DeviceOption]:
    return {name: option for name, option in table.items() if option.refused is None}

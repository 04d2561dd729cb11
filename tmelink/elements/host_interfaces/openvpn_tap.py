"""A TAP in OpenVPN's words: `--dev tap --ifconfig …` (openvpn(8)), read into the settings of a `Tap`.

Knows the options that concern the device; `tmelink.openvpn` knows those of the link.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Interface
from typing import Any

from tmelink import values
from tmelink.elements.host_interfaces import device_options
from tmelink.elements.host_interfaces.device_options import MTU, SCRIPT, DeviceOption
from tmelink.elements.host_interfaces.tap import Tap
from tmelink.source import Place, Report, Word


class OpenvpnTap(Tap):
    """`tme/host/openvpn/tap`, `tme/host/openvpn/tun/tap`: a TAP with OpenVPN's options."""

    example = """\
tap0: tme/host/openvpn/tap --dev tap0 --ifconfig 10.0.77.1 255.255.255.0
link0 at tap0: tme/host/openvpn/socket/link --dev tap --local 192.0.2.1 --remote 192.0.2.2
"""

    @classmethod
    def parse(cls, words: Sequence[Word], place: Place, report: Report) -> Tap.Arguments | None:
        """Read `words` as OpenVPN's command line; every mistake is reported with the word it concerns."""
        settings = device_options.read(_OPTIONS, "tap", words, place, report)
        return None if settings is None else Tap.Arguments(**settings)

    @classmethod
    def usage(cls, module: str) -> str:
        """The options in one line."""
        return device_options.usage(_OPTIONS, "tap", module)

    @classmethod
    def reference(cls) -> list[tuple[str, str]]:
        """A row for each option."""
        return device_options.reference(_OPTIONS)


def _ifconfig(parameters: list[str]) -> dict[str, Any]:
    return {"inet": IPv4Interface((values.ipv4(parameters[0]), values.netmask(parameters[1])))}


_OPTIONS = {
    **device_options.common("tap"),
    "ifconfig": DeviceOption(("ADDR", "MASK"), "its IPv4 address and netmask", _ifconfig, least=2),
    "ifconfig-ipv6": DeviceOption(
        ("ADDR/BITS", "PEER"),
        "its IPv6 address; a TAP ignores the peer's",
        device_options.ifconfig_ipv6,
        least=1,
    ),
    "tun-ipv6": DeviceOption((), "accepted without effect, as in OpenVPN since 2.4"),
    "lladdr": DeviceOption(
        ("MAC",),
        "the host's MAC address on it",
        lambda parameters: {"mac": values.unicast_mac(parameters[0])},
        least=1,
    ),
    "tun-mtu": MTU,
    "up": SCRIPT,
    "down": SCRIPT,
}

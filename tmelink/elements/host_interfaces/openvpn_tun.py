"""A TUN in OpenVPN's words: `--dev tun --ifconfig …` (openvpn(8)), read into the settings of a `Tun`.

Knows the options that concern the device; `tmelink.openvpn` knows those of the link.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Interface
from typing import Any

from tmelink import values
from tmelink.elements.host_interfaces import device_options
from tmelink.elements.host_interfaces.device_options import MTU, SCRIPT, DeviceOption
from tmelink.elements.host_interfaces.tun import Tun
from tmelink.source import Mistake, Place, Report, Word


class OpenvpnTun(Tun):
    """`tme/host/openvpn/tun`, `tme/host/openvpn/tun/tun`: a TUN with OpenVPN's options."""

    example = """\
tun0: tme/host/openvpn/tun --dev tun0 --ifconfig 10.8.0.1 10.8.0.2
link0 at tun0: tme/host/openvpn/socket/link --dev tun --local 192.0.2.1 --remote 192.0.2.2
"""

    @classmethod
    def parse(cls, words: Sequence[Word], place: Place, report: Report) -> Tun.Arguments | None:
        """Read `words` as OpenVPN's command line; every mistake is reported with the word it concerns."""
        settings = device_options.read(_OPTIONS, "tun", words, place, report)
        if settings is None:
            return None
        try:
            settings.update(_laid_out(settings.pop("ifconfig", None), settings.pop("topology", "net30")))
        except ValueError as error:
            where = next((word.place for word in words if word.text == "--ifconfig"), place)
            report(Mistake(where, f"--ifconfig: {error}"))
            return None
        return Tun.Arguments(**settings)

    @classmethod
    def usage(cls, module: str) -> str:
        """The options in one line."""
        return device_options.usage(_OPTIONS, "tun", module)

    @classmethod
    def reference(cls) -> list[tuple[str, str]]:
        """A row for each option."""
        return device_options.reference(_OPTIONS)


def _laid_out(ifconfig: list[str] | None, topology: str) -> dict[str, Any]:
    """The address that --ifconfig gives under a --topology: with its network, or with its peer."""
    if ifconfig is None:
        return {}
    own = values.ipv4(ifconfig[0])
    if topology == "subnet":
        return {"inet": IPv4Interface((own, values.netmask(ifconfig[1])))}
    return {"inet": own, "peer": values.ipv4(ifconfig[1])}


def _topology(parameters: list[str]) -> dict[str, Any]:
    return {"topology": values.choice("net30", "p2p", "subnet")(parameters[0])}


_OPTIONS = {
    **device_options.common("tun"),
    "ifconfig": DeviceOption(
        ("ADDR", "PEER|MASK"),
        "its IPv4 address and the other end's, or with --topology subnet the netmask",
        lambda parameters: {"ifconfig": parameters},
        least=2,
    ),
    "topology": DeviceOption(
        ("net30|p2p|subnet",), "whether --ifconfig names a peer or a netmask (net30)", _topology, least=1
    ),
    "ifconfig-ipv6": DeviceOption(
        ("ADDR/BITS", "PEER"),
        "its IPv6 address; the peer's is in its network",
        device_options.ifconfig_ipv6,
        least=1,
    ),
    "tun-ipv6": DeviceOption((), "accepted without effect, as in OpenVPN since 2.4"),
    "tun-mtu": MTU,
    "up": SCRIPT,
    "down": SCRIPT,
}

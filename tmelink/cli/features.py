"""What `tmelink --version` says: the build, the kernel's offloads, and which extras are installed."""

from __future__ import annotations

import fcntl
import json
import platform
import re
import socket
import ssl
import struct
import sys
from importlib import metadata
from pathlib import Path

from tmelink.transport.udp_offload import UDP_GRO, UDP_SEGMENT

_TUNGETFEATURES = 0x800454CF
_IFF_MULTI_QUEUE, _IFF_VNET_HDR = 0x0100, 0x4000  # linux/if_tun.h

DEVELOPMENT = {"bench", "docs", "fuzz", "lint", "test"}
"""Extras for those who work on tmelink, which no installation needs."""


def version_text() -> str:
    """The version, and a line each for the build, the system, the kernel's offloads and the extras."""
    rows = {
        "build": build(),
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}, {ssl.OPENSSL_VERSION}",
        "kernel": _words(kernel()),
        "extras": _words(extras()),
    }
    width = max(map(len, rows))
    lines = [f"{name + ':':<{width + 1}}  {text}" for name, text in rows.items()]
    return "\n".join([f"tmelink {metadata.version('tmelink')}", *lines])


def build() -> str:
    """Where the program is, and whether that is a checkout."""
    folder = Path(__file__).parent.parent
    try:
        origin = json.loads(metadata.distribution("tmelink").read_text("direct_url.json") or "{}")
    except ValueError:
        origin = {}
    editable = origin.get("dir_info", {}).get("editable", False)
    return f"{'checkout' if editable else 'installed'} in {folder}"


def kernel() -> dict[str, bool]:
    """The work that this kernel takes over from tmelink; each missing feature costs speed."""
    return {
        "UDP segmentation": _udp(UDP_SEGMENT, 0),
        "UDP receive offload": _udp(UDP_GRO, 1),
        **dict.fromkeys(("TAP super-frames", "TAP queues"), False),
        **_tap(),
    }


def _udp(option: int, value: int) -> bool:
    if sys.platform != "linux":
        return False
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        try:
            probe.setsockopt(socket.IPPROTO_UDP, option, value)
        except OSError:
            return False
    return True


def _tap() -> dict[str, bool]:
    try:
        with open("/dev/net/tun", "rb", buffering=0) as device:
            (flags,) = struct.unpack("=I", fcntl.ioctl(device, _TUNGETFEATURES, b"\0\0\0\0"))
    except OSError:
        return {}
    return {"TAP super-frames": bool(flags & _IFF_VNET_HDR), "TAP queues": bool(flags & _IFF_MULTI_QUEUE)}


def extras() -> dict[str, bool]:
    """Each extra of an installation, and whether everything that it names is installed."""
    found: dict[str, bool] = {}
    for line in metadata.requires("tmelink") or ():
        if extra := re.search(r"""extra\s*==\s*['"]([\w-]+)['"]""", line):
            name = re.match(r"[\w.-]+", line)
            if name is not None and extra[1] not in DEVELOPMENT:
                found[extra[1]] = found.get(extra[1], True) and _installed(name[0])
    return dict(sorted(found.items()))


def _installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _words(features: dict[str, bool]) -> str:
    have = [name for name, there in features.items() if there]
    lack = [name for name, there in features.items() if not there]
    return ", ".join([*have, *(f"no {name}" for name in lack)])

"""TAP and TUN devices: opens one, with super-frames where wanted and possible.

This module knows the character device and its ioctls (Documentation/networking/tuntap.rst, linux/if_tun.h).
`tmelink.system.interfaces` sets addresses and link state.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
from typing import Any

from tmelink.errors import ElementError, MissingCapability, UnsupportedHere
from tmelink.frame import Kind
from tmelink.offload.virtio import HEADER
from tmelink.system import interfaces
from tmelink.system.namespaces import require_linux

DEVICE = "/dev/net/tun"

MAX_PACKET = 65_536
"""Bytes of the longest super-frame that the kernel builds unless asked for less (GSO_LEGACY_MAX_SIZE)."""

MAX_READ = 65_664
"""Bytes that hold any frame: a 64 KiB packet (the kernel's GSO_LEGACY_MAX_SIZE) and its headers, in whole
cache lines."""

_TUNSETOFFLOAD = 0x400454D0
_TUNSETVNETHDRSZ = 0x400454D8
_CHECKSUM, _TSO4, _TSO6, _USO4, _USO6 = 0x01, 0x02, 0x04, 0x20, 0x40  # TUN_F_*
_OFFLOADS = (
    # UDP segmentation came with Linux 6.2; both versions are asked for together or not at all.
    _CHECKSUM | _TSO4 | _TSO6 | _USO4 | _USO6,
    _CHECKSUM | _TSO4 | _TSO6,
)


class TapDevice:
    """An open TAP or TUN: its non-blocking descriptor and its properties.

    `created` says whether the interface was created with the descriptor and ends with it; `offload` whether
    every frame read and written starts with a virtio_net_hdr of `HEADER` bytes.
    """

    def __init__(
        self, device: Any, *, created: bool, offload: bool, kind: Kind = "ethernet", features: int = 0
    ) -> None:
        self._device = device
        self._kind: Kind = kind
        self.features = features
        """Flags that the interface had before, where it was found."""
        self.descriptor: int = device.fileno()
        self.name: str = device.name
        self.created = created
        self.offload = offload

    def close(self) -> None:
        """Close it: an interface that was created disappears, one that existed stays as it was."""
        if self.offload and not self.created:
            # The features outlive the descriptor: the next user, who may know no virtio_net_hdr, would be
            # given super-frames without their labels.
            with contextlib.suppress(OSError):  # it has been removed meanwhile
                _ioctl(self.descriptor, _TUNSETOFFLOAD, 0)
        self._device.close()
        if not self.created:
            set_features(self.name, self._kind, self.features)


def open_tap(name: str | None, *, offload: bool, kind: Kind = "ethernet") -> TapDevice:
    """Create the TAP `name` (None: the kernel's next tapN) or attach to a persistent one.

    With `kind` "ip" it is a TUN (tunN), which carries IP packets without a header before them. Synchronous,
    and of the calling thread's namespace. Raises `MissingCapability`, and `ElementError` if the name is
    taken by something else, another process holds the device, or the host has no such devices.
    """
    word = "tun" if kind == "ip" else "tap"
    what = word.upper()
    require_linux(f"a {what}")
    try:
        import pytun
    except ImportError as error:
        raise UnsupportedHere(f"the package python-pytun is missing ({error})") from error
    found = interfaces.show(name) if name is not None else None
    if found is not None and found.tuntap != word:
        other = found.tuntap.upper() or found.kind or "network card"
        raise ElementError(
            f"{name} exists and is not a {what} but a {other}; give another 'interface' name, or remove it "
            f"with 'ip link del {name}'"
        )
    flags = (
        (pytun.IFF_TUN if kind == "ip" else pytun.IFF_TAP)
        | pytun.IFF_NO_PI
        | (pytun.IFF_VNET_HDR if offload else 0)
    )
    # A persistent TAP made for several queues takes only a queue, and one is enough.
    variants = (flags,) if found is None else (flags, flags | pytun.IFF_MULTI_QUEUE)
    for variant in variants:
        try:
            # "tap%d" because the driver's own default is the same for all its kinds.
            device = pytun.TunTapDevice(name or f"{word}%d", flags=variant)
        except OSError as error:
            if error.errno == errno.EINVAL and variant is not variants[-1]:
                continue
            raise _explained(name, word, error) from error
        break
    try:
        os.set_blocking(device.fileno(), False)
        os.set_inheritable(device.fileno(), False)
        if offload:
            _take_super_frames(device.fileno())
    except OSError as error:
        device.close()
        raise ElementError(
            f"the {what} {device.name} takes no super-frames here ({error.strerror}); add 'offload off'"
        ) from error
    return TapDevice(
        device,
        created=found is None,
        offload=offload,
        kind=kind,
        features=0 if found is None else found.features,
    )


def set_features(name: str, kind: Kind, features: int) -> None:
    """Give a persistent TAP or TUN back the flags that it had before somebody attached to it.

    Harmless where it is gone, or has somebody else attached to it, who sets flags of his own.
    """
    import pytun

    found = interfaces.show(name)
    if found is None or found.features == features:
        return
    with contextlib.suppress(OSError):
        pytun.TunTapDevice(name, flags=features | (pytun.IFF_TUN if kind == "ip" else pytun.IFF_TAP)).close()


def _take_super_frames(descriptor: int) -> None:
    """Ask for unfinished checksums and uncut segments; pytun has no call for either ioctl."""
    # A TAP that was found may have been left with the longer header of another program.
    _ioctl(descriptor, _TUNSETVNETHDRSZ, struct.pack("i", HEADER))
    for offloads in _OFFLOADS:
        try:
            _ioctl(descriptor, _TUNSETOFFLOAD, offloads)
            return
        except OSError as error:
            if error.errno != errno.EINVAL or offloads == _OFFLOADS[-1]:
                raise


def _ioctl(descriptor: int, request: int, argument: int | bytes) -> None:
    # Imported here: there is none on Windows, where a file with a TAP can still be checked.
    import fcntl

    fcntl.ioctl(descriptor, request, argument)


def _explained(name: str | None, word: str, error: OSError) -> ElementError:
    what = f"opening the {word.upper()} {name or DEVICE}"
    if error.errno in (errno.EPERM, errno.EACCES):
        made = name or f"{word}0"
        return MissingCapability(
            what,
            "CAP_NET_ADMIN",
            f"have root make it for you: 'ip tuntap add {made} mode {word} user NAME' and "
            f"'ip link set {made} up'; then write 'interface {made}'",
        )
    if error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO):
        return ElementError(
            f"{what}: this host has no {DEVICE}; 'modprobe tun' creates it; a container needs "
            f"'--device {DEVICE}'"
        )
    if error.errno == errno.EBUSY:
        return ElementError(f"{what}: another program has it open. {_beside(name or f'{word}0', word)}")
    return ElementError(f"{what}: {error.strerror or error}")


def _beside(name: str, word: str) -> str:
    """What to write where an emulator has opened the interface itself."""
    if word == "tun":
        return "Stop that program, or give another 'interface'"
    return (
        f"If that is an emulator, join its interface: write 'tme/host/bsd/bpf interface {name}' in place of "
        "the TAP, or give this TAP another 'interface' and put both into one bridge with 'bridge br0'"
    )

"""The systemd unit of a lab: as little of the host as the elements in its file need."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tmelink.machine import CheckedMachine

WATCHDOG_SECONDS = 30
"""A loop that has not run for this long is stuck."""

_PROGRAMS = ("tmelink/qemu", "tmelink/process", "tmelink/passt")
_NETWORK = ("tmelink/netns",)
_ROUTER = ("nat", "forward", "proxy_arp")
"""Arguments of a TAP or TUN that change settings below /proc/sys."""


def unit(
    machine: CheckedMachine,
    file: Path,
    name: str,
    host: str | None,
    *,
    python: str = sys.executable,
    metrics: str | None = None,
    keys: str | None = None,
) -> str:
    """The text of a lab's unit; `python` is the interpreter that runs it, `file` its machine file there.

    `keys` is a folder of keys beside the file, of which systemd gives the lab copies.

    With `host` it is for that host's part of the file, whichever parts `machine` has.
    """
    command = [python, "-m", "tmelink", "run", "--name", name]
    command += ["--host", host] if host is not None else []
    command += ["--metrics", metrics] if metrics is not None else []
    paths = [path for path in machine.modules if host is None or machine.homes.get(path, host) == host]
    return "\n".join(_lines(machine, paths, file, name, [*command, str(file)], keys)) + "\n"


def _lines(
    machine: CheckedMachine,
    paths: Sequence[str],
    file: Path,
    name: str,
    command: list[str],
    keys: str | None,
) -> Iterator[str]:
    modules = {machine.modules[path] for path in paths}
    arguments = [machine.elements[path].arguments for path in paths if path in machine.elements]
    programs = any(module.startswith(_PROGRAMS) for module in modules)
    namespaces = bool(modules & set(_NETWORK))
    routes = any(getattr(each, setting, None) for each in arguments for setting in _ROUTER)
    tls = any(getattr(each, "tls", None) or getattr(each, "awaits_keys", False) for each in arguments)
    yield f"""\
[Unit]
Description=tmelink lab {name}
Documentation=man:systemd.exec(5)
Wants=network-online.target
After=network-online.target

[Service]
Type=notify
NotifyAccess=main
ExecStart={" ".join(map(_quoted, command))}
ExecReload=/bin/kill -HUP $MAINPID
WorkingDirectory={file.parent}
WatchdogSec={WATCHDOG_SECONDS}
Restart=on-failure
RuntimeDirectory=tmelink
RuntimeDirectoryMode=0700
RuntimeDirectoryPreserve=yes"""
    if keys is not None:
        # A folder: with new keys the unit stays the same, and the lab need not restart.
        yield f"LoadCredential={keys}:{file.parent / keys}"
    yield """
# What its elements need.
DeviceAllow=/dev/net/tun rw"""
    if programs:
        yield "DeviceAllow=/dev/kvm rw"
        yield "DeviceAllow=char-pts rw"
    capabilities = ["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_NET_BIND_SERVICE"]
    if namespaces:
        capabilities.append("CAP_SYS_ADMIN")
    yield f"CapabilityBoundingSet={' '.join(capabilities)}"
    yield "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK AF_PACKET"
    if namespaces:
        yield "RestrictNamespaces=net mnt"
        yield "SystemCallFilter=@system-service @mount"
        yield "ReadWritePaths=-/run/netns"
    else:
        yield "RestrictNamespaces=yes"
        yield "SystemCallFilter=@system-service"
        yield "SystemCallFilter=~@privileged @resources" if not programs else "SystemCallFilter=~@privileged"
        # With capset it gives up what it no longer needs, once everything is open.
        yield "SystemCallFilter=capset"
        yield "SystemCallFilter=@setuid" if programs else "PrivateMounts=yes"
    if not routes:
        yield "ProtectKernelTunables=yes"
    if not programs and not tls:
        # An emulator makes code as it runs, and so does the TLS library for its callbacks.
        yield "MemoryDenyWriteExecute=yes"
    yield f"""
# And nothing else of the host.
DevicePolicy=closed
KeyringMode=private
LockPersonality=yes
NoNewPrivileges=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome={"read-only" if _at_home(file, command[0]) else "yes"}
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectProc=invisible
ProtectSystem=strict
RemoveIPC=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
UMask=0077

[Install]
WantedBy=multi-user.target"""


def _at_home(file: Path, python: str) -> bool:
    """Whether the file, or the Python that runs it, is in somebody's home directory."""
    homes = ("/home/", "/root/", "/run/user/")
    here = (sys.prefix,) if python == sys.executable else ()
    return any(os.path.realpath(path).startswith(homes) for path in (file, python, *here))


def _quoted(word: str) -> str:
    """A word of ExecStart, as systemd.service(5) has it under "Command lines"."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if any(c in escaped for c in " \t'\";") else escaped

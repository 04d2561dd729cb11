"""Kernel settings below /proc/sys that are changed for a while, and restored when no process needs them.

Several processes may need the same setting: the one that ends last restores the value from before the first.
Names are paths, such as net/ipv4/conf/eth0/forwarding. Everything happens in the calling thread's namespace.
"""

from __future__ import annotations

from pathlib import Path

from tmelink.errors import ElementError, MissingCapability
from tmelink.routing.plan import SysctlSetting
from tmelink.system.journal import Entry, Journal, others

ROOT = Path("/proc/sys")


def read(name: str) -> str | None:
    """A setting's value; None if there is none of that name."""
    try:
        return (ROOT / name).read_text().strip()
    except OSError:
        return None


def change(setting: SysctlSetting, journal: Journal) -> Entry | None:
    """Set it; returns the entry that undoes it, or None if nothing needs restoring."""
    before = _before(setting)
    if setting.name not in before:
        raise ElementError(_missing(setting.name))
    if before[setting.name] == setting.value:
        shared = next((e for e in _held(journal) if e[1] == setting.name), None)
        if shared is None:
            return None
        before = shared[3]
    entry: Entry = ["sysctl", setting.name, setting.value, before]
    journal.note(entry)
    if read(setting.name) != setting.value:
        write(setting.name, setting.value)
    return entry


def _missing(name: str) -> str:
    if not (ROOT / name).parent.exists():
        return f"there is no interface {(ROOT / name).parent.name}"
    return f"this kernel has no setting {name.replace('/', '.')}"


def restore(entry: Entry, journal: Journal | None) -> None:
    """Restore what `change` changed, unless another process needs it or it has been changed since."""
    _kind, name, value, before = entry
    if read(name) != value or any(e[1] == name for e in _held(journal)):
        return
    write(name, before[name])
    for other, old in before.items():
        now = read(other)
        if now is not None and now != old:
            write(other, old)


def _held(journal: Journal | None) -> list[Entry]:
    """The settings that other processes, or other interfaces of this one, have changed."""
    own = None if journal is None else journal.path
    return [entry for _path, entries, _left in others(own) for entry in entries if entry[0] == "sysctl"]


def _before(setting: SysctlSetting) -> dict[str, str]:
    """The present values; for a setting that reaches all interfaces, theirs too."""
    names = [setting.name]
    if setting.wide:
        *_, family, conf, _which, leaf = setting.name.split("/")
        names += [
            f"net/{family}/{conf}/{path.name}/{leaf}"
            for path in sorted((ROOT / "net" / family / conf).iterdir())
        ]
    values = {name: read(name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def write(name: str, value: str) -> None:
    """Set it permanently; raises `ElementError`."""
    try:
        (ROOT / name).write_text(value)
    except FileNotFoundError as error:
        raise ElementError(_missing(name)) from error
    except PermissionError as error:
        raise MissingCapability(f"setting {name.replace('/', '.')}={value}", "CAP_NET_ADMIN") from error
    except OSError as error:
        raise ElementError(f"setting {name.replace('/', '.')}={value}: {error.strerror}") from error

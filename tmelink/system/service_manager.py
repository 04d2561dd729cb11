"""The notification protocol of systemd's service manager (sd_notify(3)): READY, STATUS, WATCHDOG and so on.

Nothing is sent where nobody asked for it, which is what the environment says.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time


class ServiceManager:
    """Whoever started this process as a service; `watchdog` is in seconds, None if none is wanted."""

    def __init__(self, address: str | None = None, watchdog: float | None = None) -> None:
        self._address = "\0" + address[1:] if address is not None and address.startswith("@") else address
        self.watchdog = watchdog

    @classmethod
    def from_environment(cls) -> ServiceManager:
        """As NOTIFY_SOCKET and WATCHDOG_USEC name it; they are taken away, for programs that are started."""
        address = os.environ.pop("NOTIFY_SOCKET", None)
        microseconds = os.environ.pop("WATCHDOG_USEC", "")
        pid = os.environ.pop("WATCHDOG_PID", "")
        meant = pid in ("", str(os.getpid()))
        watchdog = int(microseconds) / 1e6 if microseconds.isdigit() and meant else None
        return cls(address, watchdog or None)

    @property
    def present(self) -> bool:
        """Whether there is one."""
        return self._address is not None

    def tell(self, *lines: str) -> None:
        """Send assignments such as `READY=1`; one that cannot be sent is left out."""
        if self._address is None:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto("\n".join(lines).encode(), self._address)

    def ready(self, status: str) -> None:
        """The service has started, or has read its configuration again."""
        self.tell("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """The service reads its configuration again."""
        self.tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

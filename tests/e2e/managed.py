"""OpenVPN servers that a test speaks to through their management interface (doc/management-notes.txt)."""

from __future__ import annotations

import base64
import contextlib
import re
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.e2e.secured import Site
from tests.support.aio import TIMEOUT
from tests.support.netns import Namespace, Process

UP = "Initialization Sequence Completed"


class Management:
    """The console of one server: commands go out, and lines that begin with `>` are kept or answered."""

    def __init__(self, path: Path, answer: Callable[[str], str | None] | None = None) -> None:
        self.lines: list[str] = []
        self._answer = answer
        self._more = threading.Condition()
        self._socket = socket.socket(socket.AF_UNIX)
        until = time.monotonic() + TIMEOUT
        while True:
            try:
                self._socket.connect(str(path))
                break
            except OSError:
                assert time.monotonic() < until, f"{path} is not there"
                time.sleep(0.02)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError), self._socket.makefile("r") as lines:
            for line in lines:
                reply = self._answer(line.strip()) if self._answer is not None else None
                if reply:
                    self.tell(reply)
                with self._more:
                    self.lines.append(line.strip())
                    self._more.notify_all()

    def tell(self, command: str) -> None:
        self._socket.sendall(command.encode() + b"\n")

    def expect(self, pattern: str, since: int = 0) -> str:
        """The first line from number `since` on that matches."""
        found: list[str] = []

        def there() -> bool:
            found.extend(line for line in self.lines[since:] if re.search(pattern, line))
            return bool(found)

        with self._more:
            assert self._more.wait_for(there, TIMEOUT), f"no '{pattern}' in {self.lines}"
        return found[0]

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(TIMEOUT)
        self._socket.close()


class Managed:
    """An OpenVPN server in tun mode with its console; `deny`, while set, is what it refuses clients with."""

    def __init__(
        self,
        site: Site,
        here: Namespace,
        name: str,
        options: str = "",
        *,
        push: Sequence[str] = (),
        judged: bool = False,
        program: str = "openvpn",
    ) -> None:
        self.deny: str | None = None
        self.question: str | None = None
        """What a client is asked before it may join (client-pending-auth), instead of being taken at once."""
        self.answered: list[str] = []
        self.name = name
        path = site.net.directory / f"{name}.console"
        judge = "--management-client-auth --auth-user-pass-optional" if judged else ""
        self.process: Process = here.start(
            program, "--verb", "3", "--dev", "tun0", "--server", "10.8.0.0", "255.255.255.0",
            "--topology", "subnet", "--dh", "none", "--keepalive", "1", "20",
            "--management", str(path), "unix",
            *judge.split(), *site.identity(name, "server").split(), *options.split(),
            *(word for option in push for word in ("--push", option)),
        )  # fmt: skip
        self.console = Management(path, self._judge if judged else None)
        self.process.expect(UP)

    def _judge(self, line: str) -> str | None:
        if answer := re.match(r">CLIENT:CR_RESPONSE,(\d+),(\d+),(.*)", line):
            self.answered.append(base64.b64decode(answer[3]).decode())
            return f"client-auth-nt {answer[1]} {answer[2]}"
        asked = re.match(r">CLIENT:(?:CONNECT|REAUTH),(\d+),(\d+)", line)
        if asked is None:
            return None
        if self.question is not None:
            return f'client-pending-auth {asked[1]} {asked[2]} "{self.question}" 30'
        if self.deny is None:
            return f"client-auth-nt {asked[1]} {asked[2]}"
        return f'client-deny {asked[1]} {asked[2]} "busy" "{self.deny}"'

    def close(self) -> None:
        self.console.close()

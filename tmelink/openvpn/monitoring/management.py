"""OpenVPN's management interface, the part that looks and ends sessions: lines in, lines out, no I/O.

As in OpenVPN 2.6, doc/management-notes.txt. What changes how the program runs is answered as OpenVPN answers
what it does not know.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from tmelink.openvpn.monitoring.status import Snapshot, status

LOG_LINES = 250
"""Remembered for `log`, as OpenVPN's --management-log-cache does unless told otherwise."""

MAX_LINE = 1024
"""Bytes of a command, as in OpenVPN; a longer one ends the connection."""

SIGNALS = ("SIGHUP", "SIGTERM", "SIGUSR1", "SIGUSR2")

HELP = """\
Management Interface for tmelink, after OpenVPN's
Commands:
bytecount n            : Show bytes in/out, update every n secs (0=off).
exit|quit              : Close management session.
help                   : Print this message.
hold                   : Show current state of hold flag, which is off.
kill cn                : Kill the client instance(s) having common name cn.
kill IP:port           : Kill the client instance connecting from IP:port.
load-stats             : Show global server load stats.
log [on|off] [N|all]   : Turn on/off realtime log display
                         + show last N lines or 'all' for entire history.
pid                    : Show process ID of the current process.
signal s               : Send signal s: SIGHUP and SIGUSR1 restart, SIGTERM ends.
state [on|off] [N|all] : Like log, but show state history.
status [n]             : Show current daemon status info using format #n.
version                : Show current version number."""


class LogLine(NamedTuple):
    """A line for `log`; `flags` are I, W, N (error) or D."""

    time: float
    flags: str
    text: str


class ManagedElement(Protocol):
    """The link or server that is managed."""

    def snapshot(self) -> Snapshot:
        """It, at this moment."""

    def kill(self, client: str) -> int:
        """End the sessions of a common name or an ADDRESS:PORT; how many there were."""

    def signal(self, name: str) -> None:
        """Restart, or end with SIGTERM."""


class Management:
    """One connection. `version` and `pid` are the program's; `password` is asked for where there is one."""

    def __init__(
        self,
        subject: ManagedElement,
        version: str,
        pid: int,
        history: deque[LogLine],
        password: str | None = None,
    ) -> None:
        self.over = False
        self.byte_count = 0
        """Seconds between two lines on bytes, 0 for none."""
        self._subject = subject
        self._version = version
        self._pid = pid
        self._history = history
        self._password = password
        self._log = False
        self._state = False
        self._tries = 0
        self._commands: dict[str, Callable[[list[str]], Iterator[str]]] = {
            "bytecount": self._bytecount,
            "help": lambda words: iter([*HELP.splitlines(), "END"]),
            "hold": lambda words: iter(["SUCCESS: hold=0"]),
            "kill": self._kill,
            "load-stats": self._load_stats,
            "log": self._logged,
            "pid": lambda words: iter([f"SUCCESS: pid={self._pid}"]),
            "signal": self._signal,
            "state": self._states,
            "status": self._status,
            "version": self._tell_version,
        }

    def greeting(self) -> str:
        """What is said first; a question for the password has no line end."""
        return "ENTER PASSWORD:" if self._password is not None else self._hello()

    def _hello(self) -> str:
        return ">INFO:OpenVPN Management Interface Version 5 -- type 'help' for more info\r\n"

    def receive(self, line: str) -> str:
        """The answer to a command, with its line ends."""
        if self._password is not None:
            return self._enter(line.rstrip("\r\n"))
        words = line.split()
        if not words:
            return ""
        if words[0] in ("exit", "quit"):
            self.over = True
            return ""
        command = self._commands.get(words[0])
        if command is None:
            return "ERROR: unknown command, enter 'help' for more options\r\n"
        return "".join(f"{said}\r\n" for said in command(words[1:]))

    def logged(self, line: LogLine) -> str:
        """What is said without being asked when something is logged."""
        return f">LOG:{int(line.time)},{line.flags},{line.text}\r\n" if self._log else ""

    def changed(self) -> str:
        """What is said without being asked when the state changes."""
        return f">STATE:{_state(self._subject.snapshot())}\r\n" if self._state else ""

    def bytes(self) -> str:
        """What is said every `byte_count` seconds."""
        snapshot = self._subject.snapshot()
        if snapshot.clients is None:
            return f">BYTECOUNT:{snapshot.wire_read},{snapshot.wire_written}\r\n"
        return "".join(
            f">BYTECOUNT_CLI:{client.number},{client.bytes_received},{client.bytes_sent}\r\n"
            for client in snapshot.clients
        )

    def _enter(self, password: str) -> str:
        if password == self._password:
            self._password = None
            return f"SUCCESS: password is correct\r\n{self._hello()}"
        self._tries += 1
        # As OpenVPN: three wrong ones, and that was it.
        self.over = self._tries >= 3
        return "ERROR: bad password\r\n" + ("" if self.over else "ENTER PASSWORD:")

    def _tell_version(self, words: list[str]) -> Iterator[str]:
        yield f"OpenVPN Version: {self._version}"
        yield "Management Version: 5"
        yield "END"

    def _status(self, words: list[str]) -> Iterator[str]:
        version = words[0] if words else "1"
        if version not in ("1", "2", "3"):
            yield "ERROR: status format must be 1, 2 or 3"
            return
        yield from status(self._subject.snapshot(), int(version))

    def _states(self, words: list[str]) -> Iterator[str]:
        if words and words[0] in ("on", "off"):
            self._state = words[0] == "on"
            yield f"SUCCESS: real-time state notification set to {words[0].upper()}"
            words = words[1:]
            if not words:
                return
        yield _state(self._subject.snapshot())
        yield "END"

    def _logged(self, words: list[str]) -> Iterator[str]:
        if words and words[0] in ("on", "off"):
            self._log = words[0] == "on"
            yield f"SUCCESS: real-time log notification set to {words[0].upper()}"
            words = words[1:]
            if not words:
                return
        if not words or not (words[0] == "all" or words[0].isdecimal()):
            yield "ERROR: log command needs on, off, all or a number"
            return
        count = len(self._history) if words[0] == "all" else min(int(words[0][:9]), len(self._history))
        for line in list(self._history)[len(self._history) - count :]:
            yield f"{int(line.time)},{line.flags},{line.text}"
        yield "END"

    def _bytecount(self, words: list[str]) -> Iterator[str]:
        if len(words) != 1 or not words[0].isdecimal() or int(words[0][:9]) > 86400:
            yield "ERROR: bytecount needs a number of seconds"
            return
        self.byte_count = int(words[0])
        yield "SUCCESS: bytecount interval changed"

    def _load_stats(self, words: list[str]) -> Iterator[str]:
        snapshot = self._subject.snapshot()
        clients = len(snapshot.clients or ())
        yield f"SUCCESS: nclients={clients},bytesin={snapshot.wire_read},bytesout={snapshot.wire_written}"

    def _kill(self, words: list[str]) -> Iterator[str]:
        if self._subject.snapshot().clients is None:
            yield "ERROR: The 'kill' command is not supported by the current daemon mode"
            return
        if len(words) != 1:
            yield "ERROR: kill needs a common name or IP:port"
            return
        count = self._subject.kill(words[0])
        what = f"client at address {words[0]}" if ":" in words[0] else f"common name '{words[0]}'"
        yield f"SUCCESS: {what} found, {count} client(s) killed" if count else f"ERROR: {what} not found"

    def _signal(self, words: list[str]) -> Iterator[str]:
        if len(words) != 1 or words[0] not in SIGNALS:
            yield f"ERROR: signal is one of {', '.join(SIGNALS)}"
            return
        if words[0] != "SIGUSR2":
            self._subject.signal(words[0])
        yield f"SUCCESS: signal {words[0]} thrown"


def _state(snapshot: Snapshot) -> str:
    reason = snapshot.reason.replace(",", ";")
    fields = (snapshot.state, reason, snapshot.ipv4, *snapshot.remote, *snapshot.local, snapshot.ipv6)
    return ",".join((str(int(snapshot.since)), *fields))

"""The status file and the management interface, as monitors of OpenVPN read them."""

from __future__ import annotations

import time
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fuzzing import examples
from tmelink.openvpn.monitoring.management import LogLine, Management
from tmelink.openvpn.monitoring.status import ConnectedClient, Snapshot, status

NOW = 1_700_000_000.0

CLIENT = ConnectedClient(
    number=0, name="laptop", username="", address="192.0.2.7:41194", ipv4="10.8.0.2", ipv6="",
    inside=("10.8.0.2", "fd00::2"), bytes_received=1000, bytes_sent=2000, since=NOW - 60,
    cipher="AES-256-GCM",
)  # fmt: skip
SERVER = Snapshot(
    "OpenVPN 2.6.0", NOW, "CONNECTED", NOW - 100, "SUCCESS", wire_read=5, wire_written=6, clients=(CLIENT,)
)
LINK = Snapshot(
    "OpenVPN 2.6.0", NOW, "CONNECTED", NOW - 100, "SUCCESS",
    remote=("192.0.2.1", "1194"), tun_read=1, tun_written=2, wire_read=3, wire_written=4,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def test_a_links_status_has_openvpns_counters() -> None:
    assert status(LINK, 1) == [
        "OpenVPN STATISTICS",
        "Updated,2023-11-14 22:13:20",
        "TUN/TAP read bytes,1",
        "TUN/TAP write bytes,2",
        "TCP/UDP read bytes,3",
        "TCP/UDP write bytes,4",
        "Auth read bytes,3",
        "END",
    ]


def test_a_servers_status_in_the_first_form() -> None:
    assert status(SERVER, 1) == [
        "OpenVPN CLIENT LIST",
        "Updated,2023-11-14 22:13:20",
        "Common Name,Real Address,Bytes Received,Bytes Sent,Connected Since",
        "laptop,192.0.2.7:41194,1000,2000,2023-11-14 22:12:20",
        "ROUTING TABLE",
        "Virtual Address,Common Name,Real Address,Last Ref",
        "10.8.0.2,laptop,192.0.2.7:41194,2023-11-14 22:13:20",
        "fd00::2,laptop,192.0.2.7:41194,2023-11-14 22:13:20",
        "GLOBAL STATS",
        "Max bcast/mcast queue length,0",
        "END",
    ]


def test_the_second_form_has_commas_and_the_third_tabs() -> None:
    second, third = status(SERVER, 2), status(SERVER, 3)
    assert second[3] == (
        "CLIENT_LIST,laptop,192.0.2.7:41194,10.8.0.2,,1000,2000,"
        "2023-11-14 22:12:20,1699999940,UNDEF,0,0,AES-256-GCM"
    )
    assert third == [line.replace(",", "\t") for line in second]


class Managed:
    def __init__(self, snapshot: Snapshot) -> None:
        self.now = snapshot
        self.killed: list[str] = []
        self.signals: list[str] = []

    def snapshot(self) -> Snapshot:
        return self.now

    def kill(self, client: str) -> int:
        self.killed.append(client)
        return int(client in ("laptop", "192.0.2.7:41194"))

    def signal(self, name: str) -> None:
        self.signals.append(name)


def management(snapshot: Snapshot, password: str | None = None) -> tuple[Management, Managed]:
    managed = Managed(snapshot)
    history = deque([LogLine(NOW, "I", "one"), LogLine(NOW + 1, "W", "two, and more")])
    return Management(managed, "OpenVPN 2.6.0 compatible", 4711, history, password), managed


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("version", "OpenVPN Version: OpenVPN 2.6.0 compatible\r\nManagement Version: 5\r\nEND\r\n"),
        ("pid", "SUCCESS: pid=4711\r\n"),
        ("hold", "SUCCESS: hold=0\r\n"),
        ("load-stats", "SUCCESS: nclients=1,bytesin=5,bytesout=6\r\n"),
        ("state", "1699999900,CONNECTED,SUCCESS,,,,,,\r\nEND\r\n"),
        ("log 1", "1700000001,W,two, and more\r\nEND\r\n"),
        ("log all", "1700000000,I,one\r\n1700000001,W,two, and more\r\nEND\r\n"),
        ("log on", "SUCCESS: real-time log notification set to ON\r\n"),
        ("log", "ERROR: log command needs on, off, all or a number\r\n"),
        ("bytecount 5", "SUCCESS: bytecount interval changed\r\n"),
        ("bytecount x", "ERROR: bytecount needs a number of seconds\r\n"),
        ("kill laptop", "SUCCESS: common name 'laptop' found, 1 client(s) killed\r\n"),
        ("kill nobody", "ERROR: common name 'nobody' not found\r\n"),
        ("kill 192.0.2.7:41194", "SUCCESS: client at address 192.0.2.7:41194 found, 1 client(s) killed\r\n"),
        ("signal SIGUSR1", "SUCCESS: signal SIGUSR1 thrown\r\n"),
        ("signal SIGKILL", "ERROR: signal is one of SIGHUP, SIGTERM, SIGUSR1, SIGUSR2\r\n"),
        ("status 9", "ERROR: status format must be 1, 2 or 3\r\n"),
        ("nonsense", "ERROR: unknown command, enter 'help' for more options\r\n"),
        ("", ""),
    ],
)
def test_commands_are_answered_as_openvpn_answers(command: str, answer: str) -> None:
    assert management(SERVER)[0].receive(command) == answer


def test_a_password_is_asked_for_three_times() -> None:
    console, _ = management(SERVER, "secret")
    assert console.greeting() == "ENTER PASSWORD:"
    assert console.receive("wrong\r") == "ERROR: bad password\r\nENTER PASSWORD:"
    assert console.receive("secret\r").startswith("SUCCESS: password is correct\r\n>INFO:")
    assert console.receive("pid") == "SUCCESS: pid=4711\r\n"
    console, _ = management(SERVER, "secret")
    for _ in range(3):
        said = console.receive("pid")
    assert said == "ERROR: bad password\r\n"
    assert console.over


def test_what_is_followed_is_told_without_being_asked() -> None:
    console, _ = management(LINK)
    assert console.logged(LogLine(NOW, "I", "text")) == console.changed() == ""
    console.receive("log on")
    console.receive("state on")
    assert console.logged(LogLine(NOW, "I", "text")) == ">LOG:1700000000,I,text\r\n"
    assert console.changed() == ">STATE:1699999900,CONNECTED,SUCCESS,,192.0.2.1,1194,,,\r\n"
    assert console.bytes() == ">BYTECOUNT:3,4\r\n"
    assert management(SERVER)[0].bytes() == ">BYTECOUNT_CLI:0,1000,2000\r\n"


@examples(300)
@given(
    st.text(max_size=40)
    | st.builds(
        " ".join,
        st.lists(
            st.sampled_from(["log", "state", "status", "kill", "signal", "bytecount", "on", "all"])
            | st.text()
        ),
    )
)
def test_nothing_that_a_monitor_says_is_raised(line: str) -> None:
    for snapshot in (SERVER, LINK):
        console, _ = management(snapshot)
        console.receive(line)
        console.bytes()

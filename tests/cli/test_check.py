"""`tmelink check` for beginners: each common mistake has its place and its remedy, what is right none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tmelink.cli import main

HOST = "le0: tmelink/host inet 10.0.0.1/24\n"
PEER = HOST + "le1 at le0: tmelink/host inet 10.0.0.2/24\n"
LINK = HOST + "link0 at le0: tme/host/openvpn/socket/link "


def two_hosts(one: str, other: str) -> str:
    return (
        "host a address 10.0.0.1 {\nle0: tmelink/host inet 10.1.0.1/24\n"
        f"link0 at le0: tme/host/openvpn/socket/link --dev tap --local 10.0.0.1 --remote 10.0.0.2 {one}\n}}\n"
        "host b address 10.0.0.2 {\nle1: tmelink/host inet 10.1.0.2/24\n"
        f"k at le1: tme/host/openvpn/socket/link --dev tap --local 10.0.0.2 --remote 10.0.0.1 {other}\n}}\n"
    )


def checked(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """The exit code, and mistakes or warnings as `LINE:COLUMN message (hint)`."""
    path = tmp_path / "lab.conf"
    path.write_text(text)
    code = main(["check", "--json", str(path)])
    found = json.loads(capsys.readouterr().out)
    rows = [*found["mistakes"], *found.get("warnings", [])]
    return code, [f"{row['line']}:{row['column']} {row['message']} ({row['hint']})" for row in rows]


MISTAKES = [
    (
        "link0 at tap0: tme/host/openvpn/socket/link --dev tap\ntap0: tme/host/tun/tap\n",
        ["1:10 tap0 is used before it is created (it is created at", "move this below that line"],
    ),
    (
        # Another host has an element of that name too, in a machine of its own, and made earlier.
        "host a address 10.0.0.1 { machine m { sw0: tmelink/switch; } }\n"
        "host b address 10.0.0.2 {\nt at sw0: tmelink/host inet 10.0.0.2/24\nsw0: tmelink/switch\n}\n",
        ["3:6 sw0 is used before it is created (it is created at", ":4:1: move this below that line"],
    ),
    ("machine m {\nt at n: tmelink/host inet 10.0.0.1/24\nn: tmelink/switch\n}\n", ["2:6 n is used before"]),
    (
        # What cannot be meant is not suggested.
        "host a address 10.0.0.1 { sw0: tmelink/switch; }\n"
        "host b address 10.0.0.2 { t at sw1: tmelink/host inet 10.0.0.2/24; }\n",
        ["2:32 unknown element sw1 (None)"],
    ),
    (
        HOST
        + "a at le0: tme/host/openvpn/socket/link --dev tap --remote 10.0.0.8\n"
        + "b at le0: tme/host/openvpn/socket/link --dev tap --remote 10.0.0.9\n",
        ["3:6 le0 is already connected", "put a tmelink/switch between them"],
    ),
    ("le0 tmelink/host inet 10.0.0.1/24\n", ["1:34", "write 'le0: tmelink/host'"]),
    (LINK + "dev tap --remote 10.0.0.2\n", ["2:44 'dev' is not an option", "write --dev"]),
    (
        LINK + "-dev tap --remote 10.0.0.2\n",
        ["2:44 '-dev' is not an option", "one dash is too few: write --dev"],
    ),
    (LINK + "–dev tap --remote 10.0.0.2\n", ["2:44 unexpected '–'", "two plain dashes"]),
    (LINK + "--dev tap --remote 10.0.0.2:1194\n", ["2:63", "write them as two words, 10.0.0.2 1194"]),
    (
        HOST + "link0 at le0: tmelink/link --dev tap\n",
        ["2:15 unknown module", "tme/host/openvpn/socket/link"],
    ),
    ("sw0: switch\n", ["1:6 unknown module switch (did you mean tmelink/switch?)"]),
    ("le0: tmelink/host inet=10.0.0.1/24\n", ["1:19", "write 'inet 10.0.0.1/24', with a blank"]),
    (
        "sw0: tmelink/switch\nle1 mac 02:00:00:00:00:01 at sw0: tmelink/host inet 10.0.0.2/24\n",
        ["2:11", "put a MAC address before the colon in double quotes"],
    ),
    (PEER + "command le0 pong 10.0.0.2\n", ["3:13 'pong' is not a command of le0 (did you mean ping?)"]),
    (PEER + "command le0 fly\n", ["3:13", "it knows ping, neighbours, addresses"]),
]


@pytest.mark.parametrize(("text", "parts"), MISTAKES)
def test_a_beginner_s_mistake_has_one_message_with_its_remedy(
    text: str, parts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = checked(tmp_path, text, capsys)
    assert code == 1
    assert len(found) == 1, found
    for part in parts:
        assert part in found[0]


WARNINGS = [
    ("# nothing\n", ["1:1 this file creates no element"]),
    (HOST, ["1:1 le0 is connected to nothing"]),
    (
        LINK + "--dev tap --remote 10.0.0.2 --secret no.key --cipher AES-256-CBC\n",
        ["the file of --secret", "no.key, does not exist"],
    ),
    (
        LINK + "--dev tap --proto tcp-server --port-share 127.0.0.1 80 gone\n",
        ["the directory of --port-share", "gone, does not exist"],
    ),
    (LINK + "--dev tap --remote 10.0.0.2 --cipher AES-256-CBC\n", ["link0 has a --cipher but no key"]),
    (two_hosts("", "--port 1195"), ["cannot meet: port", "port 1195 is called where port 1194 listens"]),
    (two_hosts("--proto tcp-client", "--proto tcp-client"), ["both have --proto tcp-client"]),
    (
        two_hosts("--secret k 0 --cipher AES-256-CBC", "--secret k 0 --cipher AES-256-CBC"),
        ["both have key direction 0 (one end has 0 and the other 1)"],
    ),
]


@pytest.mark.parametrize(("text", "parts"), WARNINGS)
def test_what_cannot_work_is_warned_of(
    text: str, parts: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = checked(tmp_path, text, capsys)
    assert code == 0
    assert len(found) == 1, found
    for part in parts:
        assert part in found[0]


@pytest.mark.parametrize(
    "text",
    [
        "sw0: tmelink/switch\nq0: tmelink/qemu memory 64M\nq0 at sw0\nq0 at sw0\n",
        two_hosts("", ""),
        two_hosts("--secret k 0 --cipher AES-256-CBC", "--secret k 1 --cipher AES-256-CBC"),
        "sw0: tmelink/switch\nlink0 at sw0: tme/host/openvpn/socket/link --dev tap --remote 10.0.0.2\n",
        "\ufeff" + PEER,
    ],
)
def test_what_is_right_is_not_warned_of(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert checked(tmp_path, text, capsys) == (0, [])

"""A newcomer's path on bare Debian: each kind of installation, the demo, a link, a service, a capture.

`make hosts ARGS='tests/hosts/test_newcomer.py -s'` prints what the newcomer sees.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.debian import SSH, DebianHost, debian_root
from tests.support.netns import Net
from tmelink.deploy import wheels

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs("debootstrap", "systemd-nspawn", "ssh", "dpkg-deb", "ip", "ping"),
]

ROOT = Path(__file__).parents[2]
MINUTES = 10
SECONDS = 300
"""For one command, such as an installation."""

FILE = """\
host one address 10.1.0.1 {{
    le0: tme/host/tun/tap interface tap0 inet 10.0.77.1/24
    link0 at le0: tme/host/openvpn/socket/link --dev tap --tls-server --keepalive 10 60 \\
        --key one.key --cert one.crt --peer-fingerprint {two}
}}
host two address 10.1.0.2 {{
    le1: tme/host/tun/tap interface tap0 inet 10.0.77.2/24
    link1 at le1: tme/host/openvpn/socket/link --dev tap --tls-client --nobind --keepalive 10 60 \\
        --remote 10.1.0.1 --key two.key --cert two.crt --peer-fingerprint {one}
}}
"""


class Newcomer:
    """Types commands on a host, and shows what they print."""

    def __init__(self, host: DebianHost, name: str) -> None:
        self.host = host
        self.name = name

    def types(self, command: str) -> str:
        began = time.monotonic()
        said = self.host.namespace.run(
            "ssh", "-i", str(self.host.key), *SSH, f"root@{self.host.namespace.addresses[0]}", command,
            timeout=SECONDS,
        )  # fmt: skip
        print(f"\n{self.name}$ {command}    # {time.monotonic() - began:.1f} s\n{said.rstrip()}")
        return said


def package(folder: Path) -> Path:
    """The Debian package, built as its script builds it."""
    environment = {"BUILD_PYTHON": sys.executable, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    subprocess.run([ROOT / "packaging/debian", folder], check=True, env=environment, capture_output=True)
    (found,) = folder.glob("*.deb")
    return found


@pytest.fixture
def newcomers(net: Net, tmp_path: Path) -> Iterator[tuple[Newcomer, Newcomer]]:
    """Two bare hosts; the first has the Debian package in its home, the second wheels."""
    one, two, _hub = net.internet(2)
    key = tmp_path / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    machines = [DebianHost(each, debian_root(), tmp_path, key) for each in (one, two)]
    collected = machines[1].root / "root/wheels"
    wheels.collect(collected)
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", str(collected), "pipx", "pip"]
    subprocess.run(download, check=True, capture_output=True)
    package(machines[0].root / "root")
    try:
        for machine in machines:
            machine.boot()
        yield Newcomer(machines[0], "one"), Newcomer(machines[1], "two")
    finally:
        for machine in machines:
            machine.off()


def test_a_newcomer_gets_from_nothing_to_a_link_that_is_a_service(
    newcomers: tuple[Newcomer, Newcomer],
) -> None:
    one, two = newcomers
    began = time.monotonic()

    # Installed as a Debian package on the first, by pip and by pipx on the second.
    one.types("dpkg -i tmelink_*.deb")
    offline = "--no-index --find-links /root/wheels"
    two.types(f"python3 -m venv by-pip && by-pip/bin/pip install -q {offline} tmelink")
    assert two.types("by-pip/bin/tmelink demo --count 3 2>&1 | tail -3").count(" 0% ") == 2
    two.types(f"python3 -m venv pipx && pipx/bin/pip install -q {offline} pipx")
    once = two.types(f"pipx/bin/pipx run --pip-args='{offline}' tmelink demo --count 3 2>&1 | tail -3")
    assert once.count(" 0% ") == 2
    two.types(f"PIPX_BIN_DIR=/usr/local/bin pipx/bin/pipx install --pip-args='{offline}' tmelink")

    prints = {}
    for each in newcomers:
        assert each.types("tmelink --version").startswith("tmelink ")
        assert each.types("tmelink demo --count 3 2>&1 | tail -3").count(" 0% ") == 2
        said = each.types(f"tmelink keygen {each.name}")
        prints[each.name] = said.split("--peer-fingerprint")[1].strip()

    # The first link, as a service on both.
    for each in newcomers:
        (each.host.root / "root/link.conf").write_text(FILE.format(**prints))
        each.types(f"tmelink check link.conf --host {each.name} && tmelink fmt --check link.conf")
        each.types(f"tmelink service install link.conf --host {each.name}")
    assert "4 received" in one.types("ping -c 4 -i 0.2 -W 2 10.0.77.2 || ping -c 4 -i 0.2 10.0.77.2")
    for each in newcomers:
        assert "2 of 2 up" in each.types(f"tmelink status link.{each.name}")
    assert "active" in one.types("systemctl is-active tmelink-link.one")
    assert "nothing found" in one.types("tmelink doctor link.one")
    one.types(
        "(sleep 1; ping -c 5 -i 0.2 10.0.77.2 >/dev/null) & tmelink capture link.one le0 -w c.pcapng -c 4"
    )
    assert one.types("od -A n -t x4 -N 4 c.pcapng").strip() == "0a0d0d0a"
    for each in newcomers:
        each.types(f"tmelink service remove link.{each.name}")
    one.types("dpkg -P tmelink")
    assert "tmelink" not in one.types("ls /usr/bin /usr/lib /lib/systemd/system")

    took = time.monotonic() - began
    print(f"\nfrom nothing to here: {took:.0f} s")
    assert took < MINUTES * 60

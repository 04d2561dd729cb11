"""From bare Debian hosts to one shared, encrypted Ethernet, and back: `tmelink deploy` over real ssh.

Three hosts with systemd and sshd, one of them behind NAT, are on a network with a namespace from which a
person deploys. One test walks through what that person does, since a host takes its time to boot.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from threading import Event, Thread

import pytest

from tests.support import deployment
from tests.support.debian import DebianHost
from tests.support.deployment import Site, changes
from tests.support.netns import Net, Process

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs("debootstrap", "systemd-nspawn", "ssh", "ansible-playbook", "ip", "ping"),
]

LAB = """\
host north address 10.1.0.1 ssh root@10.1.0.1 {
    own: tme/host/tun/tap interface lab0 inet 10.0.77.1/24
    hub at own: tme/host/openvpn/socket/server --dev tap --server 10.0.77.0 255.255.255.0 nopool \\
        --client-to-client --secure
}
host south address 10.1.0.2 ssh root@10.1.0.2 {
    own2: tme/host/tun/tap interface lab0 inet 10.0.77.2/24
    link2 at own2: tme/host/openvpn/socket/link --dev tap --client --nobind --remote 10.1.0.1 --secure
    inner2: tmelink/host inet 10.0.88.2/24
    link4 at inner2: tme/host/openvpn/socket/link --dev tap --secure --via north
}
host east address none ssh root@10.1.0.3:2222 {
    own3: tme/host/tun/tap interface lab0 inet 10.0.77.3/24
    link3 at own3: tme/host/openvpn/socket/link --dev tap --client --nobind --remote 10.1.0.1 --secure
    inner3: tmelink/host inet 10.0.88.3/24
    link5 at inner3: tme/host/openvpn/socket/link --dev tap --secure --via north
}
"""


@pytest.fixture
def site(net: Net, tmp_path: Path) -> Iterator[Site]:
    with deployment.site(net, tmp_path) as made:
        yield made


@contextmanager
def watched_processes() -> Iterator[set[str]]:
    """Every command line of this computer, and of the hosts on it, while the block runs."""
    seen: set[str] = set()
    over = Event()

    def watch() -> None:
        while not over.wait(0.1):
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    seen.add(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))

    watcher = Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        over.set()
        watcher.join()


def silence(pinging: Process) -> float:
    """The longest time without an answer, in seconds."""
    answered = [float(found) for found in re.findall(r"^\[(\d+\.\d+)\]", pinging.output, re.M)]
    return max(later - sooner for sooner, later in pairwise(answered))


@contextmanager
def step(what: str) -> Iterator[None]:
    """Say how long a step took; `pytest -s` shows it at once."""
    began = time.monotonic()
    yield
    print(f"{what}: {time.monotonic() - began:.1f} s", flush=True)


def secrets_in(folder: Path) -> list[str]:
    """Every line of a private key or a rendezvous' key."""
    return [
        line
        for path in folder.iterdir()
        if path.suffix in (".key", ".rendezvous")
        for line in path.read_text().splitlines()
        if "-----" not in line
    ]


def nobody_else_reads(host: DebianHost, secrets: list[str]) -> None:
    """The host's secrets are root's alone, wherever they are; no log, unit or process shows them."""
    shown = host.ssh("journalctl -b; systemctl cat tmelink-lab; systemctl show tmelink-lab; ps axww")
    assert not any(secret in shown for secret in secrets)
    assert host.ssh("find /etc/tmelink /run/tmelink -type f -perm /077") == ""
    looked_for = " ".join(f"-e {secret}" for secret in secrets)
    folders = "/etc /opt /run /tmp /var /usr/local /root /home"
    found = host.ssh(f"grep -rlsF {looked_for} {folders} | xargs -r stat -c '%a %U %n'", check=False)
    assert found, "the keys are where the search looks"
    assert all(line.startswith(("600 root ", "400 root ")) for line in found.splitlines()), found


def test_bare_hosts_become_one_encrypted_ethernet(site: Site) -> None:
    admin, north, south, east = site.admin, *site.hosts
    before = [host.files() for host in site.hosts]
    admin.file.write_text(LAB)

    with step("a look"):
        said = admin.deploy("--check", "--diff", "--yes")
    assert "would change: north, south, east" in said
    assert [host.files() ^ files for host, files in zip(site.hosts, before, strict=True)] == [set()] * 3
    assert not admin.file.with_name("lab.conf.keys").exists()

    with watched_processes() as seen, step(f"from bare hosts to one Ethernet, {len(LAB.splitlines())} lines"):
        began = time.monotonic()
        said = admin.deploy("--yes", "--diff")
        north.namespace.ping("10.0.77.2")
        north.namespace.ping("10.0.77.3")
        took = time.monotonic() - began
    assert "changed: north, south, east" in said
    assert took < 300
    with north.namespace.capture("eth0", "udp port 1194", packets=6) as wire_of_north:
        north.namespace.ping("10.0.77.2")
    assert not any(b"\x0a\x00\x4d\x02" in packet[42:] for packet in wire_of_north.packets), (
        "10.0.77.2 crosses in the clear"
    )

    # The host behind NAT and another meet at the third one, and go on directly.
    assert " 0% " in south.ssh("tmelink exec lab 'command inner2 ping 10.0.88.3'")
    path = east.ssh("tmelink status lab link5").splitlines()[3]
    print(path)
    assert "direct to" in path

    secrets = secrets_in(admin.file.with_name("lab.conf.keys"))
    assert len(secrets) > 3
    for host in site.hosts:
        nobody_else_reads(host, secrets)
    for output in (said, "\n".join(seen)):
        assert not any(secret in output for secret in secrets)
    assert "keys_south-" in south.ssh("ls /run/credentials/tmelink-lab.service")

    # Every host at once, from the person's place.
    status = admin.shell("tmelink status lab.conf --all-hosts")
    assert [line for line in status.splitlines() if line in ("north:", "south:", "east:")] == [
        "north:", "south:", "east:",
    ]  # fmt: skip
    said = admin.shell("tmelink doctor lab.conf --all-hosts", check=False)
    assert said.endswith("between the hosts:\nnothing found\n"), said

    # A change that fails on one host is taken back on all.
    current = [host.ssh("readlink /etc/tmelink/lab/current") for host in site.hosts]
    broken = LAB.replace("lab0 inet 10.0.77.2/24", "lo inet 10.0.77.2/24").replace("--client-to-client ", "")
    admin.file.write_text(broken)
    began_before = east.ssh("systemctl show --property=ActiveEnterTimestamp tmelink-lab")
    with step("a start that fails on one host"):
        said = admin.deploy("--yes", check=False)
    assert "hosts that it had changed run their earlier version again" in said, said
    assert [host.ssh("readlink /etc/tmelink/lab/current") for host in site.hosts] == current
    north.namespace.ping("10.0.77.2")
    # Nothing was to be changed on east, and it has gone on.
    assert east.ssh("systemctl show --property=ActiveEnterTimestamp tmelink-lab") == began_before

    # A second run of what runs changes nothing, also after that.
    admin.file.write_text(LAB)
    with step("the second run"):
        said = admin.deploy("--yes")
    assert changes(said) == {"north": 0, "south": 0, "east": 0}
    assert "nothing differs" in said

    # New keys, under traffic.
    pinging = north.namespace.start("ping", "-i", "0.1", "-D", "10.0.77.2")
    pinging.expect("icmp_seq=5")
    with step("new keys for all"):
        said = admin.deploy("--yes", "--rotate")
    assert "changed: north, south, east" in said
    pinging.expect(r"icmp_seq=", since=len(pinging.lines))
    gap = silence(pinging)
    pinging.stop()
    print(f"longest silence while the keys changed: {gap:.2f} s")
    for host in site.hosts:
        left = host.ssh(
            f"grep -rlsF {' '.join(f'-e {secret}' for secret in secrets)} /etc /opt /tmp /root", check=False
        )
        assert left == "", f"old keys stay: {left}"
    assert gap <= 1
    new = secrets_in(admin.file.with_name("lab.conf.keys"))
    assert not set(new) & set(secrets)

    # A host that is down is named, and the others go on; when it is back, so is its link.
    south.off()
    with step("one host down"):
        said = admin.deploy("--yes", check=False)
    assert "south: ssh could not reach it" in said
    for host in (north, east):
        assert "active" in host.ssh("systemctl is-active tmelink-lab")
    north.namespace.ping("10.0.77.3")
    with step("its reboot, until its link is up"):
        south.boot()
        south.ssh("timeout 60 sh -c 'until tmelink status lab link2; do sleep 0.2; done'")
    north.namespace.ping("10.0.77.2")
    # It has begun with the new keys as credentials.
    for host in site.hosts:
        nobody_else_reads(host, new)

    with step("destroy"):
        said = admin.shell("tmelink destroy lab.conf --yes")
    assert "removed lab" in said
    for host, files in zip(site.hosts, before, strict=True):
        assert host.files() ^ files == set()
        assert "lab0" not in host.ssh("ip -br link")
        assert "tmelink" not in host.ssh(
            "ps axww; systemctl list-units --all; ls -a /root /run /tmp /run/credentials"
        )

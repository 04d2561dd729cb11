"""From bare Debian hosts to one shared, encrypted Ethernet, and back: `tmelink deploy` over real ssh.

Three hosts with systemd and sshd, one of them behind NAT, are on a network with a namespace from which a
person deploys. One test walks through what that person does, since a host takes its time to boot.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from threading import Event, Thread

import pytest

from tests.e2e.internet import wire
from tests.support.debian import SSH, DebianHost, debian_root
from tests.support.netns import Namespace, Net, Process
from tmelink.deploy import wheels

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs("debootstrap", "systemd-nspawn", "ssh", "ansible-playbook", "ip", "ping"),
]

ANSIBLE = 'ansible_ssh_private_key_file={key} "ansible_ssh_common_args=' + " ".join(SSH) + '"'
LAB = """\
host north address 10.1.0.1 ssh root@10.1.0.1 vars {vars} {{
    own: tme/host/tun/tap interface lab0 inet 10.0.77.1/24
    hub at own: tme/host/openvpn/socket/server --dev tap --server 10.0.77.0 255.255.255.0 nopool \\
        --client-to-client --secure
}}
host south address 10.1.0.2 ssh root@10.1.0.2 vars {vars} {{
    own2: tme/host/tun/tap interface lab0 inet 10.0.77.2/24
    link2 at own2: tme/host/openvpn/socket/link --dev tap --client --nobind --remote 10.1.0.1 --secure
    inner2: tmelink/host inet 10.0.88.2/24
    link4 at inner2: tme/host/openvpn/socket/link --dev tap --secure --via north
}}
host east address none ssh root@10.1.0.3:2222 vars {vars} {{
    own3: tme/host/tun/tap interface lab0 inet 10.0.77.3/24
    link3 at own3: tme/host/openvpn/socket/link --dev tap --client --nobind --remote 10.1.0.1 --secure
    inner3: tmelink/host inet 10.0.88.3/24
    link5 at inner3: tme/host/openvpn/socket/link --dev tap --secure --via north
}}
"""
NAT = """
table ip nat {
    chain out { type nat hook postrouting priority srcnat; oifname eth0 masquerade; }
    chain in { type nat hook prerouting priority dstnat; iifname eth0 tcp dport 2222 dnat to 192.168.7.2:22; }
    chain input { type filter hook input priority filter; iifname eth0 meta l4proto udp drop; }
}
"""
"""East's router, which forwards a port for ssh alone."""
DEPLOY_SECONDS = 600


class Admin:
    """Where the person sits: a namespace with the machine file and the ssh key."""

    def __init__(self, namespace: Namespace, folder: Path, wheels: Path, key: Path) -> None:
        self.namespace = namespace
        self.file = folder / "lab.conf"
        self.wheels = wheels
        self.variables = ANSIBLE.format(key=key)

    def write(self, text: str) -> None:
        self.file.write_text(text.format(vars=self.variables))

    def deploy(self, *options: str, command: str = "deploy", check: bool = True) -> str:
        more = ["--wheels", str(self.wheels)] if command == "deploy" else []
        words = [sys.executable, "-m", "tmelink", command, str(self.file), *more, *options]
        return self.namespace.run(*words, check=check, timeout=DEPLOY_SECONDS)


@dataclass
class Site:
    """The person and three hosts, the last of them behind NAT."""

    admin: Admin
    north: DebianHost
    south: DebianHost
    east: DebianHost

    @property
    def hosts(self) -> tuple[DebianHost, ...]:
        return self.north, self.south, self.east


def behind_nat(net: Net, router: Namespace) -> Namespace:
    inner = net.namespace()
    wire(router, "lan", inner, "eth0", ("192.168.7.1/24", "192.168.7.2/24"))
    inner.addresses = ["192.168.7.2"]
    inner.run("ip", "route", "add", "default", "via", "192.168.7.1")
    router.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    router.run("nft", "-f", "-", input=NAT)
    return inner


@pytest.fixture
def site(net: Net, tmp_path: Path) -> Iterator[Site]:
    north, south, router, admin, _hub = net.internet(4)
    key = tmp_path / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    collected = tmp_path / "wheels"
    wheels.collect(collected)
    root = debian_root()
    places = (north, south, behind_nat(net, router))
    machines = [DebianHost(each, root, tmp_path, key) for each in places]
    try:
        for machine in machines:
            machine.boot()
        yield Site(Admin(admin, tmp_path, collected, key), *machines)
    finally:
        for machine in machines:
            machine.off()


def changes(output: str) -> dict[str, int]:
    """How many tasks changed something on each host, by Ansible's recap."""
    return {
        host: int(count) for host, count in re.findall(r"^(\w+)\s+: ok=\d+\s+changed=(\d+)", output, re.M)
    }


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


def test_bare_hosts_become_one_encrypted_ethernet(site: Site) -> None:
    admin, north, south, east = site.admin, *site.hosts
    before = [host.files() for host in site.hosts]
    admin.write(LAB)

    # A look changes nothing, and needs nothing on the hosts.
    assert "would change" in admin.deploy("--check", "--yes")
    assert [host.files() ^ files for host, files in zip(site.hosts, before, strict=True)] == [set()] * 3

    began = time.monotonic()
    with watched_processes() as seen:
        said = admin.deploy("--yes")
    took = time.monotonic() - began
    assert "changed: north, south, east" in said
    for address in ("10.0.77.2", "10.0.77.3"):
        north.namespace.ping(address)
    with north.namespace.capture("eth0", "udp port 1194", packets=6) as wire_of_north:
        north.namespace.ping("10.0.77.2")
    assert not any(b"\x0a\x00\x4d\x02" in packet[42:] for packet in wire_of_north.packets), (
        "10.0.77.2 crosses in the clear"
    )
    print(f"from three bare hosts to one Ethernet: {len(LAB.splitlines())} lines, {took:.0f} s")
    assert took < 300

    # The host behind NAT and another meet at the third one, and go on directly.
    assert " 0% " in south.ssh("tmelink exec lab 'command inner2 ping 10.0.88.3'")
    print(east.ssh("tmelink status lab link5").splitlines()[3])

    # Secrets are root's alone, and appear nowhere.
    secrets = [
        line
        for path in admin.file.parent.glob("lab.conf.keys/*")
        if path.suffix in (".key", ".rendezvous")
        for line in path.read_text().splitlines()
        if "-----" not in line
    ]
    assert len(secrets) > 3
    for machine in site.hosts:
        assert machine.ssh("find /etc/tmelink /run/tmelink -type f -perm /077") == ""
        shown = machine.ssh("journalctl -b; systemctl cat tmelink-lab; systemctl show tmelink-lab")
        folders = "/etc /opt/tmelink /run /tmp /var /usr/local /root"
        found = f"grep -rlF -e {' -e '.join(secrets)} {folders} 2>/dev/null"
        world = machine.ssh(f"{found} | xargs -r stat -c '%a %n'", check=False)
        assert not any(secret in shown for secret in secrets)
        assert all(line.startswith("600 ") for line in world.splitlines()), world
    for output in (said, "\n".join(seen)):
        assert not any(secret in output for secret in secrets)

    # The second run changes nothing.
    said = admin.deploy("--yes")
    assert changes(said) == {"north": 0, "south": 0, "east": 0}
    assert "nothing differs" in said

    # A change that fails on one host is taken back on all.
    current = [machine.ssh("readlink /etc/tmelink/lab/current") for machine in site.hosts]
    broken = LAB.replace("lab0 inet 10.0.77.2/24", "lo inet 10.0.77.2/24").replace("--client-to-client ", "")
    admin.write(broken)
    said = admin.deploy("--yes", check=False)
    assert "hosts that it had changed run what they ran before" in said, said
    assert [machine.ssh("readlink /etc/tmelink/lab/current") for machine in site.hosts] == current
    north.namespace.ping("10.0.77.2")

    # New keys, under traffic.
    admin.write(LAB)
    pinging = north.namespace.start("ping", "-i", "0.1", "-D", "10.0.77.2")
    pinging.expect("icmp_seq=5")
    said = admin.deploy("--yes", "--rotate")
    assert "changed: north, south, east" in said
    pinging.expect(r"icmp_seq=", since=len(pinging.lines))
    gap = silence(pinging)
    pinging.stop()
    print(f"longest silence while the keys changed: {gap:.2f} s")

    # A host that is down is named, and the others go on; when it is back, so is its link.
    south.off()
    said = admin.deploy("--yes", check=False)
    assert "south: ssh could not reach it" in said
    for machine in (north, east):
        assert "active" in machine.ssh("systemctl is-active tmelink-lab")
    north.namespace.ping("10.0.77.3")
    south.boot()
    north.namespace.ping("10.0.77.2", count=3)

    # And nothing is left.
    assert "removed lab" in admin.deploy("--yes", command="destroy")
    for machine, files in zip(site.hosts, before, strict=True):
        assert machine.files() - files == set()
        assert "lab0" not in machine.ssh("ip -br link")
    assert gap <= 1

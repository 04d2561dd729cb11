"""From bare Debian hosts to one shared, encrypted Ethernet, and back: `tmelink deploy` over real ssh.

Two hosts with systemd and sshd are on one network with a third namespace, from which a person deploys. One
test walks through what that person does, since a host takes its time to boot.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.debian import SSH, DebianHost, debian_root
from tests.support.netns import Namespace, Net
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
}}
"""
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


@pytest.fixture
def hosts(net: Net, tmp_path: Path) -> Iterator[tuple[Admin, DebianHost, DebianHost]]:
    north, south, admin, _hub = net.internet(3)
    key = tmp_path / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    collected = tmp_path / "wheels"
    wheels.collect(collected)
    root = debian_root()
    machines = [DebianHost(each, root, tmp_path, key) for each in (north, south)]
    try:
        for machine in machines:
            machine.boot()
        yield Admin(admin, tmp_path, collected, key), machines[0], machines[1]
    finally:
        for machine in machines:
            machine.off()


def changes(output: str) -> dict[str, int]:
    """How many tasks changed something on each host, by Ansible's recap."""
    return {
        host: int(count) for host, count in re.findall(r"^(\w+)\s+: ok=\d+\s+changed=(\d+)", output, re.M)
    }


def test_bare_hosts_become_one_encrypted_ethernet(hosts: tuple[Admin, DebianHost, DebianHost]) -> None:
    admin, north, south = hosts
    before = north.files(), south.files()
    admin.write(LAB)

    # A look changes nothing, and needs nothing on the hosts.
    assert "would change" in admin.deploy("--check", "--yes")
    assert (north.files(), south.files()) == before

    began = time.monotonic()
    said = admin.deploy("--yes")
    took = time.monotonic() - began
    assert "changed: north, south" in said
    north.namespace.ping("10.0.77.2")
    with north.namespace.capture("eth0", "udp port 1194", packets=6) as wire:
        north.namespace.ping("10.0.77.2")
    assert not any(b"\x0a\x00\x4d\x02" in packet[42:] for packet in wire.packets), (
        "10.0.77.2 crosses in the clear"
    )
    print(f"from two bare hosts to one Ethernet: {len(LAB.splitlines())} lines, {took:.0f} s")

    # Secrets are root's alone, and appear nowhere.
    keys = [path.read_text() for path in admin.file.parent.glob("lab.conf.keys/*.key")]
    for machine in (north, south):
        assert machine.ssh("find /etc/tmelink -type f -perm /077") == ""
        assert "PRIVATE KEY" not in machine.ssh("cat /proc/[0-9]*/cmdline | tr '\\0' ' '; journalctl -b")
    assert not any(line in said for key in keys for line in key.splitlines() if "-----" not in line)

    # The second run changes nothing.
    said = admin.deploy("--yes")
    assert changes(said) == {"north": 0, "south": 0}
    assert "nothing differs" in said

    # A change that fails on one host is taken back on all.
    current = [machine.ssh("readlink /etc/tmelink/lab/current") for machine in (north, south)]
    admin.write(
        LAB.replace("--client-to-client", "--duplicate-cn").replace("remote 10.1.0.1", "remote 10.1.0.99")
    )
    said = admin.deploy("--yes", check=False)
    assert "--secure, and its other end is not in the file" in said
    broken = LAB.replace("lab0 inet 10.0.77.2/24", "lo inet 10.0.77.2/24").replace("--client-to-client ", "")
    admin.write(broken)
    said = admin.deploy("--yes", check=False)
    assert "hosts that it had changed run what they ran before" in said, said
    assert [machine.ssh("readlink /etc/tmelink/lab/current") for machine in (north, south)] == current
    north.namespace.ping("10.0.77.2")

    # New keys, under traffic.
    admin.write(LAB)
    pinging = north.namespace.start("ping", "-i", "0.1", "-D", "10.0.77.2")
    pinging.expect("icmp_seq=5")
    said = admin.deploy("--yes", "--rotate")
    pinging.expect(r"icmp_seq=", since=len(pinging.lines))
    answered = [float(found) for found in re.findall(r"^\[(\d+\.\d+)\]", pinging.output, re.M)]
    pinging.stop()
    gap = max(later - sooner for sooner, later in pairwise(answered))
    print(f"longest silence while the keys changed: {gap:.2f} s")

    # A host that is down is named, and the other goes on.
    south.off()
    said = admin.deploy("--yes", check=False)
    assert "south: ssh could not reach it" in said
    assert "active" in north.ssh("systemctl is-active tmelink-lab")
    south.boot()
    north.namespace.ping("10.0.77.2", count=3)

    # And nothing is left.
    assert "removed lab" in admin.deploy("--yes", command="destroy")
    for machine, files in zip((north, south), before, strict=True):
        assert machine.files() - files == set()
        assert "lab0" not in machine.ssh("ip -br link")

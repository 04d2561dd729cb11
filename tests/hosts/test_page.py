"""docs/deploy.md: from three bare Debian hosts to one shared, encrypted Ethernet in one command.

The file and the commands are the page's, as they stand there. `make hosts ARGS='tests/hosts/test_page.py -s'`
prints what they print.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from bench.deployment import counted, page_parts
from tests.support import deployment
from tests.support.netns import Net

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs("debootstrap", "systemd-nspawn", "ssh", "ansible-playbook", "ip", "ping"),
]

MINUTES = 5
PAGE = Path(__file__).parents[2] / "docs/deploy.md"


def test_three_bare_hosts_are_one_encrypted_ethernet_after_one_command(net: Net, tmp_path: Path) -> None:
    file, command = page_parts()
    section = PAGE.read_text().split("## Three hosts in five minutes")[1]
    looks = re.findall(r"^```sh\n(.*?)^```", section, re.MULTILINE | re.DOTALL)[1]
    with deployment.site(net, tmp_path) as site:
        for host in site.hosts:
            assert (
                host.ssh("ls -d /opt/tmelink /etc/tmelink /usr/local/bin/tmelink 2>/dev/null", check=False)
                == ""
            )
        site.admin.file.write_text(file)
        began = time.monotonic()
        said = site.admin.shell(command)
        took = time.monotonic() - began
        print(f"{said}\n{counted(file)} lines, {counted(command)} command, {took:.0f} s")
        assert took < MINUTES * 60
        with site.north.namespace.capture("eth0", "udp port 1194", packets=12) as wire:
            for look in looks.splitlines():
                said = site.admin.shell(look)
                print(f"$ {look}\n{said}")
                assert ", 0% packet loss" in said or look.startswith("tmelink status")
        assert not any(bytes((10, 0, 77, 2)) in packet[42:] for packet in wire.packets), (
            "it crosses in the clear"
        )

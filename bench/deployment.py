"""How long it takes to plan a large deployment: python -m bench.deployment [--hosts 200] [--links 2000].

A file is made in which every host has a switch, a TAP and its share of encrypted links to other hosts. What
is printed is the processor's time to read and check it, make the keys, cut it and write Ansible's files.

    python -m bench.deployment --lines

counts what somebody writes for three hosts on one Ethernet: the file and the commands of docs/deploy.md, and
those of other programs in bench/deployments.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from pathlib import Path

from tmelink.deploy import ansible_files
from tmelink.deploy.keys import KeyFolder
from tmelink.deploy.plan import plan

ROOT = Path(__file__).parent.parent
LINK = "tme/host/openvpn/socket/link --dev tap --secure"


def address(host: int) -> str:
    return f"10.{host >> 8}.{host & 255}.1"


def machine_file(hosts: int, links: int) -> str:
    """The links lead from each host to the next ones, each on a port of its own."""
    parts: list[list[str]] = [[] for _ in range(hosts)]
    for number in range(links):
        one, two = number % hosts, (number + 1 + number // hosts) % hosts
        port = 10_000 + number
        for own, other, role in ((one, two, "server"), (two, one, "client")):
            parts[own].append(
                f"    {role}{number} at sw{own}: {LINK} --tls-{role} --local {address(own)} --lport {port} "
                f"--remote {address(other)} {port}\n"
            )
    return "".join(
        f"host h{host} address {address(host)} {{\n    sw{host}: tmelink/switch\n"
        f"    tap{host} at sw{host}: tme/host/tun/tap inet 172.16.{host >> 8}.{host & 255}/16\n"
        f"{''.join(parts[host])}}}\n"
        for host in range(hosts)
    )


def counted(text: str) -> int:
    """Lines that are neither empty nor a comment."""
    return sum(bool(line.strip()) and not line.startswith("#") for line in text.splitlines())


def page_parts() -> tuple[str, str]:
    """The file of docs/deploy.md for three hosts, and the command that deploys it."""
    section = (ROOT / "docs/deploy.md").read_text().split("## Three hosts in five minutes")[1]
    blocks = re.findall(r"^```(tmesh|sh)\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    file = next(text for kind, text in blocks if kind == "tmesh")
    return file, next(text for kind, text in blocks if kind == "sh")


def what_is_written() -> dict[str, tuple[int, int]]:
    """Lines of files, and commands, for each program."""
    file, command = page_parts()
    found = {"tmelink": (counted(file), counted(command))}
    for folder in sorted((ROOT / "bench/deployments").iterdir()):
        files = sum(counted(path.read_text()) for path in folder.glob("*.yml"))
        found[folder.name] = files, counted((folder / "commands.sh").read_text())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.deployment")
    parser.add_argument("--hosts", type=int, default=200)
    parser.add_argument("--links", type=int, default=2000)
    parser.add_argument("--lines", action="store_true", help="count lines and commands for three hosts")
    options = parser.parse_args()
    if options.lines:
        for name, (lines, commands) in what_is_written().items():
            print(f"{name}: {lines} lines, {commands} command{'s' * (commands != 1)}")
        return
    with tempfile.TemporaryDirectory(prefix="tmelink-bench-") as folder:
        file = Path(folder) / "lab.conf"
        file.write_text(machine_file(options.hosts, options.links))
        began = time.process_time()
        made = plan(file, KeyFolder(Path(folder) / "keys"))
        planned = time.process_time()
        ansible_files.write(Path(folder) / "deploy", made, None)
        written = time.process_time()
    elements = sum(host.elements for host in made.hosts)
    print(f"{len(made.hosts)} hosts, {options.links} links, {elements} elements")
    print(f"planned in {planned - began:.1f} s, written in {written - planned:.1f} s of processor time")


if __name__ == "__main__":
    main()

"""The OpenVPN server of docs/gateway.md, and its certificates."""

from __future__ import annotations

import time
from pathlib import Path

from tests.support.netns import Namespace, Process
from tests.support.pki import Authority


def certificates(directory: Path) -> None:
    authority = Authority(time.time())
    files = {"ca.crt": authority.own.pem}
    for name, usage in (("server", "server"), ("gateway", "client")):
        pair = authority.issue(name, usage)
        files |= {f"{name}.crt": pair.pem, f"{name}.key": pair.key_pem}
    for name, content in files.items():
        (directory / name).write_bytes(content)
        (directory / name).chmod(0o600)


def server(computer: Namespace, directory: Path, proto: str = "tcp-server", *options: str) -> Process:
    """OpenVPN as the document has it: 1.2.3.4 port 1194, and the internal network routed to the client."""
    clients = directory / "clients"
    clients.mkdir()
    (clients / "gateway").write_text("iroute 10.38.2.0 255.255.255.0\niroute-ipv6 fd38:2::/64\n")
    process = computer.start(
        "openvpn", "--dev", "tun0", "--server", "10.8.0.0", "255.255.255.0", "--topology", "subnet",
        "--server-ipv6", "fd08::/64", "--route", "10.38.2.0", "255.255.255.0",
        "--route-ipv6", "fd38:2::/64", "--local", "1.2.3.4", "--proto", proto, "--verb", "4",
        "--client-config-dir", str(clients), "--dh", "none", "--ca", "ca.crt", "--cert", "server.crt",
        "--key", "server.key", "--keepalive", "10", "60", *options, cwd=directory,
    )  # fmt: skip
    process.expect("Initialization Sequence Completed")
    return process

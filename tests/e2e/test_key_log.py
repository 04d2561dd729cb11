"""`tmelink capture --wire --keylog`: with the key log, tshark reads what a link's control channel hides."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.netns import Process
from tests.support.pki import Authority
from tests.support.sockets import free_port

TMELINK = [sys.executable, "-m", "tmelink"]

LAB = """
link0: tme/host/openvpn/socket/link --dev tap --proto udp --local 127.0.0.1 --lport {one} \\
    --remote 127.0.0.1 {other} --tls-server --ca ca.crt --cert server.crt --key server.key --dh none \\
    --max-packet-size 2000
link1: tme/host/openvpn/socket/link --dev tap --proto udp --local 127.0.0.1 --lport {other} \\
    --remote 127.0.0.1 {one} --tls-client --ca ca.crt --cert client.crt --key client.key \\
    --tls-groups X25519 --max-packet-size 2000
"""

# Wireshark 4.0 does not join the TLS records that a link cuts: with these options each fits a packet.
SECONDS = 20


def shown(folder: Path, port: int, *options: str) -> str:
    """The dissection of the capture in full."""
    command = ["tshark", "-r", "out.pcapng", "-V", "-d", f"udp.port=={port},openvpn", *options]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=True, timeout=SECONDS
    ).stdout


@pytest.mark.needs("tshark")
def test_tshark_decrypts_a_links_control_channel_with_the_key_log(tmp_path: Path) -> None:
    authority = Authority(time.time())
    (tmp_path / "ca.crt").write_bytes(authority.own.pem)
    for name in ("server", "client"):
        pair = authority.issue(name, name)
        (tmp_path / f"{name}.crt").write_bytes(pair.pem)
        (tmp_path / f"{name}.key").write_bytes(pair.key_pem)
        (tmp_path / f"{name}.key").chmod(0o600)
    port = free_port()
    (tmp_path / "lab.conf").write_text(LAB.format(one=port, other=free_port()))
    lab = Process([*TMELINK, "run", "lab.conf"], cwd=tmp_path)
    try:
        lab.expect("link0.*up")
        lab.expect("link1.*up")
        command = [*TMELINK, "capture", "lab", "link1", "--wire", "--keylog", "keys", "-w", "out.pcapng"]
        capture = Process(command, cwd=tmp_path)
        capture.expect("capturing 1 connection")
        until = time.monotonic() + SECONDS
        while "Decrypted TLS" not in (text := clear(tmp_path, port)):
            assert time.monotonic() < until, text[-1500:]
            time.sleep(1)
        assert (tmp_path / "keys").stat().st_mode & 0o077 == 0
        assert "SERVER_TRAFFIC_SECRET_0 " in (tmp_path / "keys").read_text()
        # Without the key log the same is hidden.
        hidden = shown(tmp_path, port, "-x")
        assert "OpenVPN Protocol" in hidden
        assert "Decrypted TLS" not in hidden
        capture.stop()
        assert lab.stop() == 0
    finally:
        lab.kill()


def clear(folder: Path, port: int) -> str:
    """What tshark shows with the key log; empty while there is none."""
    if not (folder / "keys").exists():
        return ""
    return shown(folder, port, "-o", "tls.keylog_file:keys", "-x")

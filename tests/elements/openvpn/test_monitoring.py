"""--status and --management of links and servers, read by a public client of OpenVPN's (openvpn-api)."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path
from typing import Any

import pytest

import tmelink
from tests.support.aio import eventually, run
from tests.support.pki import Authority
from tests.support.sockets import free_port
from tmelink.runtime import Lab

openvpn_api = pytest.importorskip("openvpn_api")

# The client is of 2020.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

LINK = "tme/host/openvpn/socket/link"
SERVER = "tme/host/openvpn/socket/server"


async def ask(console: Any, question: Any) -> Any:
    """Ask as a monitor does, in a thread, with the lab going on meanwhile."""

    def asked() -> Any:
        with console.connection():
            return question(console)

    async with asyncio.timeout(30):
        return await asyncio.to_thread(asked)


def test_a_monitor_reads_a_links_state_counters_and_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tmelink")

    async def main() -> None:
        one, two, port = free_port(), free_port(), free_port()
        text = (
            f"a: {LINK} --dev tap --local 127.0.0.1 --lport {one} --remote 127.0.0.1 {two} "
            f"--management 127.0.0.1 {port} --status {tmp_path}/status 1\n"
            f"b: {LINK} --dev tap --local 127.0.0.1 --lport {two} --remote 127.0.0.1 {one} --ping 1\n"
        )
        lab = Lab(tmelink.load(text))
        async with lab:
            link = lab["a"]
            await eventually(lambda: link.up)
            console = openvpn_api.VPN("127.0.0.1", port)
            assert await ask(console, lambda c: c.version) == "2.6.0"
            state = await ask(console, lambda c: c.state)
            assert (state.state_name, state.remote_addr, state.remote_port) == ("CONNECTED", "127.0.0.1", two)
            assert state.mode == "client"
            assert (await ask(console, lambda c: c.get_stats())).bytes_in > 0
            log = await ask(console, lambda c: c.send_command("log all"))
            assert f",I,up: 127.0.0.1:{two}" in log
            since = link.state.since
            await ask(console, lambda c: c.send_command("signal SIGTERM"))
            await eventually(lambda: not link.up)
            assert link.state.since > since

    run(main)
    assert (tmp_path / "status").read_text().startswith("OpenVPN STATISTICS\nUpdated,")
    assert [path.name for path in tmp_path.iterdir()] == ["status"]


def test_a_monitor_lists_a_servers_clients_and_ends_their_sessions(tmp_path: Path) -> None:
    authority = Authority(time.time())
    (tmp_path / "ca.crt").write_bytes(authority.own.pem)
    for name in ("server", "laptop"):
        pair = authority.issue(name, name if name == "server" else "client")
        (tmp_path / f"{name}.crt").write_bytes(pair.pem)
        (tmp_path / f"{name}.key").write_bytes(pair.key_pem)

    def files(name: str) -> str:
        return f"--ca {tmp_path}/ca.crt --cert {tmp_path}/{name}.crt --key {tmp_path}/{name}.key"

    async def main() -> None:
        port = free_port()
        text = (
            f"server: {SERVER} --dev tap --server 10.8.0.0 255.255.255.0 --dh none {files('server')} "
            f"--local 127.0.0.1 --port {port} --management {tmp_path}/console unix "
            f"--status {tmp_path}/status 1 --status-version 2\n"
            f"laptop: {LINK} --dev tap --client --nobind --remote 127.0.0.1 {port} {files('laptop')}\n"
        )
        lab = Lab(tmelink.load(text))
        async with lab:
            await eventually(lambda: lab["laptop"].up and lab["server"].up)
            console = openvpn_api.VPN(socket=f"{tmp_path}/console")
            # Its own parser takes the dates of OpenVPN 2.4 alone.
            told = (await ask(console, lambda c: c.send_command("status 2"))).splitlines()
            (row,) = (line.split(",") for line in told if line.startswith("CLIENT_LIST,"))
            assert row[1] == "laptop"
            assert int(row[5]) > 0
            assert (await ask(console, lambda c: c.get_stats())).client_count == 1
            since = lab["laptop"].state.since
            await ask(console, lambda c: c.send_command("kill laptop"))
            await eventually(lambda: lab["laptop"].state.since > since)

    run(main)

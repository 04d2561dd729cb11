"""Visitors of a shared port (`--port-share`) who ask for much and read nothing cost little memory."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.places import LINK, free_port, run, until
from tests.attacks.strangers import Callers
from tests.support.netns import Process
from tmelink.elements.openvpn.port_share import VISITORS

MANY = 1200
"""Visitors, of whom some are refused."""

EACH = 64 << 10
"""Bytes that one may take: two buffers of 16 KiB, and what Python keeps of a connection."""

DESCRIPTORS = 4096


@pytest.fixture(autouse=True)
def _descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    if wanted < DESCRIPTORS:
        pytest.skip(f"needs {DESCRIPTORS} descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_slow_visitors_take_little_memory(tmp_path: Path) -> None:
    port = free_port(socket.SOCK_STREAM)
    full: set[int] = set()

    async def serve(sock: socket.socket, number: int) -> None:
        """A web server's answer, which is longer than anybody takes."""
        while True:
            try:
                sock.send(bytes(65536))
            except BlockingIOError:
                full.add(number)
                await asyncio.sleep(0.2)
            except OSError:
                return
            await asyncio.sleep(0)

    async def main() -> None:
        with socket.socket() as web, Callers(port) as callers:
            web.bind(("127.0.0.1", 0))
            web.listen(VISITORS)
            web.setblocking(False)
            (tmp_path / "lab.conf").write_text(
                f"le0: tmelink/nic\nlink at le0: {LINK} --dev tap --proto tcp-server --local 127.0.0.1 "
                f"--lport {port} --disable-occ --port-share 127.0.0.1 {web.getsockname()[1]}\n"
            )
            lab = Process([sys.executable, "-m", "tmelink", "run", "lab.conf"], cwd=tmp_path)
            served: list[socket.socket] = []

            async def accept() -> None:
                loop = asyncio.get_running_loop()
                async with asyncio.TaskGroup() as answers:
                    while True:
                        sock, _ = await loop.sock_accept(web)
                        sock.setblocking(False)
                        served.append(sock)
                        answers.create_task(serve(sock, len(served)))

            accepting = asyncio.create_task(accept())
            try:
                await asyncio.to_thread(lab.expect, "running: ")
                before = resident(lab.pid)
                for _ in range(0, MANY, 100):
                    await callers.call(100, b"GET / HTTP/1.0\r\n\r\n")
                await until(lambda: len(full) >= VISITORS, 60)
                assert resident(lab.pid) - before < VISITORS * EACH
            finally:
                accepting.cancel()
                await asyncio.gather(accepting, return_exceptions=True)
                for sock in served:
                    sock.close()
                await asyncio.to_thread(lab.kill)

    run(main)

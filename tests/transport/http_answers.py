"""Connections through a scripted HTTP proxy."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.aio import run
from tests.support.sockets import dial
from tests.transport.scripted import Script, proxy
from tmelink.transport.handshakes import HandshakeError
from tmelink.transport.http_proxy import HttpProxy, connect

OPEN = b"HTTP/1.0 200 Connection established\r\nProxy-Agent: x\r\n\r\n"
NEEDED = b"HTTP/1.1 407 Proxy Authentication Required\r\n"


def answering(*answers: bytes, told: list[bytes]) -> list[Script]:
    """A script a connection: read the request, keep it, answer, and echo what comes after."""

    def script(answer: bytes) -> Script:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            told.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answer)
            await writer.drain()
            if b" 200 " in answer[:20]:
                writer.write(await reader.read(100))

        return serve

    return [script(answer) for answer in answers]


def tried(settings: HttpProxy, *answers: bytes, host: str = "peer.example", port: int = 1194) -> list[bytes]:
    """The requests of a connection that succeeds; what crosses it afterwards is untouched."""
    told: list[bytes] = []

    async def main() -> None:
        async with proxy(*answering(*answers, told=told)) as at:
            sock = await connect(lambda: dial(at), settings, host, port)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(sock, b"\0\3abc")
            # Also with what the proxy sent in one piece with its answer.
            after = answers[-1].partition(b"\r\n\r\n")[2]
            got = b""
            while len(got) < len(after) + 5:
                got += await loop.sock_recv(sock, 100)
            assert got == after + b"\0\3abc"
            sock.close()

    run(main)
    return told


def refused(settings: HttpProxy, *answers: bytes) -> str:
    """Why a connection fails."""
    reasons: list[str] = []

    async def main() -> None:
        async with proxy(*answering(*answers, told=[])) as at:
            with pytest.raises(HandshakeError) as caught:
                await connect(lambda: dial(at), settings, "peer.example", 1194)
            reasons.append(str(caught.value))

    run(main)
    return reasons[0]

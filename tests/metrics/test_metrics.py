"""`tmelink run --metrics`: what a scrape says, and how strangers are answered."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from importlib.metadata import version

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

import tmelink
from tests.support.aio import POLL_SECONDS, run
from tmelink.cli.addresses import ListenAddress, listen_address
from tmelink.control.control import Control
from tmelink.errors import TmelinkError
from tmelink.metrics.endpoint import CONNECTIONS, MetricsEndpoint

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
LAB = """
host0: tmelink/host inet 10.0.0.1/24
host1 at host0: tmelink/host inet 10.0.0.2/24
link0: tme/host/openvpn/socket/link --local 127.0.0.1 --remote 127.0.0.1 --lport 0
"""


async def ask(port: int, request: str) -> tuple[str, str]:
    """Head and body of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request.encode())
    answer = ""
    with contextlib.suppress(ConnectionResetError):
        answer = (await reader.read()).decode()
    writer.close()
    head, _, body = answer.partition("\r\n\r\n")
    return head, body


async def scrape(port: int, accept: str = OPENMETRICS) -> tuple[str, str]:
    return await ask(port, f"GET /metrics HTTP/1.1\r\nHost: lab\r\nAccept: {accept}\r\n\r\n")


def with_lab(body: Callable[[tmelink.Lab, int], object]) -> None:
    async def main() -> None:
        machine = tmelink.load(LAB)
        async with machine.run() as lab:
            control = Control(lab, "lab", "lab.conf", None, lambda: machine)
            async with MetricsEndpoint(control).serving("127.0.0.1", 0) as port:
                await body(lab, port)  # type: ignore[misc]

    run(main)


def test_a_scrape_has_what_the_lab_counts() -> None:
    async def body(lab: tmelink.Lab, port: int) -> None:
        lab.impair("host0", "host1", ["drop", "every", "2", "direction", "out"])
        await lab["host0"].command(["ping", "10.0.0.2", "count", "4", "interval", "0.01", "timeout", "0.01"])
        head, text = await scrape(port)
        assert head.startswith("HTTP/1.1 200 OK\r\n")
        assert "Content-Type: application/openmetrics-text" in head
        samples = {
            (sample.name, *sorted(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
        sent = lab["host0"].ports[0].sent
        assert samples["tmelink_connection_frames_total", "host0", "host1"] == sent.frames
        assert samples["tmelink_connection_bytes_total", "host0", "host1"] == sent.bytes
        reason = next(reason for reason, count in sent.drops.items() if count)
        assert (
            samples["tmelink_connection_dropped_frames_total", "host0", "host1", reason] == sent.drops[reason]
        )
        assert samples["tmelink_connection_waiting_frames", "host0", "host1"] == 0
        assert samples["tmelink_element_up", "host0", "tmelink/host"] == 1
        assert samples["tmelink_element_up", "link0", "tme/host/openvpn/socket/link"] == 0
        assert samples["tmelink_openvpn_handshakes_total", "link0"] == 0
        assert samples["tmelink_lab_info", *sorted(("", "lab", "lab.conf", version("tmelink")))] == 1
        assert 0 <= samples["tmelink_event_loop_lag_seconds",] < 1
        assert samples["process_cpu_seconds_total",] > 0
        assert samples["process_resident_memory_bytes",] > 1 << 20

    with_lab(body)


def test_whoever_asks_for_plain_text_gets_that() -> None:
    async def body(lab: tmelink.Lab, port: int) -> None:
        head, text = await scrape(port, "text/plain")
        assert "Content-Type: text/plain; version=0.0.4" in head
        assert "# EOF" not in text
        assert "tmelink_element_up{" in text

    with_lab(body)


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("GET /other HTTP/1.1", "404"),
        ("POST /metrics HTTP/1.1", "405"),
        ("HEAD /metrics HTTP/1.1", "200"),
        ("nonsense", "404"),
    ],
)
def test_other_requests_are_answered(request_line: str, status: str) -> None:
    async def body(lab: tmelink.Lab, port: int) -> None:
        head, text = await ask(port, f"{request_line}\r\n\r\n")
        assert head.split(" ")[1] == status
        assert not (request_line.startswith("HEAD") and text)

    with_lab(body)


def test_one_that_asks_for_too_much_has_no_answer() -> None:
    async def body(lab: tmelink.Lab, port: int) -> None:
        head, _ = await ask(port, "GET /" + "x" * 70_000)
        assert head == ""

    with_lab(body)


def test_connections_that_say_nothing_are_bounded() -> None:
    async def body(lab: tmelink.Lab, port: int) -> None:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS)]
        head, _ = await scrape(port)
        assert head == ""
        for _, writer in silent:
            writer.close()
            await writer.wait_closed()
        while not (await scrape(port))[0]:  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)

    with_lab(body)


def test_a_port_that_is_taken_is_said_with_the_option() -> None:
    async def body(lab: tmelink.Lab, port: int) -> None:
        control = Control(lab, "lab", "lab.conf", None, lambda: lab.machine)
        with pytest.raises(TmelinkError, match=rf"--metrics 127\.0\.0\.1:{port}: .*in use"):
            async with MetricsEndpoint(control).serving("127.0.0.1", port):
                pass

    with_lab(body)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:9273", ListenAddress("127.0.0.1", 9273)),
        (":9273", ListenAddress("127.0.0.1", 9273)),
        ("[::1]:0", ListenAddress("::1", 0)),
    ],
)
def test_addresses_to_listen_on(text: str, address: ListenAddress) -> None:
    assert listen_address(text) == address


@pytest.mark.parametrize("text", ["9273", "127.0.0.1", "localhost:http", "127.0.0.1:70000"])
def test_what_is_not_an_address_is_said(text: str) -> None:
    with pytest.raises(ValueError, match="is not an address with a port"):
        listen_address(text)

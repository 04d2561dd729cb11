"""A lab under Debian's Prometheus: promtool finds no fault with its metrics, and a server scrapes them."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.netns import Process
from tests.support.pki import Authority
from tests.support.sockets import free_port
from tmelink.control import connect

TMELINK = [sys.executable, "-m", "tmelink"]
DASHBOARD = Path(__file__).parents[2] / "docs/grafana-dashboard.json"

CERTIFICATES = """
host0: tmelink/host inet 10.0.0.1/24
link0 at host0: tme/host/openvpn/socket/link --dev tap --proto tcp-server --local 127.0.0.1 \\
    --lport {port} --tls-server --ca {pki}/ca.crt --cert {pki}/server.crt --key {pki}/server.key --dh none
host1: tmelink/host inet 10.0.0.2/24
link1 at host1: tme/host/openvpn/socket/link --dev tap --proto tcp-client --remote 127.0.0.1 {port} \\
    --tls-client --ca {pki}/ca.crt --cert {pki}/client.crt --key {pki}/client.key
"""
SECONDS = 20


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[int]:
    """A lab with an encrypted link to itself; the port of its metrics."""
    authority = Authority(time.time())
    for name in ("server", "client"):
        pair = authority.issue(name, name)
        (tmp_path / f"{name}.crt").write_bytes(pair.pem)
        (tmp_path / f"{name}.key").write_bytes(pair.key_pem)
        (tmp_path / f"{name}.key").chmod(0o600)
    (tmp_path / "ca.crt").write_bytes(authority.own.pem)
    text = CERTIFICATES.format(port=free_port(socket.SOCK_STREAM), pki=tmp_path)
    (tmp_path / "lab.conf").write_text(text)
    process = Process([*TMELINK, "run", "lab.conf", "--metrics", "127.0.0.1:0"], cwd=tmp_path)
    try:
        line = process.expect("metrics: http://")
        process.expect("running: ")
        process.expect("link1.*up")
        yield int(line.rsplit(":", 1)[1].removesuffix("/metrics"))
        assert process.stop() == 0
    finally:
        process.kill()


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=SECONDS) as answer:
        data: bytes = answer.read()
        return data


def asked(port: int, query: str) -> list[dict[str, Any]]:
    """The result of a query of PromQL; empty while there is nothing."""
    url = f"http://127.0.0.1:{port}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    found: list[dict[str, Any]] = json.loads(get(url))["data"]["result"]
    return found


@pytest.mark.needs("promtool")
def test_promtool_finds_no_fault_with_the_metrics(lab: int) -> None:
    text = get(f"http://127.0.0.1:{lab}/metrics")
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, check=False, timeout=SECONDS
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


@pytest.mark.needs("prometheus")
def test_prometheus_scrapes_a_lab_and_the_dashboards_queries_find_something(lab: int, tmp_path: Path) -> None:
    (tmp_path / "prometheus.yml").write_text(
        "global: {scrape_interval: 500ms, scrape_timeout: 500ms}\n"
        f"scrape_configs: [{{job_name: tmelink, static_configs: [{{targets: ['127.0.0.1:{lab}']}}]}}]\n"
    )
    port = free_port(socket.SOCK_STREAM)
    command = [
        "prometheus",
        f"--config.file={tmp_path}/prometheus.yml",
        f"--storage.tsdb.path={tmp_path}/data",
    ]
    server = Process([*command, f"--web.listen-address=127.0.0.1:{port}"])
    try:
        server.expect("Server is ready to receive web requests")
        with connect("lab") as control:
            control.call("exec", text="host0 ping 10.0.0.2 count 3 interval 0.01")
        panels = json.loads(DASHBOARD.read_text())["panels"]
        queries = [target["expr"] for panel in panels for target in panel["targets"]]
        assert len(queries) > 8
        empty = {*queries, 'tmelink_connection_frames_total{source="host0"} > 2'}
        until = time.monotonic() + SECONDS
        while empty:
            assert time.monotonic() < until, f"nothing is found for {empty}"
            time.sleep(0.1)
            empty = {each for each in empty if not asked(port, each.replace("$__rate_interval", "3s"))}
        (up,) = asked(port, 'tmelink_element_up{element="link1"}')
        assert up["value"][1] == "1"
        (handshakes,) = asked(port, 'tmelink_openvpn_handshakes_total{element="link1"}')
        assert handshakes["value"][1] == "1"
        (round_trip,) = asked(port, 'tmelink_openvpn_round_trip_seconds{element="link1"}')
        assert 0 < float(round_trip["value"][1]) < SECONDS
    finally:
        server.stop()

"""What every test may say it needs: root, and programs to be tested against.

`@pytest.mark.needs_root` and `@pytest.mark.needs("openvpn", "tcpdump")` skip a test with the reason in
words; with TMELINK_FULL=1 any skip is a failure. The summary names the programs that executed tests used, and
with TMELINK_FULL=1 it has the tables that tests recorded.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator

import pytest

FULL = os.environ.get("TMELINK_FULL") == "1"

PACKAGES = {
    "ip": "iproute2",
    "bridge": "iproute2",
    "nft": "nftables",
    "ping": "iputils-ping",
    "danted": "dante-server",
    "nginx": "nginx-light",
    "qemu-system-x86_64": "qemu-system-x86",
    "busybox": "busybox-static",
    "bochs": "bochs bochs-term bochsbios vgabios ipxe-qemu",
    "vde_switch": "vde2",
    "vde_plug": "vde2",
    "promtool": "prometheus",
    "setpriv": "util-linux",
    "unshare": "util-linux",
    "dot": "graphviz",
    "systemd-nspawn": "systemd-container",
    "ssh": "openssh-client",
    "ansible-playbook": "ansible-core",
}
"""Debian's package of a program, where it has another name."""

VERSION_SECONDS = 10

USED = "ran against"
"""The property of a report that names a program."""

_used: set[str] = set()

_tables: dict[str, list[str]] = {}
"""Rows that tests have recorded under a title with `record_property`, for the summary."""


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        # Under nohup(1) every program that a test starts would ignore it too; a handler is not inherited.
        signal.signal(signal.SIGHUP, lambda number, frame: None)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # So it is in the background of a shell script, and Ctrl-C could be tried on no program.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "fuzz: tries many examples; TMELINK_FUZZ=N tries N times as many")
    config.addinivalue_line("markers", "needs_root: needs root, for namespaces and interfaces")
    config.addinivalue_line("markers", "needs(program, …): runs against programs that must be installed")


@pytest.fixture(autouse=True)
def _labs_of_its_own(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Labs of a test have their names among themselves, whatever else runs on this computer."""
    # Short, since a socket's address takes no more than 107 bytes.
    with tempfile.TemporaryDirectory(prefix="tm-") as directory:
        monkeypatch.setenv("TMELINK_RUNTIME_DIR", directory)
        yield


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("needs_root") is not None:
        if sys.platform != "linux":
            pytest.skip(f"needs Linux's network namespaces, and this is {sys.platform}")
        if os.geteuid() != 0:
            pytest.skip("needs root, to make network namespaces and interfaces")
    for program in _needed(item):
        if shutil.which(program) is None:
            package = PACKAGES.get(program, program)
            pytest.skip(f"needs {program}, which is not installed: apt-get install {package}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call" and not report.skipped:
        # A report travels from the process that ran the test to the one that sums up.
        report.user_properties += [(USED, program) for program in _needed(item)]
    if FULL and report.skipped and not hasattr(report, "wasxfail"):
        _fail(report)
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _used.update(str(value) for name, value in report.user_properties if name == USED)
    if report.when == "call":
        for name, value in report.user_properties:
            if name != USED:
                _tables.setdefault(name, []).append(str(value))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    if FULL and report.skipped:
        _fail(report)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for title, rows in _tables.items() if FULL else ():
        terminalreporter.write_line(f"\n{title}")
        for row in rows:
            terminalreporter.write_line(row)
    peers = ", ".join(f"{program} {_version(program)}".rstrip() for program in sorted(_used))
    terminalreporter.write_line(
        f"ran against {len(_used)} peer{'' if len(_used) == 1 else 's'}{f': {peers}' if peers else ''}"
    )


def _fail(report: pytest.TestReport | pytest.CollectReport) -> None:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
    report.outcome = "failed"
    report.longrepr = f"TMELINK_FULL=1 allows no skip, and this test was: {reason}"


def _needed(item: pytest.Item) -> list[str]:
    return [program for mark in item.iter_markers("needs") for program in mark.args]


@functools.cache
def _version(program: str) -> str:
    """The first thing that looks like a version in what the program says of itself."""
    for option in ("--version", "-V"):
        try:
            said = subprocess.run(
                [program, option], capture_output=True, text=True, timeout=VERSION_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        # ip and ping write a date instead of a dotted version on some systems.
        if found := re.search(r"\d+(\.\d+)+|\b\d{6,8}\b", said.stdout + said.stderr):
            return found.group()
    return ""

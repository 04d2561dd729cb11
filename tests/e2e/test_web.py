"""The web page in Debian's Chromium: what it shows as a lab changes, and what it does to a lab."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.browser import Page, chromium, running_page
from tests.support.sockets import free_port
from tmelink.control import connect

LAB = """
host0: tmelink/host inet 10.0.0.1/24
switch0 at host0: tmelink/switch
host1 at switch0: tmelink/host inet 10.0.0.2/24
link0 at switch0: tme/host/openvpn/socket/link --dev tap --local 127.0.0.1 --lport {one} \\
    --remote 127.0.0.1 {other} --ping 1 --ping-restart 2
link1: tme/host/openvpn/socket/link --dev tap --local 127.0.0.1 --lport {other} \\
    --remote 127.0.0.1 {one} --ping 1 --ping-restart 2
"""

pytestmark = pytest.mark.needs("chromium", "chromedriver", "tcpdump")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Page, str, Path]]:
    """One browser and one lab for all tests: both take seconds to start."""
    folder = tmp_path_factory.mktemp("web")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMELINK_RUNTIME_DIR", str(folder / "run"))
        text = LAB.format(one=free_port(), other=free_port())
        with running_page(folder, text, "--write") as address, chromium(folder) as browser:
            browser.get(address)
            yield Page(browser), text, folder


@pytest.fixture(autouse=True)
def _the_labs_place(page: tuple[Page, str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMELINK_RUNTIME_DIR", str(page[2] / "run"))


def ping(count: int = 3) -> str:
    with connect("lab") as lab:
        done = lab.call("exec", text=f"host0 ping 10.0.0.2 count {count} interval 0.01")
        return str(done["output"][0])


def test_the_page_shows_states_and_follows_them(page: tuple[Page, str, Path]) -> None:
    shown, _, _ = page
    shown.shows("#summary", "5 of 5 elements up")
    assert "up" in shown.row("link0")
    # The other end goes: within the link's --ping-restart the page says so.
    with connect("lab") as lab:
        lab.call("exec", text="rm link1")
    shown.shows('tr[data-key="link0"]', "down")
    shown.shows("#log", "link0 down")
    assert shown.browser.find_elements("css selector", 'tr[data-key="link1"]') == []
    shown.wait(
        lambda: shown.browser.execute_script("return document.querySelectorAll('#topology canvas').length"),
        "the picture",
    )
    # A file is applied, its difference is shown first.
    assert not shown.find("#apply").is_enabled()
    shown.find("#compare").click()
    shown.shows("#difference", "link1")
    shown.find("#apply").click()
    shown.shows('tr[data-key="link1"]', "link1")
    shown.shows("#summary", "5 of 5 elements up")


def test_a_mistake_in_a_file_is_shown_and_nothing_changes(page: tuple[Page, str, Path]) -> None:
    shown, _, _ = page
    shown.browser.execute_script("document.getElementById('text').value += 'x at nowhere: tmelink/host\\n'")
    shown.find("#compare").click()
    shown.shows("#difference", "nowhere")
    assert not shown.find("#apply").is_enabled()


def test_an_impairment_shows_in_a_ping(page: tuple[Page, str, Path]) -> None:
    shown, _, _ = page
    shown.choose(connection())
    shown.browser.execute_script(
        "const slider = document.getElementById('impair-delay');"
        "slider.value = 40; slider.dispatchEvent(new Event('input'));"
    )
    shown.find("#impair-apply").click()
    shown.shows("#impair [role=status]", "delay 40ms")
    rtt = re.search(r"rtt min/avg/max ([\d.]+)/", ping())
    assert rtt is not None
    assert float(rtt[1]) >= 79.9  # 40 ms there and 40 ms back
    shown.shows("#details dl", "delay 40ms")
    shown.find("#impair-clear").click()
    shown.shows("#impair [role=status]", "not impaired")
    rtt = re.search(r"rtt min/avg/max ([\d.]+)/", ping())
    assert rtt is not None
    assert float(rtt[1]) < 40


def connection() -> str:
    with connect("lab") as lab:
        rows = lab.call("status")["connections"]
    return next(f"{row['from']}:{row['to']}" for row in rows if "host0" in (row["from"], row["to"]))


def test_a_capture_is_downloaded(page: tuple[Page, str, Path]) -> None:
    shown, _, folder = page
    shown.choose(connection())
    shown.find("#filter").send_keys("icmp")
    shown.browser.execute_script("document.getElementById('count').value = 4")
    shown.find("#capture").click()
    stop = threading.Event()

    def frames() -> None:
        while not stop.is_set():
            ping()

    pinging = threading.Thread(target=frames)
    pinging.start()
    try:
        file = shown.wait(lambda: next(folder.glob("*.pcapng"), None), "a file")
    finally:
        stop.set()
        pinging.join()
    listed = subprocess.run(["tcpdump", "-n", "-r", file], capture_output=True, text=True, check=True).stdout
    assert listed.count("ICMP echo re") == 4


def test_the_keyboard_reaches_everything_and_a_phone_needs_no_sideways_scrolling(
    page: tuple[Page, str, Path],
) -> None:
    shown, _, _ = page
    missing = shown.browser.execute_script(
        "return [...document.querySelectorAll('input, textarea, button')].filter((each) =>"
        " !each.labels?.length && !each.textContent.trim() && !each.ariaLabel).map((each) => each.id)"
    )
    assert missing == []
    assert shown.find("#elements button").aria_role == "button"
    shown.browser.set_window_size(400, 800)
    shown.wait(
        lambda: shown.browser.execute_script(
            "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        ),
        "a page as wide as a phone",
    )


def test_nothing_came_from_elsewhere_and_nothing_was_refused(page: tuple[Page, str, Path]) -> None:
    shown, _, _ = page
    events = [json.loads(each["message"])["message"] for each in shown.browser.get_log("performance")]
    urls = [
        each["params"]["request"]["url"] for each in events if each["method"] == "Network.requestWillBeSent"
    ]
    assert any(url.endswith("/static/app.js") for url in urls)
    assert [url for url in urls if not url.startswith(("http://127.0.0.1:", "data:"))] == []
    complaints = [each for each in shown.browser.get_log("browser") if each["level"] == "SEVERE"]
    assert [each for each in complaints if "400 (Bad Request)" not in each["message"]] == []

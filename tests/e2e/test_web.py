"""The web page in Debian's Chromium: what it shows as a lab changes, and what it does to a lab."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_core_python.selenium import Axe
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

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
simh: tmelink/process terminal sh
"""

WIRESHARK = """#!/bin/sh
echo "$@" > {folder}/wireshark.words
exec cat > {folder}/wireshark.pcapng
"""
"""Stands for Wireshark, which is not among the programs that tests need."""

pytestmark = pytest.mark.needs("chromium", "chromedriver", "tcpdump")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Page, str, Path]]:
    """One browser and one lab for all tests: both take seconds to start."""
    folder = tmp_path_factory.mktemp("web")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMELINK_RUNTIME_DIR", str(folder / "run"))
        program = folder / "bin" / "wireshark"
        program.parent.mkdir()
        program.write_text(WIRESHARK.format(folder=folder))
        program.chmod(0o755)
        patch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        patch.setenv("DISPLAY", ":none")
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
    shown.shows("#summary", "6 of 6 elements up")
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
    shown.shows("#summary", "6 of 6 elements up")


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
    assert listed(file).count("ICMP echo re") == 4


def test_a_capture_opens_in_wireshark(page: tuple[Page, str, Path]) -> None:
    shown, _, folder = page
    shown.choose(connection())
    shown.find("#wireshark").click()
    file = folder / "wireshark.pcapng"
    shown.wait(lambda: file.exists() and file.stat().st_size > 0, "a capture")
    assert (folder / "wireshark.words").read_text() == "-k -i -\n"
    ping()
    shown.wait(lambda: listed(file).count("ICMP echo re") == 6, "pings in the capture")


def listed(file: Path) -> str:
    """What tcpdump makes of a capture that may not be at its end."""
    return subprocess.run(["tcpdump", "-n", "-r", file], capture_output=True, text=True, check=False).stdout


def test_the_findings_of_doctor_are_shown(page: tuple[Page, str, Path]) -> None:
    shown, _, _ = page
    with connect("lab") as lab:
        lab.call("exec", text="rm link1")
    shown.shows('tr[data-key="link0"]', "down")
    shown.find("#look").click()
    shown.shows("#findings", "link0")
    with connect("lab") as lab:
        found = lab.call("doctor")
    assert found
    for each in found:
        for part in ("text", "evidence", "remedy"):
            assert each[part] in shown.find("#findings").text


def test_the_console_of_an_emulator_shows_what_it_writes_and_takes_what_is_typed(
    page: tuple[Page, str, Path],
) -> None:
    shown, _, _ = page
    shown.choose("simh")
    shown.find(".console .xterm-screen").click()
    shown.keys("echo six times seven is $((6 * 7))", Keys.ENTER)
    shown.shows(".console .xterm-rows", "six times seven is 42")
    # What was on it is there again after another element was looked at.
    shown.choose("host0")
    assert shown.browser.find_elements("css selector", ".console") == []
    shown.choose("simh")
    shown.shows(".console .xterm-rows", "six times seven is 42")
    # The keyboard gets in and out again.
    shown.find(".console .xterm-screen").click()
    assert shown.keys(Keys.TAB).tag_name == "textarea"
    ActionChains(shown.browser).key_down(Keys.CONTROL).send_keys(Keys.F6).key_up(Keys.CONTROL).perform()
    assert shown.browser.switch_to.active_element.get_attribute("id") == "details"


def test_the_keyboard_alone_is_enough_to_impair_a_connection(page: tuple[Page, str, Path]) -> None:
    shown, _, _ = page
    shown.choose("host0")
    shown.find("h1").click()
    row = f'tr[data-key="{connection()}"] button'

    def reach(selector: str) -> None:
        wanted = shown.find(selector)
        for _ in range(60):
            if shown.keys(Keys.TAB) == wanted:
                return
        raise AssertionError(f"Tab does not reach {selector}")

    reach(row)
    width = shown.browser.execute_script("return getComputedStyle(document.activeElement).outlineWidth")
    assert float(width.removesuffix("px")) >= 2, "the focus is seen"
    # Enter shows the details, and the focus goes there.
    assert shown.keys(Keys.ENTER).get_attribute("id") == "details"
    reach("#impair-loss")
    shown.keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    reach("#impair-apply")
    shown.keys(Keys.SPACE)
    shown.shows("#impair [role=status]", "loss 2%")
    reach("#impair-clear")
    shown.keys(Keys.ENTER)
    shown.shows("#impair [role=status]", "not impaired")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_screen_reader_has_names_for_all_and_colours_are_told_apart(
    page: tuple[Page, str, Path], scheme: str
) -> None:
    """By axe-core's rules for WCAG 2 A and AA, contrast among them, in both colour schemes."""
    shown, _, _ = page
    shown.prefers(scheme)
    for name in (connection(), "simh"):
        shown.choose(name)
        background = shown.browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 3 * 64) == (scheme == "dark")
        # xterm.js draws its rows as a picture, beside the list that a screen reader reads.
        found = Axe().run(shown.browser, {"exclude": [[".xterm-screen"]]})
        faults = [f"{each['id']}: {each['nodes'][0]['html']}" for each in found["violations"]]
        assert faults == []
    tree = shown.browser.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    spoken = {(each["role"]["value"], each["name"]["value"]) for each in tree if not each["ignored"]}
    for each in (
        ("heading", "Topology"), ("table", "Connections"), ("button", connection()), ("log", "Events"),
        ("textbox", "Console of simh"), ("button", "Look again"),
    ):  # fmt: skip
        assert each in spoken, sorted(spoken)


def test_a_phone_needs_no_sideways_scrolling(page: tuple[Page, str, Path]) -> None:
    shown, _, _ = page
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

"""Debian's Chromium under selenium, and a lab with its web page to look at."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests.support.netns import Process

TMELINK = [sys.executable, "-m", "tmelink"]

SECONDS = 30
"""For what the page is expected to show."""


@contextlib.contextmanager
def chromium(downloads: Path, width: int = 1280, height: int = 900) -> Iterator[webdriver.Chrome]:
    """A browser that saves files below `downloads`, and logs what its console says."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for each in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(each)
    options.add_argument(f"--window-size={width},{height}")
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = webdriver.Chrome(options, Service("/usr/bin/chromedriver"))
    try:
        yield browser
    finally:
        browser.quit()


@contextlib.contextmanager
def running_page(folder: Path, text: str, *arguments: str) -> Iterator[str]:
    """A lab of that text, called "lab", and the address of its page."""
    (folder / "lab.conf").write_text(text)
    lab = Process([*TMELINK, "run", "lab.conf", "--keep-going"], cwd=folder)
    page: Process | None = None
    try:
        lab.expect("running: ")
        page = Process([*TMELINK, "web", "lab", "--listen", "127.0.0.1:0", *arguments], cwd=folder)
        yield page.expect("^http://")
        page.stop()
        lab.stop()
    finally:
        for each in (page, lab):
            if each is not None:
                each.kill()


class Page:
    """What a person would do with the page."""

    def __init__(self, browser: webdriver.Chrome) -> None:
        self.browser = browser

    def wait(self, condition: Callable[[], Any], what: str) -> Any:
        """The condition's value once it holds."""
        return WebDriverWait(self.browser, SECONDS, 0.1).until(lambda browser: condition(), what)

    def find(self, selector: str) -> WebElement:
        """The element of a CSS selector, once it is there."""
        found: WebElement = self.wait(
            lambda: next(iter(self.browser.find_elements(By.CSS_SELECTOR, selector)), None), selector
        )
        return found

    def row(self, name: str) -> str:
        """The text of a table's row."""
        return self.find(f'tr[data-key="{name}"]').text

    def prefers(self, scheme: str) -> None:
        """Let the system's colours be "dark" or "light"."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def keys(self, *keys: str) -> WebElement:
        """Press keys where the focus is; returns where it is then."""
        ActionChains(self.browser).send_keys(*keys).perform()
        return self.browser.switch_to.active_element

    def choose(self, name: str) -> None:
        """Show the details of an element or a connection."""
        self.find(f'tr[data-key="{name}"] button').click()
        self.wait(lambda: name in self.find("#details-title").text, f"details of {name}")

    def shows(self, selector: str, text: str) -> None:
        """Await a text."""
        self.wait(lambda: text in self.find(selector).text, f"{text!r} in {selector}")

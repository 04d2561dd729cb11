"""Draws docs/web.png and docs/web-console.png: `python -m tests.support.screenshots`, in Chromium."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from tests.support.browser import Page, chromium, running_page
from tmelink.control import connect

DOCS = Path(__file__).parents[2] / "docs"

LAB = """\
host0: tmelink/host inet 10.0.0.1/24
switch0 at host0: tmelink/switch
host1 at switch0: tmelink/host inet 10.0.0.2/24
host2 at switch0: tmelink/host inet 10.0.0.3/24
link0 at switch0: tme/host/openvpn/socket/link --dev tap --nobind --remote 127.0.0.1 9
guest at switch0: tmelink/qemu extra "-device sga"
impair host0 at switch0 delay 20ms loss 10% seed 1
"""


def main() -> None:
    """A connection with traffic on it, and the console of an emulator in the dark."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        os.environ["TMELINK_RUNTIME_DIR"] = str(folder / "run")
        with running_page(folder, LAB, "--write") as address, chromium(folder, 1280, 1150) as browser:
            browser.get(address)
            page = Page(browser)
            page.shows("#summary", "elements up")
            for _ in range(6):
                with connect("lab") as lab:
                    lab.call("exec", text="host0 ping 10.0.0.2 count 40 interval 0.02 size 1000")
            with connect("lab") as lab:
                row = next(each for each in lab.call("status")["connections"] if "host0" in each.values())
            page.choose(f"{row['from']}:{row['to']}")
            page.shows("#details dl", "delay 20ms")
            browser.save_screenshot(str(DOCS / "web.png"))
            page.prefers("dark")
            page.choose("guest")
            page.shows(".console .xterm-rows", "iPXE")
            browser.set_window_size(1280, 900)
            browser.save_screenshot(str(DOCS / "web-console.png"))


if __name__ == "__main__":
    main()

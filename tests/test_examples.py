"""The examples do what they say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from keystone import KS_ARCH_X86, KS_MODE_32, Ks  # type: ignore[import-untyped,unused-ignore]

EXAMPLES = Path(__file__).parent.parent / "examples"


def output(name: str) -> str:
    done = subprocess.run(
        [sys.executable, EXAMPLES / name], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_two_cards() -> None:
    assert output("two_cards.py") == (
        "link up\n"
        "got b'\\x02\\x00\\x00\\x00\\x00\\x01\\x02\\x00\\x00\\x00\\x00\\x02\\x90\\x00"
        "hello.........................................'\n"
        "link down\n"
    )


def test_unicorn_lance() -> None:
    text = output("unicorn_lance.py")
    assert "3 sent, 3 received, 0% loss" in text
    assert "answered ARP yes" in text
    assert "answered 3 pings" in text
    assert "own ping was answered 1 times" in text


def test_the_program_is_what_its_source_says() -> None:
    lines = [line.split("#")[0].strip() for line in (EXAMPLES / "lance_driver.s").read_text().splitlines()]
    code, _ = Ks(KS_ARCH_X86, KS_MODE_32).asm("\n".join(filter(None, lines)), 0x1000, as_bytes=True)
    program = re.search(
        r"PROGRAM = bytes.fromhex\((.*?)\n\)", (EXAMPLES / "unicorn_lance.py").read_text(), re.S
    )
    assert program is not None
    assert bytes.fromhex("".join(re.findall(r'"(\w+)"', program[1]))) == code

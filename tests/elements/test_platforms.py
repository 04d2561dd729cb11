"""What only Linux has is looked for only when it is used: a file can be checked anywhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

LINUX_ONLY = ("fcntl", "pyroute2", "pytun")

CHECK = f"""
import asyncio, subprocess, sys
for name in {LINUX_ONLY!r}:
    sys.modules[name] = None
import tmelink
from tmelink import registry
for name in registry.names():
    print(name, registry.element_class(name).usage(name))
from tmelink.cli import main
sys.exit(main(["check", sys.argv[1]]))
"""

MACHINE = """
tap1: tme/host/tun/tap interface tap0 inet 10.0.0.1/24
tap1 at tap1
le0: tmelink/host inet 10.0.0.2/24
bpf1 at le0: tme/host/bsd/bpf interface tap0
pc: tmelink/netns lab inet 10.0.0.3/24
pc at pc
"""


def test_a_file_with_linux_elements_is_checked_without_their_packages(tmp_path: Path) -> None:
    path = tmp_path / "lab.conf"
    path.write_text(MACHINE)
    done = subprocess.run(
        [sys.executable, "-c", CHECK, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tmelink/netns NAME" in done.stdout


EVERY_MODULE = """
import importlib, pkgutil, sys
for name in ("pyroute2", "pytun"):
    sys.modules[name] = None
import tmelink
modules = [each.name for each in pkgutil.walk_packages(tmelink.__path__, "tmelink.")]
for name in modules:
    if not name.endswith("__main__"):
        importlib.import_module(name)
print(len(modules))
"""


def test_every_module_is_imported_without_the_packages_of_linux() -> None:
    done = subprocess.run([sys.executable, "-c", EVERY_MODULE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 200

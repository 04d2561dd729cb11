"""systemd units under test."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

PLAIN = "sw0: tmelink/switch\ntap0 at sw0: tme/host/tun/tap\n"


def exposure(path: Path) -> float:
    """What `systemd-analyze security` says of a unit: 10 is wide open."""
    words = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(path)]
    said = subprocess.run(words, capture_output=True, text=True, check=False).stdout
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert found is not None, said
    return float(found[1])

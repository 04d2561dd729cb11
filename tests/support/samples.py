"""The samples as somebody has them who followed their first lines."""

from __future__ import annotations

import re
from pathlib import Path

KEY_FILE = re.compile(r"--(?:secret|ca|cert|key|tls-crypt|tls-auth|pkcs12|auth-user-pass) (\S+)")


def with_keys(sample: Path, folder: Path) -> Path:
    """A copy of the sample in `folder`, with an empty file for each key and certificate that it names."""
    copy = folder / sample.name
    copy.write_text(sample.read_text())
    for name in KEY_FILE.findall(copy.read_text()):
        (folder / name).touch()
    for other in sample.parent.glob("*.conf"):
        if other != sample:
            (folder / other.name).write_text(other.read_text())
    return copy

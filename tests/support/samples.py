"""The samples as somebody has them who followed their first lines."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

from tmelink.cli import main

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


def with_made_keys(sample: Path, folder: Path, *names: str) -> Path:
    """A copy of the sample in `folder` that runs, after `tmelink keygen` for each of the names.

    The fingerprints that it prints replace the rows of 11, 22 and so on, in the order of the names.
    """
    text = sample.read_text()
    for number, name in enumerate(names, 1):
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            assert main(["keygen", str(folder / name)]) == 0
        (fingerprint,) = set(re.findall(r"(?:[0-9A-F]{2}:){31}[0-9A-F]{2}", said.getvalue()))
        row = ":".join([f"{number}{number}"] * 32)
        assert row in text, f"{sample.name} has no place for the fingerprint of {name}"
        text = text.replace(row, fingerprint)
    copy = folder / sample.name
    copy.write_text(text)
    return copy

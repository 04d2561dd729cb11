"""The copies of key files that systemd keeps for a service (systemd.exec(5), LoadCredential=).

`LoadCredential=keys:FOLDER` puts a copy of each file of FOLDER into memory that is never swapped, as
`keys_NAME`, and CREDENTIALS_DIRECTORY says where.
"""

from __future__ import annotations

import os
from pathlib import Path

DIRECTORY = "CREDENTIALS_DIRECTORY"


def of(path: Path) -> Path:
    """The service's copy of a file, by the names of its folder and its own; the file where there is none."""
    folder = os.environ.get(DIRECTORY)
    if folder:
        copy = Path(folder, f"{path.parent.name}_{path.name}")
        if copy.exists():
            return copy
    return path

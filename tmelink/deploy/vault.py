"""Keys in files that ansible-vault has encrypted, so that their folder may be backed up or shared."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tmelink.deploy import ansible_run
from tmelink.errors import TmelinkError

FOLDER_MODE = 0o700
HEADER = b"$ANSIBLE_VAULT;"
"""What a file begins with that ansible-vault has encrypted."""


def is_encrypted(path: Path) -> bool:
    """Whether it is such a file; raises `OSError`."""
    with path.open("rb") as file:
        return file.read(len(HEADER)) == HEADER


class Vault:
    """The files of `folder`, encrypted under the password in a file, or of a program that prints it."""

    def __init__(self, folder: Path, password: Path) -> None:
        self.folder = folder
        self._password = password.absolute()

    def open_into(self, place: Path) -> None:
        """Put the files into `place` as they are without encryption; raises `TmelinkError`."""
        place.mkdir(mode=FOLDER_MODE, parents=True)
        for path in self._files(self.folder):
            shutil.copy2(path, place / path.name)
        self._run("decrypt", [path for path in self._files(place) if is_encrypted(path)])

    def keep(self, place: Path, work: Path) -> None:
        """Let the folder have what `place` has, encrypted; `work` is a new folder for what it had.

        A file that is the same stays as it is. Raises `TmelinkError`.
        """
        self.open_into(work)
        changed = [path for path in self._files(place) if not self._holds(path, work / path.name)]
        self.folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        # Beside those that they replace, so that none is lost when this is interrupted.
        new = [Path(shutil.copy2(path, self.folder / f".{path.name}.new")) for path in changed]
        self.encrypt(new)
        for path, kept in zip(new, changed, strict=True):
            path.replace(self.folder / kept.name)

    def _holds(self, path: Path, before: Path) -> bool:
        kept = self.folder / path.name
        return before.exists() and before.read_bytes() == path.read_bytes() and is_encrypted(kept)

    def encrypt(self, paths: Sequence[Path]) -> None:
        """Encrypt files where they are."""
        self._run("encrypt", paths)

    @staticmethod
    def _files(folder: Path) -> list[Path]:
        return sorted(path for path in folder.glob("*") if path.is_file() and not path.name.startswith("."))

    def _run(self, what: str, paths: Sequence[Path]) -> None:
        if not paths:
            return
        program = ansible_run.program("ansible-vault")
        done = subprocess.run(
            [program, what, "--vault-password-file", str(self._password), *map(str, paths)],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            said = done.stderr.strip().rpartition("\n")[2] or f"it ended with {done.returncode}"
            raise TmelinkError(f"ansible-vault {what}: {said}")

"""The keys of a file's hosts and links, in a folder that only its owner reads."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from tmelink.deploy.vault import HEADER
from tmelink.errors import TmelinkError
from tmelink.openvpn.tls.identity import fingerprint
from tmelink.openvpn.tls.keygen import generate
from tmelink.system import private_file
from tmelink.transport.rendezvous import KEY_BYTES, key_name, read_key

FOLDER_MODE = 0o700

SECRETS = (".key", ".rendezvous")
"""How the names of files end that hold secrets; certificates are none."""


@dataclass(frozen=True)
class HostKeys:
    """The files of a host's private key and certificate, and the certificate's fingerprint."""

    key: Path
    certificate: Path
    fingerprint: str

    @property
    def stem(self) -> str:
        """A name for the pair that differs from that of the keys before: `NAME-84d769bf`."""
        return f"{self.key.stem}-{self.fingerprint.replace(':', '')[:8].lower()}"


@dataclass(frozen=True)
class RendezvousKey:
    """The file of a link's key at a rendezvous, and a name for it that differs from the last key's."""

    path: Path
    stem: str


class KeyFolder:
    """Keys in `folder`, one pair a host. A missing pair is made when it is asked for.

    With `spare` new pairs are made in that folder instead, so that a look at what would be leaves nothing.
    """

    def __init__(self, folder: Path, spare: Path | None = None) -> None:
        self.folder = folder
        self.made: list[str] = []
        self._spare = spare
        self._known: dict[str, HostKeys] = {}

    def of(self, host: str) -> HostKeys:
        """The keys of a host; raises `TmelinkError` if they cannot be read or written."""
        if host not in self._known:
            self._known[host] = self._read(host)
        return self._known[host]

    def _read(self, host: str) -> HostKeys:
        keys = self._in(self.folder, host)
        try:
            if not (keys[0].exists() and keys[1].exists()):
                keys = self._in(self._spare or self.folder, host)
                if host not in self.made:
                    self._generate(host, *keys)
            known = x509.load_pem_x509_certificate(_content(keys[1]))
        except (OSError, ValueError) as error:
            raise TmelinkError(f"{keys[1]}: {getattr(error, 'strerror', None) or error}") from error
        return HostKeys(*keys, fingerprint(known))

    @staticmethod
    def _in(folder: Path, host: str) -> tuple[Path, Path]:
        return folder / f"{host}.key", folder / f"{host}.crt"

    def rotate(self, host: str) -> None:
        """Put a host's keys aside as `HOST.key.old` and `HOST.crt.old`, so that new ones are made."""
        self._known.pop(host, None)
        for name in (f"{host}.key", f"{host}.crt"):
            self._put_aside(self.folder / name)

    def rotate_rendezvous(self) -> None:
        """Put the keys of all rendezvous aside likewise."""
        for path in self.folder.glob("*.rendezvous"):
            self._put_aside(path)

    @staticmethod
    def _put_aside(path: Path) -> None:
        if path.exists():
            path.replace(path.with_name(f"{path.name}.old"))

    def rendezvous(self, name: str) -> RendezvousKey:
        """The key under which the two ends of a link meet; raises as `of` does."""
        path = self.folder / f"{name}.rendezvous"
        try:
            if not path.exists():
                path = (self._spare or self.folder) / path.name
                if not path.exists():
                    path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
                    private_file.write_new(path, f"{secrets.token_hex(KEY_BYTES)}\n".encode())
                    self.made.append(path.name)
            return RendezvousKey(path, f"{name}-{key_name(read_key(_content(path)))[:8]}")
        except (OSError, ValueError) as error:
            raise TmelinkError(f"{path}: {getattr(error, 'strerror', None) or error}") from error

    def _generate(self, host: str, key: Path, certificate: Path) -> None:
        key.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        pair = generate(host[:64], time.time())
        for path, content in ((key, pair.private_key), (certificate, pair.certificate)):
            path.unlink(missing_ok=True)
            private_file.write_new(path, content)
        self.made.append(host)


def _content(path: Path) -> bytes:
    """What a file holds; `ValueError` where it is encrypted."""
    content = path.read_bytes()
    if content.startswith(HEADER):
        raise ValueError("it is encrypted; add --vault FILE, the file with its password")
    return content

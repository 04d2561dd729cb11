"""The configurations of `tests/configurations`: files as people have them, each with what tmelink says of it.

A file of that folder begins with a line about itself. Each configuration starts at `#### NAME: VERDICT` and
ends at the next; `@NAME@` in it stands for the inline block `<NAME>`, and `@static@` for the lines of a
static key. What a configuration names lies in a folder that `prepare` fills.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from pathlib import Path

from tests.support.pki import Authority
from tmelink.openvpn import keys
from tmelink.openvpn.options.parse import parse
from tmelink.openvpn.tls import wrap
from tmelink.source import Mistake, Place, Source, Word

FOLDER = Path(__file__).parents[1] / "configurations"

BEGAN = 1_700_000_000.0
"""When the certificates of the folder begin to be valid, in seconds since 1970."""

_BLOCKS = {
    "ca": "ca.crt",
    "cert": "client.crt",
    "key": "client.key",
    "tls-auth": "ta.key",
    "tls-crypt": "tc.key",
}
_BLOCKS |= {"crl-verify": "crl.pem", "static": "static.key"}


@dataclass(frozen=True)
class Configuration:
    """One file: where it stands, its name, what tmelink says of it, its text."""

    family: str
    name: str
    verdict: str
    text: str

    def __str__(self) -> str:
        return f"{self.family}: {self.name}"


def configurations() -> list[Configuration]:
    """All of them, in the order in which they stand."""
    found = []
    for file in sorted(FOLDER.glob("*.txt")):
        parts = re.split(r"^#### (.+): (taken|warned|refused)\n", file.read_text(), flags=re.MULTILINE)
        for at in range(1, len(parts), 3):
            found.append(Configuration(file.stem, *parts[at : at + 3]))
    return found


def prepare(folder: Path) -> None:
    """Write the files that configurations name."""
    draw = random.Random(20).randbytes
    authority = Authority(BEGAN)
    server, client = authority.issue("server", "server"), authority.issue("client", "client")
    files = {
        "ca.crt": authority.own.pem,
        "server.crt": server.pem,
        "server.key": server.key_pem,
        "client.crt": client.pem,
        "client.key": client.key_pem,
        "client.p12": client.pkcs12(authority, b"secret"),
        "crl.pem": authority.crl(),
        "static.key": keys.generate(draw),
        "ta.key": keys.generate(draw),
        "tc.key": keys.generate(draw),
        "server-v2.key": wrap.generate_server_key(),
        "auth.txt": b"someone\nsomething\n",
        "dh.pem": b"",
        "included.conf": b"remote included.example 1194\n",
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o600)
    for name in ("ccd", "jail"):
        (folder / name).mkdir()


def written(configuration: Configuration, folder: Path) -> Path:
    """The configuration as a file of its own, its blocks filled in."""

    def block(match: re.Match[str]) -> str:
        name = match[1]
        text = (folder / _BLOCKS[name]).read_text().strip("\n")
        return text if name == "static" else f"<{name}>\n{text}\n</{name}>"

    path = folder / f"{configuration.family}-{re.sub('[^a-z0-9]+', '-', configuration.name)}.ovpn"
    path.write_text(re.sub(r"@([a-z-]+)@", block, configuration.text))
    return path


def judged(path: Path) -> tuple[str, list[str]]:
    """What tmelink says of a file, and why: each mistake of a refused one, each note on any other."""

    def read_file(name: str) -> bytes:
        return Path(path.parent, name).read_bytes()

    mistakes: list[Mistake] = []
    words = [Word(text, Place(Source("machine.conf", ""), 1, 1)) for text in ("--config", path.name)]
    options = parse(words, words[0].place, mistakes.append, read_file=read_file, base=str(path.parent))
    if options is None:
        return "refused", [mistake.message for mistake in mistakes]
    notes = [note.text for note in options.notes]
    return ("warned" if notes else "taken"), notes

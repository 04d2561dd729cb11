"""Certificates and keys as files, and the two kinds of end that tests of secured links run."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from tests.support.netns import Namespace, Net, Process
from tests.support.pki import Authority


@dataclass
class Site:
    """The files of one test's ends, all below its directory."""

    net: Net
    authority: Authority = field(default_factory=lambda: Authority(time.time()))

    def file(self, name: str, content: bytes | str, mode: int = 0o600) -> str:
        path = self.net.directory / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)
        return str(path)

    def identity(self, name: str, usage: str) -> str:
        """--ca, --cert and --key of an end."""
        pair = self.authority.issue(name, usage)
        ca = self.file("ca.crt", self.authority.own.pem)
        cert, key = self.file(f"{name}.crt", pair.pem), self.file(f"{name}.key", pair.key_pem)
        return f"--ca {ca} --cert {cert} --key {key}"

    def static_key(self, here: Namespace) -> str:
        path = str(self.net.directory / "static.key")
        here.run("openvpn", "--genkey", "secret", path)
        return path

    def openvpn(self, here: Namespace, options: str, *, until: str | None = None) -> Process:
        process = here.start("openvpn", "--verb", "4", *options.split())
        if until is not None:
            process.expect(until)
        return process

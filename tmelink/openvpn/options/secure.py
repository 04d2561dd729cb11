"""`--secure`: TLS whose keys are made when the file is deployed.

Until then the option stands for a role, keepalives, and key files that do not exist yet, so that the file can
be checked. `tmelink.deploy.secure` puts the real ones in its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tmelink.source import Word

OPTION = "--secure"

KEEPALIVE = ("--keepalive", "10", "60")
"""As the documentation's secure link has it."""

_ROLES = frozenset({"--client", "--server", "--tls-client", "--tls-server", "--server-bridge"})
_PINGS = frozenset({"--keepalive", "--ping"})
_BINDING = frozenset({"--bind", "--local", "--lport", "--nobind", "--port"})
_UNKNOWN_PEER = ":".join(["00"] * 32)


def with_placeholders(words: Sequence[Word]) -> Sequence[Word]:
    """The words of a link or server; with `--secure`, also the options that it stands for."""
    secure = next((word for word in words if word.text == OPTION), None)
    if secure is None:
        return words
    added = options(words, "secure.key", "secure.crt", [_UNKNOWN_PEER], calls=_names_a_remote(words))
    return [*words, *(Word(text, secure.place) for text in added)]


def options(
    words: Iterable[Word], key: str, certificate: str, peers: Iterable[str], *, calls: bool
) -> list[str]:
    """What `--secure` among `words` stands for: role, keepalive, own key and certificate, peers.

    `peers` are fingerprints. `calls` says that this end is the client, where the words name no role.
    """
    given = {word.text for word in words}
    found: list[str] = []
    if not given & _ROLES:
        found.append("--tls-client" if calls else "--tls-server")
    if not given & _PINGS:
        found += KEEPALIVE
    if "--via" in given and not given & _BINDING:
        # Several links of a host could else not have the rendezvous as their remote.
        found.append("--nobind")
    found += ["--key", key, "--cert", certificate]
    for peer in peers:
        found += ["--peer-fingerprint", peer]
    return found


def _names_a_remote(words: Iterable[Word]) -> bool:
    return any(word.text == "--remote" for word in words)

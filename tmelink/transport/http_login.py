"""How to log in at an HTTP proxy: its challenges (RFC 9110, section 11) and the answers, basic and digest.

Pure: texts to texts. Basic login is RFC 7617's, digest login RFC 7616's, also without `qop` (RFC 2069).
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote

from tmelink.printable import printable
from tmelink.transport.handshakes import HandshakeError

HttpLogin = Literal["none", "basic", "digest", "auto", "auto-nct"]

DIGESTS = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}
"""RFC 7616's algorithms and hashlib's names of them."""

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_SPACE = re.compile(r"[ \t,]*")
_PARAMETER = re.compile(rf'({_TOKEN})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|({_TOKEN}))[ \t]*(?=,|$)')
_SCHEME = re.compile(rf"({_TOKEN})(?=[ \t,]|$)")
_TOKEN68 = re.compile(r"[ \t]+([0-9A-Za-z\-._~+/]+=*)[ \t]*(?=,|$)")
_REST = re.compile(r"[^,]*")


@dataclass(frozen=True, slots=True)
class User:
    """Who logs in, and how: `auto-nct` never uses basic login."""

    login: HttpLogin
    name: str
    password: str = field(repr=False)


@dataclass(slots=True)
class HttpChallenge:
    """One offer to log in; the names of `parameters` are in lower case."""

    scheme: str
    parameters: dict[str, str]

    @property
    def algorithm(self) -> str:
        """Of a digest: its algorithm in capitals, without `-SESS`."""
        return self.parameters.get("algorithm", "MD5").upper().removesuffix("-SESS")


def challenges(headers: Sequence[str]) -> list[HttpChallenge]:
    """The challenges in Proxy-Authenticate headers, several of which may stand in one of them.

    A comma divides parameters and challenges alike (RFC 9110, section 11.6.1); anything else is passed over.
    """
    found: list[HttpChallenge] = []
    for header in headers:
        at = 0
        while (at := _ends(_SPACE, header, at)) < len(header):
            if found and (match := _PARAMETER.match(header, at)):
                text = match[3] if match[2] is None else re.sub(r"\\(.)", r"\1", match[2])
                found[-1].parameters.setdefault(match[1].lower(), text)
            elif match := _SCHEME.match(header, at):
                found.append(HttpChallenge(match[1], {}))
                match = _TOKEN68.match(header, match.end()) or match
            else:
                match = _REST.match(header, at)
                assert match is not None, "it matches anything"
            at = max(match.end(), at + 1)
    return found


def _ends(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return at if match is None else match.end()


def is_stale(headers: Sequence[str]) -> bool:
    """Whether the proxy only wants the same proof for a newer nonce (RFC 7616, section 3.3)."""
    return any(each.parameters.get("stale", "").lower() == "true" for each in challenges(headers))


def basic(user: User) -> str:
    """The Proxy-Authorization of basic login."""
    return "Basic " + base64.b64encode(f"{user.name}:{user.password}".encode()).decode()


def answer(user: User, target: str, headers: Sequence[str]) -> str:
    """The Proxy-Authorization that answers the proxy's challenges; `target` is the request's.

    The first digest that both know is used (RFC 7616, section 3.7), and before basic login, which gives more
    away. Raises `HandshakeError` if the proxy offers nothing that the user may use.
    """
    offered = challenges(headers)
    reasons: list[str] = []
    for challenge in offered:
        if challenge.scheme.lower() == "digest":
            try:
                return _digest(user, target, challenge)
            except HandshakeError as reason:
                reasons.append(str(reason))
    if user.login == "auto" and any(challenge.scheme.lower() == "basic" for challenge in offered):
        return basic(user)
    if reasons:
        raise HandshakeError(reasons[0])
    names = ", ".join(printable(challenge.scheme) for challenge in offered) or "no scheme"
    raise HandshakeError(f"it offers {names} to log in, and --http-proxy allows {user.login}")


def _digest(user: User, target: str, challenge: HttpChallenge) -> str:
    given = challenge.parameters
    hashed = _hash(challenge.algorithm)
    if "nonce" not in given:
        raise HandshakeError("its challenge names no nonce")
    qop = given.get("qop")
    if qop is not None and "auth" not in re.split(r"[\s,]+", qop.lower()):
        raise HandshakeError("it wants a digest over the body, and a CONNECT has none")
    session = given.get("algorithm", "").upper().endswith("-SESS")
    realm, nonce = given.get("realm", ""), given["nonce"]
    nonce_count, own_nonce = "00000001", os.urandom(8).hex()
    secret = hashed(f"{user.name}:{realm}:{user.password}")
    if session:
        secret = hashed(f"{secret}:{nonce}:{own_nonce}")
    request = hashed(f"CONNECT:{target}")
    quoted = {"realm": realm, "nonce": nonce, "uri": target}
    bare = {"algorithm": given.get("algorithm", "MD5")}
    if given.get("userhash", "").lower() == "true":
        quoted["username"] = hashed(f"{user.name}:{realm}")
        bare["userhash"] = "true"
    elif user.name.isascii():
        quoted["username"] = user.name
    else:
        bare["username*"] = "UTF-8''" + quote(user.name, safe="")
    if qop is None:
        quoted["response"] = hashed(f"{secret}:{nonce}:{request}")
    else:
        quoted["response"] = hashed(f"{secret}:{nonce}:{nonce_count}:{own_nonce}:auth:{request}")
        bare |= {"qop": "auth", "nc": nonce_count}
    if session or qop is not None:
        quoted["cnonce"] = own_nonce
    if "opaque" in given:
        quoted["opaque"] = given["opaque"]
    fields = [f'{name}="{_escaped(value)}"' for name, value in quoted.items()]
    return "Digest " + ", ".join((*fields, *(f"{name}={value}" for name, value in bare.items())))


def _escaped(text: str) -> str:
    return re.sub(r'(["\\])', r"\\\1", text)


def _hash(algorithm: str) -> Callable[[str], str]:
    name = DIGESTS.get(algorithm)
    if name is None or name not in hashlib.algorithms_available:
        known = ", ".join(each for each, of in DIGESTS.items() if of in hashlib.algorithms_available)
        raise HandshakeError(f"its digest algorithm is {printable(algorithm)}; known are {known}")
    return lambda text: hashlib.new(name, text.encode()).hexdigest()

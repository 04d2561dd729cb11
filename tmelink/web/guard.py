"""Who may send requests, and what a browser may do with answers: hosts, origins, token, security headers.

A page of another site can make a browser send requests to this computer. Here they are refused before
anything is done: by the name that they use for this computer (against DNS rebinding), by their origin, and by
a cookie that browsers send for this site's own pages alone.
"""

from __future__ import annotations

import hmac
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("localhost", "127.0.0.1", "::1")

COOKIE = "tmelink"

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""Content Security Policy: nothing from elsewhere, and no script or style in the page itself."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}

SAFE = ("GET", "HEAD")
"""Methods that change nothing."""


class Guard:
    """Lets a request pass to `app`, or refuses it.

    Without a token only this computer's own names are heard. With one, whoever shows it: once as `?token=…`,
    afterwards as a cookie, or as `Authorization: Bearer …`. Where TLS asks for a certificate (`certified`)
    any name is heard. Methods that change something pass only with `write`.
    """

    def __init__(self, app: ASGIApp, *, token: str | None, write: bool, certified: bool = False) -> None:
        self._app = app
        self._token = token
        self._write = write
        self._certified = certified

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        refusal = self._refusal(request)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await (refusal or self._app)(scope, receive, guarded)

    def _refusal(self, request: Request) -> Response | None:
        host = request.headers.get("host", "")
        anyone = self._token is None and not self._certified
        if anyone and urlsplit(f"//{host}").hostname not in LOOPBACK:
            return _refused("this page is only for this computer: use http://127.0.0.1 with its port")
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return _refused("a page of another site may not send requests")
        if self._token is not None and not self._shows_token(
            request.headers, request.cookies.get(COOKIE, "")
        ):
            return self._welcome(request)
        if request.method not in SAFE and not self._write:
            return _refused("this page only shows: 'tmelink web --write' lets it change the lab")
        if request.method not in SAFE and origin is None and self._token is None:
            return _refused("a change needs an Origin header")
        return None

    def _shows_token(self, headers: Headers, cookie: str) -> bool:
        assert self._token is not None
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        return any(hmac.compare_digest(each.encode(), self._token.encode()) for each in (bearer, cookie))

    def _welcome(self, request: Request) -> Response:
        """Take the token of an address into a cookie, and out of the address."""
        given = request.query_params.get("token", "")
        if request.method != "GET" or not hmac.compare_digest(given.encode(), (self._token or "").encode()):
            return _refused("open the address with the token that 'tmelink web' has printed", unknown=True)
        answer = RedirectResponse("/", HTTPStatus.SEE_OTHER)
        encrypted = request.url.scheme == "https"
        answer.set_cookie(COOKIE, given, httponly=True, samesite="strict", secure=encrypted)
        return answer


def _refused(text: str, *, unknown: bool = False) -> Response:
    return PlainTextResponse(f"{text}\n", HTTPStatus.UNAUTHORIZED if unknown else HTTPStatus.FORBIDDEN)

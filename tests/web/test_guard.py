"""Who may ask the web page's server: hosts, origins, the token, and what may only be looked at."""

from __future__ import annotations

import asyncio
import re
import ssl
import sys
import time
import urllib.request
from http.cookies import SimpleCookie
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Message

from tests.support.netns import Process
from tmelink.cli import main
from tmelink.openvpn.tls import keygen
from tmelink.web.app import STATIC
from tmelink.web.guard import Guard

TMELINK = [sys.executable, "-m", "tmelink"]

HERE = "127.0.0.1:8080"
OWN = {"host": HERE, "origin": f"http://{HERE}"}


def ask(
    headers: dict[str, str],
    method: str = "GET",
    path: str = "/",
    *,
    token: str | None = None,
    write: bool = False,
    certified: bool = False,
) -> tuple[int, dict[str, str], str]:
    """Status, headers and body of what the guard, or the page behind it, answers."""
    sent: list[Message] = []
    path, _, query = path.partition("?")

    async def page(scope: object, receive: object, send: object) -> None:
        request = Request(scope)  # type: ignore[arg-type]
        await PlainTextResponse("the page")(request.scope, receive, send)  # type: ignore[arg-type]

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    asyncio.run(Guard(page, token=token, write=write, certified=certified)(scope, receive, send))
    told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], told, sent[1]["body"].decode()


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:8080", "[::1]:8080"])
def test_this_computers_own_names_are_heard(host: str) -> None:
    assert ask({"host": host})[0] == 200


@pytest.mark.parametrize("host", ["lab.example:8080", "192.168.0.1:8080", "127.0.0.1.example", ""])
def test_another_name_is_refused_without_a_token(host: str) -> None:
    status, _, text = ask({"host": host})
    assert (status, "only for this computer" in text) == (403, True)


@pytest.mark.parametrize("origin", ["http://other.example", "http://127.0.0.1:9999", "null"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_page_of_another_site_is_refused(origin: str, method: str) -> None:
    assert ask({"host": HERE, "origin": origin}, method, write=True)[0] == 403


def test_changes_need_write_and_an_origin() -> None:
    assert ask(OWN, "POST")[0] == 403
    assert "--write" in ask(OWN, "POST")[2]
    assert ask({"host": HERE}, "POST", write=True)[0] == 403
    assert ask(OWN, "POST", write=True)[0] == 200


def test_a_token_is_asked_for_and_becomes_a_cookie() -> None:
    far = {"host": "lab.example:8080"}
    assert ask(far, token="secret")[0] == 401
    assert ask(far, path="/?token=wrong", token="secret")[0] == 401
    assert ask({**far, "cookie": "tmelink=wrong"}, token="secret")[0] == 401
    status, headers, _ = ask(far, path="/?token=secret", token="secret")
    assert (status, headers["location"]) == (303, "/")
    cookie = SimpleCookie(headers["set-cookie"])["tmelink"]
    assert (cookie.value, cookie["httponly"], cookie["samesite"]) == ("secret", True, "strict")
    assert ask({**far, "cookie": "tmelink=secret"}, token="secret")[0] == 200
    assert ask({**far, "authorization": "Bearer secret"}, token="secret")[0] == 200


def test_every_answer_says_what_a_browser_may_do_with_it() -> None:
    for answer in (ask(OWN), ask({"host": "evil.example"})):
        policy = answer[1]["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert answer[1]["x-content-type-options"] == "nosniff"


def test_other_computers_need_a_token(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["web", "lab", "--listen", "0.0.0.0:8080"]) == 1
    assert "so add --token, or --ca with TLS" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--cert", "web.crt"], "--cert and --key go together"),
        (["--ca", "amy.crt"], "--ca needs TLS"),
        (["--cert", "none.crt", "--key", "none.key"], "none.crt is missing"),
    ],
)
def test_options_of_tls_that_do_not_go_together_are_refused(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["web", "lab", *words]) == 1
    assert message in capsys.readouterr().err


def test_with_tls_any_name_is_heard_and_other_sites_are_refused() -> None:
    far = {"host": "lab.example:8443"}
    assert ask(far, certified=True)[0] == 200
    assert ask({**far, "origin": "https://other.example"}, "POST", write=True, certified=True)[0] == 403
    assert ask(far, "POST", write=True, certified=True)[0] == 403
    assert ask({**far, "origin": "https://lab.example:8443"}, "POST", write=True, certified=True)[0] == 200


def test_only_a_browser_with_a_key_that_is_trusted_sees_the_page(tmp_path: Path) -> None:
    for name in ("web", "amy", "eve"):
        pair = keygen.generate(name, time.time())
        (tmp_path / f"{name}.crt").write_bytes(pair.certificate)
        (tmp_path / f"{name}.key").write_bytes(pair.private_key)
        (tmp_path / f"{name}.key").chmod(0o600)
    (tmp_path / "lab.conf").write_text("host0: tmelink/host inet 10.0.0.1/24\n")
    lab = Process([*TMELINK, "run", "lab.conf"], cwd=tmp_path)
    words = ["--listen", "127.0.0.1:0", "--cert", "web.crt", "--key", "web.key", "--ca", "amy.crt"]
    try:
        lab.expect("running: ")
        page = Process([*TMELINK, "web", "lab", *words], cwd=tmp_path)
        try:
            address = page.expect("^https://")

            def seen(who: str | None) -> int:
                context = ssl.create_default_context(cafile=str(tmp_path / "web.crt"))
                context.check_hostname = False
                if who is not None:
                    context.load_cert_chain(tmp_path / f"{who}.crt", tmp_path / f"{who}.key")
                with urllib.request.urlopen(address, context=context, timeout=20) as answer:
                    status: int = answer.status
                    return status

            assert seen("amy") == 200
            for who in ("eve", None):
                with pytest.raises(OSError, match=r"alert|EOF|reset|closed"):
                    seen(who)
        finally:
            page.kill()
    finally:
        lab.kill()


def test_the_page_loads_nothing_from_elsewhere_and_has_no_script_in_it() -> None:
    page = (STATIC / "index.html").read_text()
    assert re.findall(r"<script(?![^>]* src=)|<style| style=| on\w+=", page) == []
    for source in re.findall(r'(?:src|href)="([^"]+)"', page):
        assert source.startswith("/static/") or source == "data:,", source
        if source.startswith("/static/"):
            assert (STATIC / source.removeprefix("/static/")).is_file()
    for module in STATIC.glob("*.js"):
        for target in re.findall(r'from "([^"]+)"', module.read_text()):
            assert (module.parent / target).is_file(), f"{module.name} imports {target}"
        assert "http" not in module.read_text(), module.name


def test_each_library_has_its_licence_beside_it() -> None:
    libraries = list((STATIC / "vendor").glob("*.js"))
    assert len(libraries) == 4
    for library in libraries:
        assert "Permission is hereby granted" in Path(library.with_suffix(".LICENSE")).read_text()

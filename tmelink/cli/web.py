"""`tmelink web [NAME]`: a page in the browser that shows a running lab, and with --write changes it."""

from __future__ import annotations

import argparse
import secrets
import socket

from tmelink.cli import completers, files, labs
from tmelink.cli.addresses import ListenAddress, listen_address
from tmelink.errors import TmelinkError

NAME = "web"
HELP = "show a running lab in the browser: topology, traffic, captures, impairments"
EPILOG = labs.epilog(
    ("tmelink web lab", "at http://127.0.0.1:8080, and only for looking"),
    ("tmelink web lab --write", "with impairments and changes of the file"),
    ("tmelink web lab --listen 0.0.0.0:8080 --token", "for others, who need the address that is printed"),
)

ADDRESS = ListenAddress("127.0.0.1", 8080)
GRACE_SECONDS = 1
"""For answers that are under way at the end; those that never end are cut off."""

TOKEN_BYTES = 18


def declare(parser: argparse.ArgumentParser) -> None:
    name = parser.add_argument(
        "name", metavar="NAME", nargs="?", help="the lab's name, as 'tmelink ps' lists it (the only one)"
    )
    completers.offer(name, completers.labs)
    parser.add_argument(
        "--listen",
        metavar="ADDR:PORT",
        type=files.argument(listen_address),
        default=ADDRESS,
        help=f"where the page is ({ADDRESS})",
    )
    parser.add_argument("--write", action="store_true", help="let the page change the lab")
    parser.add_argument(
        "--token",
        metavar="TEXT",
        nargs="?",
        const="",
        help="ask for this token, or for a new one; needed where other computers reach the page",
    )


def main(options: argparse.Namespace) -> int:
    address: ListenAddress = options.listen
    if options.token is None and address.host not in ("localhost", "127.0.0.1", "::1"):
        raise TmelinkError(f"--listen {address}: other computers reach that, so add --token")
    try:
        import uvicorn

        from tmelink.web.app import application
    except ModuleNotFoundError as error:
        raise TmelinkError(f"the page needs {error.name}: pip install 'tmelink[web]'") from error
    token = None if options.token is None else options.token or secrets.token_urlsafe(TOKEN_BYTES)
    with labs.control(options):
        pass  # says at once where there is no such lab
    sock = _listening(address)
    here = address._replace(port=sock.getsockname()[1])
    print(f"http://{here}/" + (f"?token={token}" if token is not None else ""), flush=True)
    config = uvicorn.Config(
        application(options.name, write=options.write, token=token),
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    uvicorn.Server(config).run(sockets=[sock])
    return 0


def _listening(address: ListenAddress) -> socket.socket:
    try:
        return socket.create_server(
            address, family=socket.AF_INET6 if ":" in address.host else socket.AF_INET, reuse_port=False
        )
    except OSError as error:
        raise TmelinkError(f"--listen {address}: {error.strerror or error}") from error

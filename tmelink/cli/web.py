"""`tmelink web [NAME]`: a page in the browser that shows a running lab, and with --write changes it."""

from __future__ import annotations

import argparse
import os
import secrets
import socket
import ssl
from pathlib import Path

from tmelink.cli import completers, files, labs
from tmelink.cli.addresses import ListenAddress, listen_address
from tmelink.errors import TmelinkError

NAME = "web"
HELP = "show a running lab in the browser: topology, traffic, captures, impairments"
EPILOG = labs.epilog(
    ("tmelink web lab", "show it at http://127.0.0.1:8080, read-only"),
    ("tmelink web lab --write", "allow impairments and changes"),
    ("tmelink web lab.conf --all-hosts", "the labs of all hosts of a deployed file in one picture, over ssh"),
    (
        "tmelink web lab --listen 0.0.0.0:8080 --token",
        "let other computers in, with the address that is printed",
    ),
    (
        "tmelink web lab --listen 0.0.0.0:8443 --cert web.crt --key web.key --ca amy.crt",
        "use TLS, and let in only holders of that certificate's key, or of a key that it signed",
    ),
)

ADDRESS = ListenAddress("127.0.0.1", 8080)
GRACE_SECONDS = 1
"""For answers in progress at the end; endless ones are cut off."""

TOKEN_BYTES = 18


def declare(parser: argparse.ArgumentParser) -> None:
    name = parser.add_argument(
        "name",
        metavar="NAME",
        nargs="?",
        help="the lab's name, as 'tmelink ps' lists it (the only one that runs)",
    )
    completers.offer(name, completers.labs)
    labs.declare_all_hosts(parser)
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
        help="ask for this token, or for a new one; needed if other computers can reach the page",
    )

    tls = parser.add_argument_group("TLS")
    tls.add_argument("--cert", metavar="FILE", type=Path, help="the page's own certificate, in PEM")
    tls.add_argument("--key", metavar="FILE", type=Path, help="the private key of --cert")
    tls.add_argument(
        "--ca",
        metavar="FILE",
        type=Path,
        help="certificates in PEM: let in only browsers with the key of one of them, "
        "or of a certificate that one has signed",
    )


def main(options: argparse.Namespace) -> int:
    address: ListenAddress = options.listen
    _check(options, address)
    try:
        import uvicorn

        from tmelink.web.app import application
    except ModuleNotFoundError as error:
        raise TmelinkError(f"the page needs {error.name}: pip install 'tmelink[web]'") from error
    token = None if options.token is None else options.token or secrets.token_urlsafe(TOKEN_BYTES)
    connect = labs.connector(options)
    with connect():
        pass  # says at once where there is no such lab
    sock = _listening(address)
    here = address._replace(port=sock.getsockname()[1])
    print(
        f"http{'s' if options.cert else ''}://{here}/" + (f"?token={token}" if token is not None else ""),
        flush=True,
    )
    config = uvicorn.Config(
        application(connect, write=options.write, token=token, certified=options.ca is not None),
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_graceful_shutdown=GRACE_SECONDS,
        ssl_certfile=options.cert,
        ssl_keyfile=options.key,
        ssl_ca_certs=None if options.ca is None else str(options.ca),
        ssl_cert_reqs=ssl.CERT_NONE if options.ca is None else ssl.CERT_REQUIRED,
    )
    try:
        config.load()
    except (OSError, ValueError) as error:  # what OpenSSL says of a file is one of them
        raise TmelinkError(f"--cert, --key or --ca: {error}") from error
    uvicorn.Server(config).run(sockets=[sock])
    return 0


def _check(options: argparse.Namespace, address: ListenAddress) -> None:
    """Raise `TmelinkError` for options that do not go together, and for files that are missing."""
    if (options.cert is None) != (options.key is None):
        raise TmelinkError("--cert and --key go together: 'tmelink keygen web' makes both")
    if options.ca is not None and options.cert is None:
        raise TmelinkError("--ca needs TLS: add --cert and --key, which 'tmelink keygen web' makes")
    for file in (options.cert, options.key, options.ca):
        if file is not None and not os.access(file, os.R_OK):
            raise TmelinkError(f"{file} is missing or unreadable")
    if options.token is None and options.ca is None and address.host not in ("localhost", "127.0.0.1", "::1"):
        raise TmelinkError(
            f"--listen {address}: other computers can reach this address, so add --token, or --ca with TLS"
        )


def _listening(address: ListenAddress) -> socket.socket:
    try:
        return socket.create_server(
            address, family=socket.AF_INET6 if ":" in address.host else socket.AF_INET, reuse_port=False
        )
    except OSError as error:
        raise TmelinkError(f"--listen {address}: {error.strerror or error}") from error

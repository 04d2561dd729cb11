"""`tmelink genkey`: new keys for --secret, --tls-auth, --tls-crypt, --tls-crypt-v2 and servers' tokens."""

from __future__ import annotations

import argparse
import secrets
import time
from pathlib import Path

from tmelink.cli import key_files
from tmelink.cli.examples import epilog
from tmelink.errors import TmelinkError
from tmelink.openvpn import keys
from tmelink.openvpn.server import auth_token
from tmelink.openvpn.tls import wrap as tls_wrap

NAME = "genkey"
HELP = "write a new key file, in OpenVPN's format"
EPILOG = epilog(
    ("tmelink genkey both.key", "for --secret, --tls-auth or --tls-crypt; copy it to the other end"),
    ("tmelink genkey tls-crypt-v2-server server.key", "a server's key"),
    ("tmelink genkey tls-crypt-v2-client amy.key --server-key server.key", "a client's key"),
)

_ABOUT = {
    "secret": "a new key; both ends need it, and nobody else may have it",
    "tls-crypt-v2-server": "a new server key; the keys of its clients are made with it",
    "tls-crypt-v2-client": "a new client key; each client needs its own",
    "auth-token": "a server's key for --auth-gen-token-secret; its clients do not need it",
}
KINDS = tuple(_ABOUT)


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words",
        metavar="[KIND] FILE",
        nargs="+",
        help=f"one of {', '.join(KINDS)} (secret is also for --tls-auth and --tls-crypt), then the file",
    )
    parser.add_argument(
        "--secret", action="store_true", help="the kind secret, as older OpenVPN versions wrote it"
    )
    parser.add_argument(
        "--server-key", metavar="FILE", help="for tls-crypt-v2-client: the key of the client's server"
    )
    key_files.declare(parser)


def main(options: argparse.Namespace) -> int:
    *kinds, file = options.words
    kind = kinds[0] if kinds else "secret"
    if len(kinds) > 1 or kind not in KINDS or (options.secret and kind != "secret"):
        raise TmelinkError(f"genkey takes one kind of {', '.join(KINDS)}, and one file")
    if (kind == "tls-crypt-v2-client") != (options.server_key is not None):
        raise TmelinkError("--server-key and tls-crypt-v2-client go together")
    key_files.write(file, _key(kind, options.server_key), force=options.force)
    print(f"{file}: {_ABOUT[kind]}")
    return 0


def _key(kind: str, server_key: str | None) -> bytes:
    if kind == "secret":
        return keys.generate(secrets.token_bytes)
    if kind == "auth-token":
        return auth_token.generate_secret()
    if server_key is None:
        return tls_wrap.generate_server_key()
    try:
        return tls_wrap.generate_client_key(Path(server_key).read_bytes(), time.time())
    except OSError as error:
        raise TmelinkError(f"--server-key {server_key}: {error.strerror}") from error
    except ValueError as error:
        raise TmelinkError(f"--server-key {server_key}: {error}") from error

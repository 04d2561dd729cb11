"""`tmelink passwd USER`: the line for a server's --auth-user-pass-table."""

from __future__ import annotations

import argparse
import getpass
import secrets

from tmelink.cli import streams
from tmelink.cli.examples import epilog
from tmelink.errors import TmelinkError
from tmelink.openvpn.server import users

NAME = "passwd"
HELP = "print a user's line for a server's --auth-user-pass-table file; asks for the password"
EPILOG = epilog(("tmelink passwd amy >> users", "add amy to the file 'users'"))


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("user", metavar="USER", help="the name that the client logs in with")


def main(options: argparse.Namespace) -> int:
    # Never an argument: other users can read those.
    password = getpass.getpass() if streams.is_terminal() else streams.source().readline().rstrip("\n")
    if not password:
        raise TmelinkError("the password is empty")
    try:
        print(users.line(options.user, password, secrets.token_bytes(users.SALT_BYTES)))
    except ValueError as error:
        raise TmelinkError(str(error)) from error
    return 0

"""`tmelink keygen NAME`: a key and a certificate for one end of a link, and the options for both ends."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from tmelink.cli import key_files
from tmelink.cli.examples import epilog
from tmelink.errors import TmelinkError
from tmelink.openvpn.tls import keygen

NAME = "keygen"
HELP = "make a key and a certificate for one end of a link; the other end checks the fingerprint"
EPILOG = epilog(
    ("tmelink keygen one", "writes one.key and one.crt, and prints the fingerprint for the other end"),
)

LONGEST = 64
"""Characters of a certificate's name (RFC 5280, appendix A)."""


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the name of this end: writes NAME.key and NAME.crt")
    key_files.declare(parser)


def main(options: argparse.Namespace) -> int:
    common_name = Path(options.name).name
    if not 0 < len(common_name) <= LONGEST:
        raise TmelinkError(
            f"a name has 1 to {LONGEST} characters, and '{common_name}' has {len(common_name)}"
        )
    pair = keygen.generate(common_name, time.time())
    key, certificate = f"{options.name}.key", f"{options.name}.crt"
    if Path(certificate).exists() and not options.force:
        raise TmelinkError(f"{certificate} exists; --force overwrites it and its key")
    key_files.write(key, pair.private_key, force=options.force)
    key_files.write(certificate, pair.certificate, force=options.force, mode=key_files.PUBLIC)
    print(f"{key} (keep it here) and {certificate}; the fingerprint is\n\n    {pair.fingerprint}\n")
    print(f"this end's link:   --key {key} --cert {certificate}")
    print(f"the other end's:   --peer-fingerprint {pair.fingerprint}")
    return 0

"""`tmelink destroy FILE`: remove a deployed lab from every host."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tmelink.cli.confirm import agreed
from tmelink.cli.examples import epilog
from tmelink.deploy import ansible_files, ansible_run
from tmelink.deploy.keys import KeyFolder
from tmelink.deploy.plan import plan
from tmelink.errors import TmelinkError

NAME = "destroy"
HELP = "stop a deployed lab on every host, and remove everything that 'tmelink deploy' installed"
EPILOG = epilog(
    ("tmelink destroy lab.conf", "ask, then remove it; keys stay beside the file"),
)


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="the machine file that was deployed")
    parser.add_argument(
        "--limit", metavar="HOST", action="append", default=[], help="only this host; may be repeated"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")


def main(options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="tmelink-destroy-") as place:
        return _destroy(options, Path(place))


def _destroy(options: argparse.Namespace, work: Path) -> int:
    made = plan(options.file, KeyFolder(work / "none", spare=work / "keys"), options.limit)
    names = ", ".join(host.name for host in made.hosts)
    if not (options.yes or agreed(f"Remove {made.lab} from {names}?", "add --yes to remove the lab")):
        return 1
    ansible_files.write_inventory(work / "deploy", made)
    result = ansible_run.run(work / "deploy", "destroy.yml")
    if not result.done:
        raise TmelinkError("not every host could be cleaned; see above")
    print(f"removed {made.lab} from {names}")
    return 0

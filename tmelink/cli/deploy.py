"""`tmelink deploy FILE`: install and start every host's part of a file, over ssh."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tmelink import values
from tmelink.cli import exit_codes, files
from tmelink.cli.confirm import agreed
from tmelink.cli.examples import epilog
from tmelink.deploy import ansible_files, ansible_run, wheels
from tmelink.deploy.ansible_run import PlaybookResult
from tmelink.deploy.keys import SECRETS, KeyFolder
from tmelink.deploy.meetings import FOLDER as KEYS
from tmelink.deploy.plan import Deployment, plan
from tmelink.deploy.vault import Vault
from tmelink.transport.rendezvous import PORT as HUB_PORT

NAME = "deploy"
HELP = "install and start every host's part of a file, over ssh with Ansible"
EPILOG = epilog(
    ("tmelink deploy lab.conf", "show the plan, ask, then install and start it on all hosts"),
    ("tmelink deploy lab.conf --check --diff", "show what would change on the hosts, and change nothing"),
    ("tmelink deploy lab.conf --write folder", "write plain Ansible files, and run nothing"),
    ("tmelink deploy lab.conf --rotate", "make new keys for all hosts, and install them"),
    ("tmelink deploy lab.conf --vault password.txt", "keep the keys in files that ansible-vault encrypts"),
)


def declare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", metavar="FILE", type=Path, help="the machine file, with a host block for each host"
    )
    parser.add_argument(
        "--limit", metavar="HOST", action="append", default=[], help="only this host; may be repeated"
    )
    parser.add_argument("--check", action="store_true", help="change nothing, and say what would change")
    parser.add_argument("--diff", action="store_true", help="show the changes in each file")
    parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    parser.add_argument("--rotate", action="store_true", help="make new keys for --secure links")
    parser.add_argument(
        "--write", metavar="DIR", type=Path, help="write Ansible's files there, and run nothing"
    )
    parser.add_argument(
        "--keys", metavar="DIR", type=Path, help="where the hosts' keys are kept (FILE.keys, beside the file)"
    )
    parser.add_argument(
        "--vault",
        metavar="PASSWORD",
        type=Path,
        help="keep the keys encrypted by ansible-vault; PASSWORD is a file with the password, or a program "
        "that prints it",
    )
    parser.add_argument(
        "--hub-port",
        metavar="PORT",
        type=files.argument(values.port),
        default=HUB_PORT,
        help=f"the UDP port of hubs for which no --via of the file names one ({HUB_PORT})",
    )
    parser.add_argument(
        "--wheels",
        metavar="DIR",
        type=Path,
        help="install tmelink from these wheels, instead of building them",
    )


def main(options: argparse.Namespace) -> int:
    if options.rotate and options.limit:
        # Both ends of a link know the key or its fingerprint: the end that is left out would lose the link.
        print("tmelink deploy: --rotate makes keys for all hosts; leave out --limit", file=sys.stderr)
        return exit_codes.USAGE
    folder = options.keys or options.file.with_name(f"{options.file.name}.keys")
    with tempfile.TemporaryDirectory(prefix="tmelink-deploy-") as place:
        return _deploy(options, folder, Path(place))


def _deploy(options: argparse.Namespace, kept: Path, work: Path) -> int:
    vault = None if options.vault is None else Vault(kept, options.vault)
    folder = kept
    if vault is not None:
        folder = work / "opened"
        vault.open_into(folder)
    # What is shown first has keys that go away: nothing is made or replaced before somebody agrees.
    seen = KeyFolder(work / "none" if options.rotate else folder, spare=work / "keys")
    made = plan(options.file, seen, options.limit, hub_port=options.hub_port)
    _show(made, kept)
    if not options.check:
        if not (options.yes or options.write or _agreed()):
            print("nothing was changed")
            return 1
        keys = _kept_keys(options, folder, made)
        made = plan(options.file, keys, options.limit, hub_port=options.hub_port)
        if vault is not None:
            vault.keep(folder, work / "before")
    if options.write is not None:
        ansible_files.write(options.write, made, options.wheels)
        place = options.write
        more = ""
        if vault is not None:
            vault.encrypt([path for path in (place / "slices").glob(f"*/{KEYS}/*") if path.suffix in SECRETS])
            more = f" --vault-password-file {options.vault}"
        print(f"wrote {place}; run: ansible-playbook{more} -i {place}/inventory.yml {place}/site.yml")
        return 0
    ansible_files.write(work / "deploy", made, options.wheels or _collected(work / "collected"))
    flags = ["--check"] * options.check + ["--diff"] * options.diff
    result = ansible_run.run(work / "deploy", "site.yml", flags)
    return _report(result, [host.name for host in made.hosts], checked=options.check)


def _kept_keys(options: argparse.Namespace, folder: Path, made: Deployment) -> KeyFolder:
    """The keys beside the file; with --rotate, without the hosts' earlier pairs."""
    keys = KeyFolder(folder)
    if options.rotate:
        keys.rotate_rendezvous()
        for host in made.hosts:
            keys.rotate(host.name)
    return keys


def _show(made: Deployment, folder: Path) -> None:
    """The plan, for a person."""
    for warning in made.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    for host in made.hosts:
        links = f", waits for {', '.join(host.links)}" if host.links else ""
        print(f"{host.name}: ssh {host.target}, {host.elements} elements{links}")
    if made.new_keys:
        print(f"new keys for {', '.join(made.new_keys)} in {folder}")


def _agreed() -> bool:
    return agreed("Install this on the hosts?", "add --yes to change the hosts, or --check to look")


def _collected(folder: Path) -> Path:
    print("collecting wheels …", flush=True)
    wheels.collect(folder)
    return folder


def _report(result: PlaybookResult, order: list[str], *, checked: bool) -> int:
    """Say how it ended, hosts in the order of the file; returns the exit code."""
    hosts = sorted(result.hosts, key=lambda host: order.index(host.host))
    for host in hosts:
        if host.unreachable:
            print(f"{host.host}: ssh could not reach it", file=sys.stderr)
    if not result.done:
        print(
            "tmelink: the deployment failed; hosts that it had changed run their earlier version again",
            file=sys.stderr,
        )
        return 1
    changed = [host.host for host in hosts if host.changed]
    if not changed:
        print("nothing differs")
    else:
        print(f"{'would change' if checked else 'changed'}: {', '.join(changed)}")
    return 0

"""`--all-hosts`: a command for running labs, on every host of a deployed file over ssh.

The command runs on the hosts as it is; here its answers are put together under the hosts' names.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tmelink.cli import colours, exit_codes, labs
from tmelink.deploy import link_ends, over_ssh
from tmelink.deploy.over_ssh import SSH_FAILED, DeployedFile, HostReply
from tmelink.deploy.plan import ETC
from tmelink.errors import TmelinkError
from tmelink.proof.topology import Topology

LIVE = ("top", "web")
"""Commands that keep looking, and connect to all hosts themselves (`labs.connector`)."""


def main(options: argparse.Namespace, words: Sequence[str]) -> int:
    """Run the command that `words` say on all hosts of the file that stands for the lab's name."""
    if words[0] in LIVE:
        return int(options.command.main(options))
    if words[0] == "capture":
        return _capture(options, words)
    name = next(filter(None, (getattr(options, each, None) for each in ("name", "subject", "file"))), None)
    if name is None:
        raise TmelinkError("--all-hosts needs the deployed machine file in place of NAME")
    deployed = over_ssh.deployed(Path(name))
    asked = [word for word in words if word != "--all-hosts"]
    if words[0] == "apply":
        asked = _as_deployed(options, asked, deployed.lab)
    else:
        asked[asked.index(name)] = deployed.lab
    follows = words[0] == "events"
    line = (lambda host, text: _event(host, text, options.json)) if follows else None
    replies = asyncio.run(over_ssh.run(deployed.targets, asked, line))
    if not follows:
        _show(replies, as_json=bool(getattr(options, "json", False)))
    for host, reply in replies.items():
        if reply.status == SSH_FAILED:
            print(f"{host}: ssh {deployed.targets[host]}: {reply.trouble}", file=sys.stderr)
    between = []
    if words[0] == "doctor" and not options.json:
        between = asyncio.run(_compare(deployed))
        print("\n".join([colours.bold("between the hosts:"), *(between or ["nothing found"])]))
    worst = max((1 if reply.status == SSH_FAILED else reply.status for reply in replies.values()), default=0)
    return max(worst, exit_codes.FOUND if between else 0)


def _as_deployed(options: argparse.Namespace, asked: Sequence[str], lab: str) -> list[str]:
    """`apply` on a host: the part that was deployed there, since the file itself is here."""
    if options.lab is not None:
        raise TmelinkError("--lab and --all-hosts exclude each other: a deployed lab is named after its file")
    file = str(ETC / lab / "current" / "machine.conf")
    return [*(file if word == options.file else word for word in asked), "--lab", lab]


def _capture(options: argparse.Namespace, words: Sequence[str]) -> int:
    """Capture on every host that has one of the connections, each into its own file."""
    if options.file in (None, "-") or options.keylog is not None:
        raise TmelinkError(
            "capture --all-hosts needs -w FILE, and does not take --keylog: each host gets a file"
        )
    deployed = over_ssh.deployed(Path(options.name))
    machine = deployed.machine
    asked = [word for word in words if word != "--all-hosts"]
    asked[asked.index(options.name)] = deployed.lab
    file = Path(options.file)
    into: dict[str, tuple[list[str], Path]] = {}
    for host in deployed.targets:
        own = {path.lstrip("/") for path, home in machine.homes.items() if home == host}
        here = [each for each in options.connections if each.partition(":")[0].lstrip("/") in own]
        if here or not options.connections:
            mine = [word for word in asked if word not in options.connections or word in here]
            mine[mine.index(options.file)] = "-"
            into[host] = mine, file.with_name(f"{file.stem}.{host}{file.suffix}")
    if not into:
        raise TmelinkError(f"no host of {options.name} has {', '.join(options.connections)}")
    ended = asyncio.run(over_ssh.write(deployed.targets, into))
    for host, (_, path) in into.items():
        print(f"{host}: {path}" if ended[host] == 0 else f"{host}: failed", file=sys.stderr)
    return max(map(abs, ended.values()))


def _event(host: str, text: str, as_json: bool) -> None:
    if as_json:
        try:
            print(json.dumps({"host": host, **json.loads(text)}), flush=True)
        except ValueError:
            print(text, flush=True)
        return
    print(f"{host}  {text}", flush=True)


def _show(replies: dict[str, HostReply], *, as_json: bool) -> None:
    """Each host's answer below its name, or one JSON object with a member for each host."""
    if as_json:
        labs.dump({host: _parsed(reply) for host, reply in replies.items()})
        return
    for number, (host, reply) in enumerate(replies.items()):
        if number:
            print()
        print(colours.bold(f"{host}:"))
        if reply.status != SSH_FAILED:
            print((reply.output + reply.errors).rstrip("\n"))


def _parsed(reply: HostReply) -> Any:
    try:
        return json.loads(reply.output)
    except ValueError:
        return {"error": reply.trouble or reply.output.strip()}


async def _compare(deployed: DeployedFile) -> list[str]:
    """What the two ends of each link say about it, if they disagree."""
    replies = await over_ssh.run(deployed.targets, ["status", deployed.lab, "--json"])
    rows = {
        (host, row["name"]): row
        for host, reply in replies.items()
        for row in (_parsed(reply).get("elements") or [])
    }
    return [each["text"] for each in link_ends.differences(Topology(deployed.machine), rows)]

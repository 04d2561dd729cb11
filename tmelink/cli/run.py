"""`tmelink run FILE`: bring the machines of a file up and run them until a signal comes."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from tmelink import logs
from tmelink.cli import files, labs, streams
from tmelink.cli.addresses import ListenAddress, listen_address
from tmelink.cli.signals import Signals
from tmelink.control import lab_names
from tmelink.control.all_methods import METHODS
from tmelink.control.control import Control
from tmelink.control.lab_names import NameLock, NameTaken
from tmelink.control.service import Service
from tmelink.errors import TmelinkError, shortage
from tmelink.proof.problems import mtu_problems
from tmelink.runtime import Lab
from tmelink.summary import table
from tmelink.system import accounts, event_loop, first_process, journal, memory, privileges, route_lookup
from tmelink.system.service_manager import ServiceManager

NAME = "run"
HELP = "run the machines and links of a file until interrupted"
EPILOG = labs.epilog(
    ("tmelink run lab.conf", "until Ctrl-C, SIGTERM or 'tmelink stop lab'"),
    ("tmelink run lab.conf --host one", "that host's part of the file"),
    ("kill -HUP PID", "read the file again and change what differs, as 'tmelink apply' does"),
)

RESTART_SECONDS = 1.0
"""How long a restarted lab that cannot open still answers the process that restarted it."""

log = logging.getLogger("tmelink.run")


def declare(parser: argparse.ArgumentParser) -> None:
    files.declare(parser)
    parser.add_argument(
        "--network-only",
        action="store_true",
        help="run the network of a file whose machines have parts that tmelink does not emulate",
    )
    parser.add_argument(
        "--keep-going", action="store_true", help="if an element cannot be opened, run the others"
    )
    parser.add_argument(
        "--name",
        metavar="NAME",
        type=files.argument(lab_names.valid_name),
        help="the lab's name for 'tmelink status' and other commands (the file's name without its suffix)",
    )
    parser.add_argument(
        "--user",
        metavar="NAME",
        type=files.argument(accounts.find),
        help="become this user once everything is open, and keep the capabilities that elements need",
    )
    parser.add_argument(
        "--group",
        metavar="NAME",
        type=files.argument(accounts.group),
        help="with --user: take this group instead of the user's own",
    )
    parser.add_argument(
        "--keep-privileges",
        action="store_true",
        help="keep privileges that no element needs yet, for elements added later",
    )
    parser.add_argument(
        "--no-journal",
        action="store_true",
        help="keep no journal in /run/tmelink of what to undo after a crash",
    )
    parser.add_argument(
        "--metrics",
        metavar="ADDR:PORT",
        type=files.argument(listen_address),
        help="answer Prometheus at http://ADDR:PORT/metrics (needs tmelink[metrics])",
    )
    parser.add_argument(
        "--log-format",
        choices=logs.FORMATS,
        default="text",
        help="text, with the time unless systemd's journal receives it; or one JSON object per line",
    )
    parser.add_argument(
        "--log-file",
        metavar="FILE",
        type=Path,
        help="append the log to this file, which is opened again after it was renamed",
    )
    parser.add_argument("--pidfile", metavar="FILE", type=Path, help="write the process ID to this file")


def main(options: argparse.Namespace) -> int:
    ended = first_process.step_aside()
    if ended is not None:
        return ended
    try:
        verbosity = options.verbose - options.quiet
        logs.configure(verbosity, form=options.log_format, file=options.log_file, dated=True)
    except OSError as error:
        raise TmelinkError(f"cannot write --log-file {options.log_file}: {error.strerror}") from error
    machine = files.read(options, network_only=options.network_only)
    if note := files.not_emulated(machine):
        if not options.network_only:
            raise TmelinkError(f"{options.file}: {note}; --network-only runs the network around them")
        log.warning("%s: %s", options.file, note)
    if not machine.elements:
        part = f" for host {options.host}" if options.host else ""
        raise TmelinkError(f"{options.file}: there is nothing to run: the file has no network element{part}")
    if note := files.forgotten_host(options, machine):
        log.warning("%s: %s", options.file, note)
    for warning in mtu_problems(machine, route_lookup.towards):
        log.warning("%s", warning)
    journal.kept = not options.no_journal
    if options.user is not None and os.geteuid() == 0 and not options.keep_privileges:
        journal.owner = options.user.uid
    memory.keep_freed()
    name = options.name or lab_names.name_of(options.file, options.host)
    manager = ServiceManager.from_environment()
    restarted = False
    with _named(name, options) as name_lock:
        while True:
            lab = Lab(machine, keep_going=options.keep_going, output=streams.say, report=_report)
            control = Control(lab, name, options.file, options.host, files.again(options, machine))
            service = Service(control, manager, options.pidfile)
            status = event_loop.run(_run(lab, control, service, name_lock, options, restarted))
            if not control.restarting:
                return status
            restarted = True
            machine = control.reload()


@contextlib.contextmanager
def _named(name: str, options: argparse.Namespace) -> Iterator[NameLock | None]:
    """The lab's name, claimed; None if there is no place for a control socket."""
    try:
        name_lock = NameLock.take(name, options.file, options.host)
    except NameTaken:
        raise
    except TmelinkError as error:
        log.warning("%s", error)
        yield None
        return
    try:
        yield name_lock
    finally:
        name_lock.leave()


async def _run(
    lab: Lab,
    control: Control,
    service: Service,
    name_lock: NameLock | None,
    options: argparse.Namespace,
    restarted: bool,
) -> int:
    machine = lab.machine
    for text in machine.output:
        streams.say(text)
    loop = asyncio.get_running_loop()

    def unexpected(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # A fault in tmelink itself must neither end the other elements nor fill the log.
        if why := shortage(context.get("exception")):
            log.warning("%s", why)
            return
        log.error("please report this: %s", context["message"], exc_info=context.get("exception"))

    loop.set_exception_handler(unexpected)
    Signals(lab, service.hung_up).listen()
    try:
        async with contextlib.AsyncExitStack() as stack:
            if name_lock is not None:
                await stack.enter_async_context(control.serving(name_lock, METHODS))
            if options.metrics is not None:
                await stack.enter_async_context(_metrics(control, options.metrics))
            try:
                await stack.enter_async_context(lab)
            except TmelinkError:
                await asyncio.sleep(RESTART_SECONDS if restarted else 0)
                raise
            await stack.enter_async_context(service.running())
            if not options.keep_privileges:
                _give_up(lab, options)
            service.ready()
            connections = labs.counted(len(machine.connections), "connection")
            size = f"{labs.counted(len(lab), 'element')}, {connections}"
            control.note("running", size, failed=sorted(lab.failures))
            log.info("running: %s", size)
            await lab.wait()
    except TmelinkError as error:
        if lab.reported is not error:
            raise
        return 1
    if text := table(lab.traffic()):
        streams.say(text)
    return 1 if lab.failures or lab.missing or lab.left else 0


@contextlib.asynccontextmanager
async def _metrics(control: Control, address: ListenAddress) -> AsyncIterator[None]:
    """Answer Prometheus; raises `TmelinkError` if that is not possible."""
    try:
        from tmelink.metrics.endpoint import MetricsEndpoint
    except ModuleNotFoundError as error:
        raise TmelinkError(f"--metrics needs {error.name}: pip install 'tmelink[metrics]'") from error
    async with MetricsEndpoint(control).serving(*address) as port:
        log.info("metrics: http://%s/metrics", address._replace(port=port))
        yield


def _give_up(lab: Lab, options: argparse.Namespace) -> None:
    """Keep only the capabilities that the elements need, as another user if one is given."""
    needed = frozenset[str]().union(*(element.capabilities() for element in lab.values()))
    account = options.user
    if account is not None and os.geteuid() != 0:
        if account.uid != os.geteuid():
            raise TmelinkError(f"--user {account.name}: only root can become another user")
        account = None
    if account is not None and options.group is not None:
        account = replace(account, gid=options.group)
    # Threads that look up names would keep what the process has had; new ones have what it has now.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(thread_name_prefix="tmelink"))
    kept = privileges.drop(needed, account)
    log.debug("keeps the capabilities: %s", ", ".join(sorted(kept)) or "none")


def _report(error: Exception) -> None:
    """Report why the lab does not start, before closing what already runs."""
    if isinstance(error, TmelinkError):
        streams.complain(f"tmelink: {error}")

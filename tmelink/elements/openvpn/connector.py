"""How a link reaches its peer: one attempt after the other, until it is told to stop.

Knows the remotes, retries and pauses that the options ask for. `tmelink.elements.openvpn.link_sockets` makes
an attempt's socket; `tmelink.elements.openvpn.peers` takes over once the socket can carry datagrams.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import Callable
from typing import Protocol

from tmelink.elements.openvpn import link_sockets, proxies
from tmelink.elements.openvpn.peers import Over, PeerOwner, PeerTransport, TcpPeer, TcpServer, UdpPeer
from tmelink.elements.openvpn.proxies import Proxy
from tmelink.elements.openvpn.sessions import Files
from tmelink.elements.openvpn.tcp_listener import TcpLease, listen
from tmelink.elements.openvpn.udp_listener import UdpLease, udp
from tmelink.errors import ElementError
from tmelink.openvpn.options.parse import Options
from tmelink.openvpn.session import Exit, Restart
from tmelink.transport import sockets
from tmelink.transport.datagrams import Address
from tmelink.transport.relay import Relayed

PATIENT_TRIES = 5
"""Tries at the shortest pause before the pauses double, as in OpenVPN 2.6 (`--connect-retry`)."""

JITTER = 0.1
"""The part of a pause that is left to chance, so that many links do not all knock at once."""

LinkPeer = UdpPeer | TcpServer | TcpPeer
RemoteChoice = tuple[Options, Proxy | None]
"""The options that hold for one remote, and the proxy on the way to it."""

Lease = UdpLease | TcpLease
"""A local port that is bound already."""


class ConnectorOwner(PeerOwner, Protocol):
    """What the attempts need of their link, beside what peers need."""

    peer: LinkPeer | None
    backoff: float

    def reaching(self, address: Address | None) -> None:
        """An attempt begins, and its packets go to this address; None where it waits to be found."""

    def ended(self, reason: str) -> None:
        """The link is over for good, as its options want it."""

    def failed(self, error: Exception) -> None:
        """The link is over for good, and should not be."""


class Connector:
    """The task that keeps a link's peer: tries every remote in turn, for ever or as often as allowed."""

    def __init__(self, link: ConnectorOwner, options: Options) -> None:
        self._link = link
        self._options = options
        self._ways: list[RemoteChoice] = []
        self._taken: Lease | None = None
        self._begun = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Bind what is known without asking a name server, so that a port in use is an error at once."""
        files = Files(self._link.log)
        toward = [self._options.toward(remote) for remote in self._options.remotes] or [self._options]
        self._ways = [(options, proxies.proxy(options, files)) for options in toward]
        self._shuffle()
        self._taken = await self._first()
        self._task = asyncio.get_running_loop().create_task(self._keep())
        if self._taken is not None:
            # Not before frames can be taken, so that the first one a machine sends is not lost.
            await self._begun.wait()

    async def close(self) -> None:
        """End the present attempt, and make no other."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        if self._taken is not None:
            # No attempt has come so far as to need it.
            self._taken.close()
            self._taken = None

    def _shuffle(self) -> None:
        if self._options.remote_random:
            random.shuffle(self._ways)

    async def _keep(self) -> None:
        """A fault of our own is told like any other end: nobody looks into the task while it runs."""
        try:
            await self._run()
        except Exception as error:
            self._link.failed(error)
        finally:
            self._begun.set()

    async def _run(self) -> None:
        limit = self._options.connect_retry_max
        tries = 0
        while True:
            for options, proxy in self._ways:
                over, heard = await self._attempt(options, proxy)
                self._begun.set()
                if isinstance(over, Exit):
                    self._link.ended(over.reason)
                    return
                self._link.went_down(over.reason)
                tries = 0 if heard else tries + 1
                if limit and tries >= limit * len(self._ways):
                    self._link.failed(
                        ElementError(f"gave up after {tries} tries (--connect-retry-max {limit})")
                    )
                    return
                await asyncio.sleep(max(_pause(options, tries), self._link.backoff))
            self._shuffle()

    async def _attempt(self, options: Options, proxy: Proxy | None) -> tuple[Over, bool]:
        """One remote, every address of its name in turn; why the last was over, and whether it was heard."""
        over: Over = Restart("no address to try")
        try:
            places = await link_sockets.places(options, proxy, self._link.log)
        except ElementError as error:
            places, over = [], Restart(str(error))
        for family, address in places:
            try:
                over, heard = await self._converse(options, proxy, family, address)
            except ElementError as error:
                over, heard = Restart(str(error)), False
            if heard or isinstance(over, Exit):
                return over, heard
        return over, False

    async def _converse(
        self,
        options: Options,
        proxy: Proxy | None,
        family: socket.AddressFamily,
        address: Address | None,
    ) -> tuple[Over, bool]:
        """Reach one address and stay with it until the peer is over."""
        taken, self._taken = self._taken, None
        self._link.reaching(address)
        peer: LinkPeer
        if options.proto.startswith("udp"):
            if proxy is None:
                lease = taken if isinstance(taken, UdpLease) else await udp(self._link, options, family)
                make_wire = self._direct(lease)
            else:
                assert address is not None, "a proxy has an address"
                make_wire = await self._relayed(options, proxy, family, address)
                address = (options.remotes[0].host, options.remotes[0].port)
            peer = UdpPeer(self._link, options, make_wire, address)
        elif options.proto.endswith("server"):
            place = taken if isinstance(taken, TcpLease) else await listen(self._link, options, family)
            peer = TcpServer(self._link, options, place, address)
        else:
            assert address is not None, "the options see to it that a TCP client has a remote"
            sock = await link_sockets.connect(options, family, address, proxy)
            if proxy is not None:
                address = (options.remotes[0].host, options.remotes[0].port)
            peer = TcpPeer(self._link, options, sock, address)
            through = f" through {proxy}" if proxy is not None else ""
            self._link.log.info("connected: %s%s", sockets.show(address), through)
        self._link.peer = peer
        self._begun.set()
        try:
            return await peer.over, peer.heard
        finally:
            self._link.peer = None
            peer.close()

    def _direct(self, lease: UdpLease) -> Callable[[UdpPeer], PeerTransport]:
        """Datagrams through a port of our own, or one shared with other links."""

        def make(peer: UdpPeer) -> PeerTransport:
            try:
                lease.attend(peer)
            except ElementError:
                lease.close()
                raise
            return lease

        return make

    async def _relayed(
        self, options: Options, proxy: Proxy, family: socket.AddressFamily, address: Address
    ) -> Callable[[UdpPeer], PeerTransport]:
        """Datagrams through the relay of a SOCKS proxy."""
        sock, control, relay = await link_sockets.associate(options, family, address, proxy)
        self._link.log.info("%s relays from %s", proxy, sockets.show(relay))
        link = self._link

        def make(peer: UdpPeer) -> PeerTransport:
            return Relayed(
                sock,
                control,
                relay,
                peer.arrived,
                lambda reason: peer.lost(f"{proxy}: {reason}"),
                link.hold_machine,
                link.log,
                link.sent,
                link.received,
                segment=link.segment,
                gro=link.gro,
            )

        return make

    async def _first(self) -> Lease | None:
        """The first attempt's port; None where it needs none, or a name has to be resolved before."""
        options, proxy = self._ways[0]
        if proxy is not None or options.proto.endswith("client"):
            return None
        hosts = [options.local, *(remote.host for remote in options.remotes)]
        if any(host is not None and sockets.literal_family(host) is None for host in hosts):
            return None
        family, _address = (await link_sockets.places(options, None, self._link.log))[0]
        if options.proto.startswith("udp"):
            return await udp(self._link, options, family)
        return await listen(self._link, options, family)


def _pause(options: Options, tries: int) -> float:
    shortest, longest = options.connect_retry
    doublings = min(max(0, tries - PATIENT_TRIES), 16)
    return min(shortest * 2.0**doublings, longest) * (1 + JITTER * random.random())

"""Connects a link to its peer: one attempt after the other, until it is stopped.

Knows the remotes, retries and pauses that the options ask for. `tmelink.elements.openvpn.link_sockets` makes
an attempt's socket; `tmelink.elements.openvpn.peers` takes over once the socket can carry datagrams.
"""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from tmelink import tasks
from tmelink.elements.openvpn import link_sockets, proxies
from tmelink.elements.openvpn.own_address import OwnAddress
from tmelink.elements.openvpn.peers import Over, PeerOwner, PeerTransport, TcpPeer, TcpServer, UdpPeer
from tmelink.elements.openvpn.proxies import Proxy
from tmelink.elements.openvpn.rendezvous_peer import RendezvousPeer
from tmelink.elements.openvpn.sessions import Files
from tmelink.elements.openvpn.side_by_side import MOST_ADDRESSES, SideBySidePeer
from tmelink.elements.openvpn.tcp_listener import TcpLease, listen
from tmelink.elements.openvpn.udp_listener import UdpLease, udp
from tmelink.errors import ElementError
from tmelink.openvpn.options.parse import Options
from tmelink.openvpn.session import Exit, Restart
from tmelink.transport import rendezvous, sockets
from tmelink.transport.datagrams import Address
from tmelink.transport.relay import Relayed

PATIENT_TRIES = 5
"""Attempts at the shortest pause before the pauses double, as in OpenVPN 2.6 (`--connect-retry`)."""

JITTER = 0.1
"""The random part of a pause, so that many links do not all connect at once."""

LinkPeer = UdpPeer | TcpServer | TcpPeer
RemoteChoice = tuple[Options, Proxy | None]
"""The options for one remote, and the proxy in front of it."""

LinkLease = UdpLease | TcpLease
"""A local port that is bound already."""

LEAST_POLL_SECONDS = 1
"""Seconds that a peer has at least to answer, however long the connection took."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """How an attempt ended, whether the peer was heard, and at which address."""

    over: Over
    heard: bool = False
    address: Address | None = None

    @property
    def stays(self) -> bool:
        """Whether the next attempt goes to the same address, as after one that worked"""
        onward = None if isinstance(self.over, Exit) else self.over.onward
        return self.heard if onward is None else onward == "here"


class ConnectorOwner(PeerOwner, Protocol):
    """What the attempts need from their link, beside what peers need."""

    peer: LinkPeer | None

    @property
    def backoff(self) -> float:
        """Seconds until the next attempt, as the server asks."""

    def waits_for(self, place: str) -> None:
        """An attempt begins, which is over once the peer at `place` has been heard."""

    def ended(self, reason: str) -> None:
        """The link has ended permanently, as its options ask."""

    def failed(self, error: Exception) -> None:
        """The link has ended permanently, by a failure."""


class Connector:
    """The task that keeps a link connected: tries every remote in turn, for ever or as often as allowed."""

    def __init__(self, link: ConnectorOwner, options: Options) -> None:
        self._link = link
        self._options = options
        self._choices: list[RemoteChoice] = []
        self._rendezvous_key: bytes | None = None
        self._taken: LinkLease | None = None
        self._begun = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Bind a literal address at once, so that a port in use is reported immediately."""
        files = Files(self._link.log)
        toward = [self._options.toward(remote) for remote in self._options.remotes] or [self._options]
        self._choices = [(options, proxies.proxy(options, files)) for options in toward]
        self._rendezvous_key = _rendezvous_key(self._options, files)
        self._shuffle()
        self._taken = await self._first()
        self._task = asyncio.get_running_loop().create_task(self._keep())
        if self._taken is not None:
            # Only once frames can be taken, so that the machine's first frame is not lost.
            await self._begun.wait()

    def renew(self, options: Options) -> None:
        """Take the link's new key at the rendezvous, if it has one; raises `ElementError`."""
        self._rendezvous_key = _rendezvous_key(options, Files(self._link.log))
        if self._rendezvous_key is not None and isinstance(self._link.peer, RendezvousPeer):
            self._link.peer.renew(self._rendezvous_key)

    async def close(self) -> None:
        """End the present attempt, and stop."""
        await tasks.end(self._task)
        self._task = None
        if self._taken is not None:
            # No attempt has needed it yet.
            self._taken.close()
            self._taken = None

    def _shuffle(self) -> None:
        if self._options.remote_random:
            random.shuffle(self._choices)

    async def _keep(self) -> None:
        """Report a fault of our own like any other end: nothing awaits the task while it runs."""
        try:
            await self._run()
        except Exception as error:
            self._link.failed(error)
        finally:
            self._begun.set()

    async def _run(self) -> None:
        limit = self._options.connect_retry_max
        tries = chosen = 0
        kept: Address | None = None
        while True:
            options, proxy = self._choices[chosen]
            attempt = await self._attempt(options, proxy, kept)
            over, kept = attempt.over, attempt.address
            self._begun.set()
            if isinstance(over, Exit):
                self._link.ended(over.reason)
                return
            tries = 0 if attempt.heard else tries + 1
            if limit and tries >= limit * len(self._choices):
                self._link.failed(ElementError(f"gave up after {tries} tries (--connect-retry-max {limit})"))
                return
            if not attempt.stays:
                kept = None
                chosen += 1
                if chosen == len(self._choices):
                    chosen = 0
                    self._shuffle()
            pause = 0.0 if over.at_once else _pause(options, tries)
            await asyncio.sleep(max(pause, self._link.backoff))

    async def _attempt(self, options: Options, proxy: Proxy | None, first: Address | None) -> Attempt:
        """Try one remote: the addresses of its name in turn until the peer is heard, `first` before all."""
        try:
            places = await link_sockets.places(options, proxy, self._link.log)
        except ElementError as error:
            self._link.went_down(str(error))
            return Attempt(Restart(str(error)))
        attempt = Attempt(Restart("no address to try"))
        places.sort(key=lambda place: place[1] != first)
        beside: Sequence[link_sockets.DialTarget] = ()
        if options.proto.startswith("udp") and options.tls is None and proxy is None:
            places, beside = places[:1], places[1:MOST_ADDRESSES]
        for family, address in places:
            try:
                over, heard = await self._converse(options, proxy, family, address, beside)
            except ElementError as error:
                over, heard = Restart(str(error)), False
            attempt = Attempt(over, heard, address)
            if isinstance(over, Exit):
                return attempt
            self._link.went_down(over.reason if heard else _with_place(over.reason, options, proxy, address))
            if attempt.stays or over.onward == "remote":
                return attempt
        return attempt

    async def _converse(
        self,
        options: Options,
        proxy: Proxy | None,
        family: socket.AddressFamily,
        address: Address | None,
        beside: Sequence[link_sockets.DialTarget] = (),
    ) -> tuple[Over, bool]:
        """Connect to one address, or `beside` it to others, and stay until the peer is gone."""
        own: OwnAddress | None = None
        others = [other for _, other in beside if other is not None]
        self._link.waits_for(_place(options, proxy, address, others))
        await self._link.reaching(address, beside=others)
        taken, self._taken = self._taken, None
        began = asyncio.get_running_loop().time()
        peer: LinkPeer
        if address is not None and others:
            leases = await self._leases(options, [family, *(other for other, _ in beside)])
            peer = SideBySidePeer(self._link, options, leases, [address, *others])
        elif self._rendezvous_key is not None:
            assert address is not None, "the options see to it that there is a remote"
            lease = taken if isinstance(taken, UdpLease) else await udp(self._link, options, family)
            own_options = _within_poll_timeout(options, began)
            peer = RendezvousPeer(self._link, own_options, lease, address, self._rendezvous_key)
        elif options.proto.startswith("udp"):
            if proxy is None:
                lease = taken if isinstance(taken, UdpLease) else await udp(self._link, options, family)
                make_wire = self._direct(lease)
            else:
                assert address is not None, "a proxy has an address"
                make_wire = await self._relayed(options, proxy, family, address)
                address = (options.remotes[0].host, options.remotes[0].port)
            peer = UdpPeer(self._link, _within_poll_timeout(options, began), make_wire, address)
        elif options.proto.endswith("server"):
            place = taken if isinstance(taken, TcpLease) else await listen(self._link, options, family)
            peer = TcpServer(self._link, options, place, address)
        else:
            assert address is not None, "the options see to it that a TCP client has a remote"
            sock = await link_sockets.connect(options, family, address, proxy)
            if proxy is not None:
                address = (options.remotes[0].host, options.remotes[0].port)
            tcp = TcpPeer(self._link, _within_poll_timeout(options, began), sock, address)
            own = OwnAddress(sock, tcp.lost)
            peer = tcp
            through = f" through {proxy}" if proxy is not None else ""
            self._link.log.info("connected: %s%s", sockets.show(address), through)
        self._link.peer = peer
        self._begun.set()
        try:
            if own is not None:
                await own.open()
            return await peer.over, peer.heard
        finally:
            if own is not None:
                own.close()
            self._link.peer = None
            peer.close()

    async def _leases(
        self, options: Options, families: Sequence[socket.AddressFamily]
    ) -> dict[socket.AddressFamily, UdpLease]:
        """A port for each family that the computer has; `ElementError` if there is none."""
        leases: dict[socket.AddressFamily, UdpLease] = {}
        failure = ElementError("no address to try")
        for family in dict.fromkeys(families):
            # A port for IPv6 that took IPv4 too would leave none for the other socket.
            own = replace(options, bind_ipv6_only=True) if family == socket.AF_INET6 else options
            try:
                leases[family] = await udp(self._link, own, family)
            except ElementError as error:
                failure = error
                self._link.log.info("%s; trying the peer's other addresses", error)
        if not leases:
            raise failure
        return leases

    def _direct(self, lease: UdpLease) -> Callable[[UdpPeer], PeerTransport]:
        """Send datagrams through a port of our own, or one shared with other links."""

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
        """Send datagrams through the relay of a SOCKS proxy."""
        sock, control, relay = await link_sockets.associate(options, family, address, proxy)
        if not sockets.same_host(relay, address):
            await self._link.reaching(address, relay)
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

    async def _first(self) -> LinkLease | None:
        """The first attempt's port; None if it needs none, or if a name must be resolved first."""
        options, proxy = self._choices[0]
        if proxy is not None or options.proto.endswith("client"):
            return None
        hosts = [options.local, *(remote.host for remote in options.remotes)]
        if any(host is not None and sockets.literal_family(host) is None for host in hosts):
            return None
        family, _address = (await link_sockets.places(options, None, self._link.log))[0]
        if options.proto.startswith("udp"):
            return await udp(self._link, options, family)
        return await listen(self._link, options, family)


def _rendezvous_key(options: Options, files: Files) -> bytes | None:
    """The key in the file of --rendezvous, where there is one; raises `ElementError`."""
    if options.rendezvous is None:
        return None
    try:
        return rendezvous.read_key(files.secret(options.rendezvous, "rendezvous"))
    except ValueError as error:
        raise ElementError(f"--rendezvous {options.rendezvous}: {error}") from error


def _within_poll_timeout(options: Options, began: float) -> Options:
    """The options with the rest of --server-poll-timeout after connecting; 0 means no limit."""
    if not options.connect_timeout:
        return options
    spent = asyncio.get_running_loop().time() - began
    return replace(options, connect_timeout=max(options.connect_timeout - int(spent), LEAST_POLL_SECONDS))


def _place(
    options: Options, proxy: Proxy | None, address: Address | None, others: Sequence[Address] = ()
) -> str:
    """The remote of an attempt, or where this end waits for its peer to begin."""
    if not options.remotes or address is None:
        own = sockets.show((options.local or "0.0.0.0", options.lport))
        return f"a peer at {own} {options.proto}" if options.bind else "a peer"
    remote, shown = options.remotes[0], ", ".join(map(sockets.show, (address, *others)))
    named = sockets.show((remote.host, remote.port))
    tcp = "" if options.proto.startswith("udp") else f" {options.proto}"
    if proxy is not None:
        return f"{named}{tcp} through {proxy}"
    return f"{shown}{tcp}" if sockets.literal_family(remote.host) is not None else f"{named} ({shown}){tcp}"


def _with_place(reason: str, options: Options, proxy: Proxy | None, address: Address | None) -> str:
    """Why an attempt failed, with the remote that it went to."""
    if not options.remotes or address is None:
        return reason
    remote, shown = options.remotes[0], sockets.show(address)
    named = sockets.show((remote.host, remote.port))
    if proxy is not None:
        return f"{named} {options.proto} through {proxy}: {reason}"
    if shown in reason:
        return reason
    where = shown if sockets.literal_family(remote.host) is not None else f"{named} ({shown})"
    return f"{where} {options.proto}: {reason}"


def _pause(options: Options, tries: int) -> float:
    shortest, longest = options.connect_retry
    doublings = min(max(0, tries - PATIENT_TRIES), 16)
    return min(shortest * 2.0**doublings, longest) * (1 + JITTER * random.random())

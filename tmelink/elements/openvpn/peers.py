"""A link's peer over a UDP socket or over TCP connections: which datagrams are accepted, where replies go.

Each peer object is one attempt of a link: it lives from the moment something carries its datagrams until
`over` is done. Which attempts are made, and when, is the link's.
"""

from __future__ import annotations

import asyncio
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol, cast

from tmelink import frame
from tmelink.elements.openvpn.driver import SessionDriver
from tmelink.elements.openvpn.shared_ports import PortUser
from tmelink.elements.openvpn.tcp_listener import TcpLease
from tmelink.frame import Frame
from tmelink.openvpn.options.parse import Options
from tmelink.openvpn.session import (
    AuthFailed,
    Carried,
    Challenge,
    Exit,
    Item,
    LoginAddress,
    Measured,
    Notice,
    Pushed,
    Restart,
    Session,
    SessionEvent,
    Step,
    Token,
    Up,
)
from tmelink.transport import sockets
from tmelink.transport.datagrams import Address
from tmelink.transport.streams import Stream

CANDIDATES = 64
"""The most connections that may wait beside an open one until they prove to be the peer's; another one
replaces the one that has been silent longest."""

CANDIDATE_SECONDS = 30.0
"""How long one of them may wait."""

AnswerSender = Callable[[Sequence[Item], Hashable], None]
"""Sends datagrams to an address that is not the peer's, or not yet."""

Over = Restart | Exit
"""How a peer ended: to be tried again, or permanently."""


class PeerTransport(Protocol):
    """Carries a UDP peer's datagrams: a port of our own or a shared one, or a proxy's relay."""

    @property
    def send(self) -> Callable[[Sequence[Item], Address], None]:
        """Send datagrams to an address."""

    def close(self) -> None:
        """Release it."""


class PeerOwner(PortUser, Protocol):
    """What a peer needs from its link, beside what a port needs."""

    async def reaching(
        self, address: Address | None, *relays: Address, beside: Sequence[Address] = ()
    ) -> None:
        """The link's packets go to these addresses from now on; None if this end waits for its peer.

        `beside` are other addresses of the peer, which may be tried. Returns once they may be sent.
        """

    def may_enter_link(self, address: Address) -> bool:
        """Whether packets to this address might enter the link, until `reaching` has returned."""

    def new_session(self, options: Options) -> Session:
        """A new session with the options for the peer."""

    def deliver(self, items: Sequence[Carried]) -> None:
        """Frames for the machine."""

    def deliver_one(self, frame: Frame) -> None:
        """A frame for the machine that comes alone."""

    def notice(self, notice: Notice) -> None:
        """A line for the log."""

    def pushed(self, pushed: Pushed) -> None:
        """The server's options for this client."""

    def refused(self, refusal: AuthFailed) -> None:
        """The server refuses this client."""

    def given(self, token: Token) -> None:
        """The server's token replaces the password from now on."""

    def log_in_at(self, login: LoginAddress) -> None:
        """The server wants somebody to log in with a browser."""

    def challenged(self, challenge: Challenge, respond: Callable[[str], None]) -> None:
        """The server asks somebody something; `respond` sends the answer."""

    def came_up(self, detail: str) -> None:
        """The peer has been heard."""

    def went_down(self, reason: str) -> None:
        """The peer, heard or not, is gone, and another attempt follows."""

    def happened(self, kind: str, detail: str = "", **data: Any) -> None:
        """Something that a person may want to know later."""

    def measured(self, answer: Measured) -> None:
        """The peer has answered `probe`."""

    def driving(self, driver: SessionDriver) -> None:
        """What drives the session that `new_session` has made."""

    def retire(self, session: Session) -> None:
        """A session has ended; its drops are to be kept."""


class SessionPeer(ABC):
    """What a peer is over either transport: a session with its driver, until `over` is done."""

    def __init__(self, link: PeerOwner, options: Options, answer: AnswerSender | None = None) -> None:
        self.over: asyncio.Future[Over] = asyncio.get_running_loop().create_future()
        self.heard = False
        self._link = link
        self._driver = SessionDriver(
            link.new_session(options), self._transmit, link.deliver, self._handle_event, answer
        )
        link.driving(self._driver)
        # For a frame that comes alone: each call saved shortens its round trip.
        self.send_one = self._driver.send_one

    @property
    @abstractmethod
    def where(self) -> str | None:
        """The peer's address and port."""

    @property
    def session(self) -> Session:
        """What is spoken with it."""
        return self._driver.session

    def send(self, items: Sequence[Carried]) -> None:
        """Frames from the machine."""
        self._driver.send(items)

    def probe(self, payloads: Sequence[int]) -> None:
        """Ask the peer what arrives of payloads of these lengths in bytes."""
        self._driver.probe(payloads)

    def end(self, over: Over) -> None:
        """It has ended like this, unless it has ended before."""
        if not self.over.done():
            self.over.set_result(over)

    @abstractmethod
    def _transmit(self, items: Sequence[Item]) -> None:
        """Send datagrams to the peer."""

    def _handle_event(self, event: SessionEvent) -> None:
        if isinstance(event, Up):
            self.heard = True
            self._link.came_up(" ".join(filter(None, (self.where, event.detail))))
        elif isinstance(event, Notice):
            self._link.notice(event)
        elif isinstance(event, Pushed):
            self._link.pushed(event)
        elif isinstance(event, AuthFailed):
            self._link.refused(event)
        elif isinstance(event, Token):
            self._link.given(event)
        elif isinstance(event, LoginAddress):
            self._link.log_in_at(event)
        elif isinstance(event, Challenge):
            self._link.challenged(event, self._driver.respond)
        elif isinstance(event, Measured):
            self._link.measured(event)
        elif isinstance(event, Restart | Exit):
            self.end(event)


class UdpPeer(SessionPeer):
    """A peer over UDP; `make_wire` is given the peer, and makes what carries its datagrams.

    With `remote` and without `--float` only that address and port is heard; else whoever proves to be the
    peer, and replies go to where it was heard last (OpenVPN's `--remote` and `--float`). Without a key nobody
    can prove that, so there the first one is heard until it falls silent. A `remote` that is a name is a
    proxy's to resolve: whoever answers is heard.
    """

    def __init__(
        self,
        link: PeerOwner,
        options: Options,
        make_wire: Callable[[UdpPeer], PeerTransport],
        remote: Address | None,
    ) -> None:
        super().__init__(link, options, self._answer)
        self.remote = remote
        self._reached = remote
        self._moving: asyncio.Task[None] | None = None
        self._follows = options.float or (remote is None and options.secure)
        self._unfound = remote is None or sockets.literal_family(remote[0]) is None
        try:
            self._wire = make_wire(self)
        except BaseException:
            link.retire(self._driver.session)
            raise
        self._driver.start()

    @property
    def where(self) -> str | None:
        """The peer's address and port."""
        return None if self.remote is None else sockets.show(self.remote)

    @property
    def queued(self) -> int:
        """Bytes that wait here to be sent; datagrams never do."""
        return 0

    def close(self) -> None:
        """Notify the peer if the session wants to, and close the socket."""
        if self._moving is not None:
            self._moving.cancel()
        self._driver.close()
        self._wire.close()
        self._link.retire(self._driver.session)

    def arrived(self, items: list[Item], address: Address) -> bool:
        """Take datagrams; returns whether any of them was authentic."""
        if address != self.remote and not self._hears(address):
            self._link.received.drops["not the remote"] += frame.count(items)
            self._link.heard_stranger(address)
            return False
        step = self._driver.receive(items, address)
        if address != self.remote and step.authentic and self._moves_to(address):
            self._log_move(address)
            self._move(address)
        self._driver.do(step)
        return step.authentic

    def _hears(self, address: Address) -> bool:
        """Whether the peer may speak from another address than its present one."""
        return self._follows or self._unfound

    def _moves_to(self, address: Address) -> bool:
        """Whether replies go to where the peer has just spoken from."""
        return True

    def _log_move(self, address: Address) -> None:
        if self.remote is not None:
            self._link.log.info("peer moved to %s", sockets.show(address))
            before, after = sockets.show(self.remote), sockets.show(address)
            self._link.happened("peer moved", after, before=before, after=after)

    def _move(self, address: Address) -> None:
        """The peer is at another address; nothing is sent there before a route bypasses the link."""
        self.remote = address
        self._unfound = False
        if self._moving is not None:
            self._moving.cancel()
        if self._link.may_enter_link(address):
            self._reached = None
            self._moving = asyncio.get_running_loop().create_task(self._reach(address))
        else:
            self._reached = address

    async def _reach(self, address: Address) -> None:
        await self._link.reaching(address)
        self._reached = address

    def arrived_one(self, datagram: Frame, address: Address) -> None:
        """Take a datagram that came alone."""
        if address != self.remote:
            self.arrived([datagram], address)
            return
        opened = self._driver.receive_one(datagram, address)
        if isinstance(opened, Step):
            self._driver.do(opened)
        else:
            self._link.deliver_one(opened)

    def lost(self, reason: str) -> None:
        """The carrier of the datagrams is gone."""
        self.end(Restart(reason))

    def _transmit(self, items: Sequence[Item]) -> None:
        if self._reached is None:
            self._link.sent.drops["no peer yet"] += frame.count(items)
        else:
            self._wire.send(items, self._reached)

    def _answer(self, items: Sequence[Item], address: Hashable) -> None:
        if self._link.may_enter_link(cast(Address, address)):
            self._link.sent.drops["no route outside the link"] += frame.count(items)
        else:
            self._wire.send(items, cast(Address, address))


class TcpPeer(SessionPeer):
    """A peer over one TCP connection; `head` was read from it before."""

    def __init__(
        self, link: PeerOwner, options: Options, sock: socket.socket, address: Address, head: bytes = b""
    ) -> None:
        super().__init__(link, options)
        self.proven: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.address = address
        self._stream = Stream(
            sock,
            self._arrived,
            self.lost,
            link.hold_machine,
            link.sent,
            link.received,
            limit=link.stream_limit,
        )
        self._driver.start()
        self._stream.begin(head)

    @property
    def where(self) -> str | None:
        """The peer's address and port."""
        return sockets.show(self.address)

    @property
    def queued(self) -> int:
        """Bytes that wait until the connection takes them."""
        return self._stream.queued

    def close(self) -> None:
        """Notify the peer if the session wants to, and close the connection."""
        self._driver.close()
        self._stream.close()
        self._link.retire(self._driver.session)

    @property
    def spoken(self) -> bool:
        """Whether any data was a packet of the link's protocol."""
        return self._driver.session.spoken

    def _transmit(self, items: Sequence[Item]) -> None:
        self._stream.send(items)

    def _arrived(self, items: Sequence[Item]) -> None:
        step = self._driver.receive(items)
        if step.authentic and not self.proven.done():
            self.proven.set_result(None)
        self._driver.do(step)

    def lost(self, reason: str) -> None:
        """End with the connection, for this reason."""
        self.end(Restart(f"connection with {sockets.show(self.address)} ended: {reason}"))


class TcpServer:
    """Accepts a TCP link's peer, and again after each break.

    One connection stands at a time. Another one is heard beside it, and takes its place once it proves to be
    the peer's, so that a passer-by who only connects cannot end the link, and a peer that lost its
    connection unnoticed need not wait for ours to notice too.
    """

    def __init__(self, link: PeerOwner, options: Options, lease: TcpLease, remote: Address | None) -> None:
        self.over: asyncio.Future[Over] = asyncio.get_running_loop().create_future()
        self.heard = False
        self._link = link
        self._lease = lease
        self._options = options
        self._current: TcpPeer | None = None
        self._peers: dict[TcpPeer, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        lease.attend(self._accept, None if options.float else remote)

    @property
    def where(self) -> str | None:
        """The peer's address and port, if one is connected."""
        return None if self._current is None else self._current.where

    @property
    def session(self) -> Session | None:
        """What is spoken with the one that is connected."""
        return None if self._current is None else self._current.session

    @property
    def queued(self) -> int:
        """Bytes that wait until the connection takes them."""
        return 0 if self._current is None else self._current.queued

    def send(self, items: Sequence[Carried]) -> None:
        """Frames from the machine."""
        if self._current is None:
            self._link.sent.drops["not connected"] += frame.count(items)
        else:
            self._current.send(items)

    def probe(self, payloads: Sequence[int]) -> None:
        """Ask the peer, if one is connected, what arrives of payloads of these lengths in bytes."""
        if self._current is not None:
            self._current.probe(payloads)

    def send_one(self, frame: Frame) -> None:
        """A frame from the machine that comes alone."""
        if self._current is None:
            self._link.sent.drops["not connected"] += 1
        else:
            self._current.send_one(frame)

    def close(self) -> None:
        """Close the listening socket, unless other links need it, and every connection."""
        self._lease.close()
        for task in self._tasks:
            task.cancel()
        for peer in list(self._peers):
            self._drop(peer)

    def _accept(self, sock: socket.socket, address: Address, head: bytes) -> None:
        if len(self._peers) > CANDIDATES:
            self._make_room()
        peer = TcpPeer(self._link, self._options, sock, address, head)
        task = asyncio.get_running_loop().create_task(self._attend(peer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _make_room(self) -> None:
        """End the connection that has been silent, or else unproven, longest."""
        strangers = [peer for peer in self._peers if not peer.proven.done() and not peer.over.done()]
        if strangers:
            last = min(strangers, key=lambda peer: peer.spoken)
            self._link.received.drops["too many connections"] += 1
            last.end(Restart(f"{sockets.show(last.address)} made room for another connection"))

    async def _attend(self, peer: TcpPeer) -> None:
        self._peers[peer] = None
        try:
            if not await self._take_its_place(peer):
                return
            self._current = peer
            self._link.log.info("connected: %s", sockets.show(peer.address))
            over = await peer.over
            self.heard |= peer.heard
            if self._current is peer:
                self._link.went_down(over.reason)
            else:
                self._link.log.info("%s", over.reason)
            if isinstance(over, Exit) and not self.over.done():
                self.over.set_result(over)
        finally:
            self._drop(peer)

    async def _take_its_place(self, peer: TcpPeer) -> bool:
        """Wait until no other connection is open or `peer` proves authentic; False if neither happens."""
        while (standing := self._current) is not None:
            await asyncio.wait(
                (peer.proven, peer.over, standing.over),
                timeout=CANDIDATE_SECONDS,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if peer.proven.done():
                standing.end(Restart(f"{sockets.show(peer.address)} took its place"))
                return True
            if peer.over.done() or not standing.over.done():
                return False
            self._drop(standing)
        return True

    def _drop(self, peer: TcpPeer) -> None:
        if self._current is peer:
            self._current = None
        if peer in self._peers:
            del self._peers[peer]
            peer.close()

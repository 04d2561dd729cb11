"""The link: one side of a pair that carries a machine's frames in OpenVPN's wire protocol.

Here frames meet the wire: super-frames are cut into runs of datagrams, and runs are joined into super-frames.
`tmelink.elements.openvpn.connector` reaches the peer, `tmelink.elements.openvpn.peers` decides whose
datagrams count, a session (`tmelink.openvpn`) knows what is in a datagram, and `tmelink.transport` carries
it.
"""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import cast

from tmelink import frame
from tmelink.element import Claim, OuterMtu, Port
from tmelink.elements.openvpn import shared_ports, wire
from tmelink.elements.openvpn.base import OpenvpnElement
from tmelink.elements.openvpn.connector import Connector, LinkPeer
from tmelink.elements.openvpn.details import LinkDetails, link_details, link_snapshot
from tmelink.elements.openvpn.link_sessions import LinkSessions
from tmelink.elements.openvpn.login import Login
from tmelink.elements.openvpn.outer_path import OuterPath
from tmelink.elements.openvpn.path_probe import PathProbe
from tmelink.elements.openvpn.peers import UdpPeer
from tmelink.elements.openvpn.prompts import answers
from tmelink.elements.openvpn.rendezvous_peer import RendezvousPeer
from tmelink.elements.openvpn.replay_file import ReplayFile
from tmelink.elements.openvpn.sessions import (
    Answers,
    Files,
    NewSession,
    longest_super_frame,
    replay_file,
    session_maker,
)
from tmelink.elements.openvpn.shaper import FrameShaper
from tmelink.elements.openvpn.waiting import WaitingLog
from tmelink.errors import ElementError
from tmelink.frame import Burst, Frame, one_by_one, pieces
from tmelink.offload import coalesce, coalesce_between, completed, cut
from tmelink.openvpn.monitoring.status import Snapshot
from tmelink.openvpn.options.dns_options import DHCP
from tmelink.openvpn.options.parse import Options
from tmelink.openvpn.plain.mtu import datagram_overhead
from tmelink.openvpn.session import (
    Carried,
    Exit,
    Item,
    Measured,
    Notice,
    Pushed,
    Restart,
    Security,
    Session,
)
from tmelink.openvpn.tls.engine import TlsContext
from tmelink.openvpn.tls.session import TlsSession
from tmelink.printable import printable
from tmelink.transport import icmp_echo, sockets
from tmelink.transport.datagrams import MAX_RUN, Address

MAX_LOGGED = 2000
"""Characters of pushed options that a line of the log repeats."""

USED = frozenset(
    {
        "auth-token", "auth-token-user", "block-ipv6", "cipher", "comp-lzo", "compress", "dns", "ifconfig",
        "ifconfig-ipv6", "keepalive", "key-derivation", "peer-id", "ping", "ping-exit", "ping-restart",
        "protocol-flags", "redirect-gateway", "redirect-private", "route", "route-gateway", "route-ipv6",
        "route-ipv6-gateway", "route-metric", "topology", "tun-ipv6", "tun-mtu",
    }
)  # fmt: skip
"""Options that a client does something with, or needs to do nothing for."""


class Link(OpenvpnElement):
    """A link to another host: UDP, TCP server or TCP client, in OpenVPN's wire protocol.

    The other end may be tmelink, TME or OpenVPN. The arguments are OpenVPN's own options. Any other word is
    the name of a `--config` file.
    """

    commands = ("renegotiate",)
    example = """\
tap0: tme/host/tun/tap interface tap0 inet 10.0.77.2/24
link0 at tap0: tme/host/openvpn/socket/link --dev tap --tls-client --remote 192.0.2.1 --nobind \\
    --ca ca.crt --cert two.crt --key two.key --remote-cert-tls server --keepalive 10 60
"""

    def __init__(self, name: str, arguments: Options) -> None:
        super().__init__(name, arguments)
        self.peer: LinkPeer | None = None
        self._sessions = sessions = LinkSessions(self.sent, self.received)
        self.driving, self.retire, self.watch_wire = sessions.driving, sessions.retire, sessions.watch_wire
        self._make: NewSession | None = None
        self._replays: ReplayFile | None = None
        self._login = login = Login(name, self.log)
        self.refused, self.given = login.refused, login.given
        self.challenged, self.log_in_at = login.challenged, login.log_in_at
        self._complaint = ""
        self._told: set[str] = set()
        """Notices that are not repeated."""
        self._connector: Connector | None = None
        self._shaper: FrameShaper | None = None
        wrapped = arguments.tls_crypt or arguments.tls_auth or arguments.tls_crypt_v2
        self._waiting = WaitingLog(self, wrapped=wrapped is not None)
        self._probe = PathProbe(self._send_probe)
        self._place = ""
        self.failure = ""
        """Why the last attempt failed, in words; what was wrong with one who is not the peer counts too."""
        self._datagrams = arguments.proto.startswith("udp")
        self._unfragmented = self._datagrams and arguments.mtu_disc == "yes" and not arguments.sizes.fragment
        self._path = OuterPath(self._path_changed)

    @classmethod
    def misfits(cls, options: Options) -> Iterator[tuple[str, str]]:
        """A link has one peer."""
        if options.mode == "server":
            hint = "write tme/host/openvpn/socket/server in place of this module's name"
            yield "a link has one peer, but these options serve many", hint

    def claims(self) -> list[Claim]:
        """The local address and port, if they are bound and known beforehand."""
        claim = shared_ports.claim(self.arguments)
        return [] if claim is None else [claim]

    def mtu(self, port: Port, outer: OuterMtu | None = None) -> int:
        """--tun-mtu: the largest packet that both ends expect.

        Under --mtu-disc yes no more than the path takes: datagrams then never travel in fragments.
        """
        expected = super().mtu(port, outer)
        if not self._unfragmented:
            return expected
        path, epochs = self._path.size if outer is None else outer(self), self.arguments.tls is not None
        fits = wire.whole(self.arguments, self._path.version, path, epochs=epochs)
        return min(expected, fits or expected)

    def longest(self, port: Port) -> int | None:
        """The size of a super-frame that becomes one run of datagrams, which is one call at both ends.

        It fits a record too. Over TCP anything does: what Linux builds unless asked for more fits one record.
        """
        if not (self.segment and self.arguments.proto.startswith("udp")):
            return None
        return longest_super_frame(self.arguments, MAX_RUN)

    def session_drops(self) -> Iterable[Counter[str]]:
        """Those of the peer's sessions, one for each connection that may be the peer's."""
        return self._sessions.drops()

    def details(self) -> LinkDetails:
        """Peer, protection and sizes."""
        options, peer = self.arguments, self.peer
        session = None if peer is None else peer.session
        security = Security() if session is None else session.security()
        where = None if peer is None else peer.where
        now, dns = time.monotonic(), self._tunnel_network.dns
        queued = 0 if peer is None else peer.queued
        if self._probe.round_trip is not None:
            security = replace(security, round_trip=self._probe.round_trip)
        meeting = peer.path if isinstance(peer, RendezvousPeer) else None
        return link_details(
            options.proto, options.dev_type, options.sizes.tun_mtu, where, security, now, dns,
            self._sessions.handshakes, queued, self._path.known, meeting,
        )  # fmt: skip

    async def measure(self) -> None:
        """Round trip over the link, or where the peer cannot answer of an ICMP echo; and the path's MTU."""
        self._path.look()
        if not self.up:
            return  # Whoever watches it wait need not wait for an answer too.
        session = None if self.peer is None else self.peer.session
        if session is not None and session.answers and await self._probe.ask() is not None:
            return
        address = self._path.address
        if address is not None and sockets.literal_family(address[0]) is not None:
            self._probe.round_trip = await icmp_echo.round_trip(address[0])

    async def largest_packet(self) -> tuple[int, int] | None:
        """Bytes of the largest IP packet that the link takes, and of the largest that arrives over it now.

        None if that is not to be known: the peer does not answer, or the link is over TCP or cuts packets
        into fragments itself.
        """
        if not self._datagrams or self.arguments.sizes.fragment or not self.up:
            return None
        takes, header = wire.inner_mtu(self.arguments), wire.inner_header(self.arguments)
        arrives = await self._probe.longest(takes + header)
        return None if arrives is None else (takes, max(0, arrives - header))

    def _send_probe(self, payloads: Sequence[int]) -> None:
        if self.peer is not None:
            self.peer.probe(payloads)

    def measured(self, answer: Measured) -> None:
        """The peer has answered a question of `_probe`."""
        self._probe.answered(answer)

    def snapshot(self) -> Snapshot:
        """For OpenVPN's monitors."""
        return link_snapshot(self, self.details(), self.sent, self.received)

    def kill(self, client: str) -> int:
        """A link has no clients."""
        return 0

    def signal(self, name: str) -> None:
        """What a monitor asks for: another attempt, or with SIGTERM the end of the link."""
        peer = self.peer
        if peer is not None and not peer.over.done():
            why = f"{name} from the management interface"
            peer.over.set_result(Exit(why) if name == "SIGTERM" else Restart(why))

    def changed(self, up: bool, detail: str = "") -> None:
        """As for every element; also informs monitors that follow it."""
        super().changed(up, detail)
        if self._monitoring is not None:
            self._monitoring.changed()

    async def open(self) -> None:
        """Begin to connect; raises `ElementError` if the local address cannot be bound."""
        self.refuse_undeployed()
        self.log_notes()
        self._warn_if_bare()
        tls = self.arguments.tls
        asked = Answers() if tls is None else await answers(self.name, tls, Files(self.log))
        self._replays = replay_file(self.arguments, self.log)
        if self._replays is not None:
            self._replays.open()
        self._make = session_maker(
            self.arguments, self.log, asked, self._revocations, self._replays, self._has_context
        )
        if self.arguments.shaper:
            overhead = datagram_overhead(self.arguments.proto)
            self._shaper = FrameShaper(
                self.arguments.shaper, overhead, self._send_shaped, self.hold_machine, self.sent
            )
        await self.open_monitoring()
        self._refusals.open()
        self.poll_busily(True)
        if self._unfragmented:
            await self._path.open()
        self._connector = Connector(self, self.arguments)
        await self._connector.open()

    def _has_context(self, context: TlsContext) -> None:
        self._context = context

    def renew(self, arguments: Options) -> None:
        """As of every such element, and with the new key at a rendezvous."""
        super().renew(arguments)
        if self._connector is not None:
            self._connector.renew(arguments)

    async def command(self, words: Sequence[str]) -> str:
        """`renegotiate`: agree on new keys of the session now; the end that called begins that."""
        if list(words) != ["renegotiate"]:
            raise ElementError(f"{self.name} takes one command: renegotiate")
        tls, session = self.arguments.tls, None if self.peer is None else self.peer.session
        if tls is None or tls.role == "server" or not self.up or session is None:
            return ""
        if not await self._sessions.renew(session):
            raise ElementError(f"{self.name}: its peer does not agree on new keys")
        return ""

    async def close(self) -> None:
        """End the attempts and with them the peer."""
        self._path.close()
        await self._login.close()
        self.poll_busily(False)
        self._waiting.close()
        self._refusals.close()
        await self._revocations.close()
        if self._replays is not None:
            await self._replays.close()
            self._replays = None
        if self._connector is not None:
            await self._connector.close()
            self._connector = None
        if self._shaper is not None:
            self._shaper.close()
            self._shaper = None
        await self._tunnel_network.close()
        await self.close_monitoring()

    # Frames

    def receive(self, port: Port, burst: Burst) -> None:
        """Frames from the machine; super-frames are cut into runs of datagrams, or stay whole."""
        peer = self.peer
        if peer is None:
            port.drop("link down", len(burst.frames))
            return
        if self.arguments.sizes.super_frames:
            peer.send(completed(burst, port.sent))
            return
        items = cut(burst, port.sent, ip=self._ip)
        if self._shaper is None:
            peer.send(items)
        else:
            self._shaper.enqueue(items)

    def receive_one(self, port: Port, frame: Frame) -> None:
        """A frame from the machine that comes alone."""
        if self.peer is None or self._shaper is not None:
            self.receive(port, Burst([frame]))
        else:
            self.peer.send_one(frame)

    def _send_shaped(self, frames: Sequence[Item]) -> None:
        if self.peer is None:
            self.sent.drops["link down"] += frame.count(frames)
        else:
            self.peer.send(frames)

    def deliver(self, items: Sequence[Carried]) -> None:
        """Frames from the peer, for the machine; runs are joined where the machine takes super-frames."""
        if not self.ports:
            self.received.drops["not connected"] += frame.count(items)
            return
        port = self.ports[0]
        whole = port.peer is not None and port.peer.offload
        if self.arguments.sizes.super_frames:
            port.send(coalesce_between(items, ip=self._ip) if whole else one_by_one(items))
        else:
            plain = cast("Sequence[Item]", items)
            port.send(coalesce(plain, ip=self._ip) if whole else Burst(pieces(plain)))

    def deliver_one(self, frame: Frame) -> None:
        """A frame from the peer, for the machine, that comes alone."""
        if self.ports:
            self.ports[0].send_one(frame)
        else:
            self.received.drops["not connected"] += 1

    # Reports from the connector and from peers

    def new_session(self, options: Options) -> Session:
        """A new session with the options for a peer."""
        assert self._make is not None, "peers come after open"
        if self._datagrams:
            options = self._path.narrowed(options)
        session = self._make(options, credentials=self._login.token)
        if isinstance(session, TlsSession):
            session.trace = functools.partial(self.log.debug, "%s")
        self._sessions.add(session)
        return session

    def knows(self, options: Options, datagram: Frame) -> bool:
        """Whether a datagram, the first of a session, is authentic under the link's key."""
        assert self._make is not None, "peers come after open"
        return self._make(options, mute=True).knows(datagram, time.monotonic())

    def log_keys(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Tell `listener` TLS secrets of handshakes from now on, until what is returned is called.

        A client begins a new session for that, since a renewal may be hidden a second time (dynamic
        tls-crypt). A server waits for its peer to do so. Raises `ElementError` if there is no TLS session.
        """
        session = self._sessions.of_tls()
        if session is None:
            raise ElementError(f"{self.name} has no TLS session whose keys could be logged")
        stop = session.log_keys(listener)
        if not session.settings.server:
            self.signal("SIGUSR1")
        return stop

    def _path_changed(self) -> None:
        if self._unfragmented:
            self.tell_mtu(*self.ports)

    def notice(self, notice: Notice) -> None:
        """Log a line of the session; an error that every attempt meets is logged once."""
        if notice.once:
            if notice.text in self._told:
                return
            self._told.add(notice.text)
        if notice.level != "info" and not self.up:
            self.failure = notice.text
        if notice.level == "error":
            if notice.text == self._complaint:
                return
            self._complaint = notice.text
        write = {"info": self.log.info, "warning": self.log.warning, "error": self.log.error}[notice.level]
        write("%s", notice.text)

    def waits_for(self, place: str) -> None:
        """An attempt begins, which is over once the peer at `place` has been heard."""
        self._place = place
        if not self.up:
            self._waiting.begin(place)

    def heard_stranger(self, address: Address) -> None:
        """A datagram came from an address that is not the peer's."""
        self._waiting.stranger = sockets.show(address)

    @property
    def stranger(self) -> str | None:
        """Where datagrams come from that are not the peer's."""
        return self._waiting.stranger

    @property
    def waits_because(self) -> str:
        """Why the peer is not heard, in words; empty while it is."""
        return self._waiting.reason() if self._waiting.where else ""

    async def reaching(
        self, address: Address | None, *relays: Address, beside: Sequence[Address] = ()
    ) -> None:
        """An attempt begins, to these underlay addresses; None if this end waits for its peer."""
        self._probe.forget()
        self._path.address = (relays[0] if relays else address) if self._datagrams else None
        self._path.look()
        await self._tunnel_network.reaching(address, *relays, *beside)

    def may_enter_link(self, address: Address) -> bool:
        """Whether packets to this address might enter the link, until `reaching` has returned."""
        return self._tunnel_network.may_enter_link(address)

    def pushed(self, pushed: Pushed) -> None:
        """The server's options, as lines of a configuration."""
        self.log.debug("the server pushes: %s", printable(", ".join(pushed.options), MAX_LOGGED))
        unused = [option for option in pushed.options if not _is_used(option)]
        for options, why in (
            (pushed.dropped, "left out by --pull-filter"),
            (unused, "which have no effect here"),
        ):
            if options:
                self.log.info(
                    "the server pushes options %s: %s", why, printable(", ".join(options), MAX_LOGGED)
                )
        self._tunnel_network.pushed(pushed.options)

    @property
    def backoff(self) -> float:
        """Seconds until the next attempt, as the server asks."""
        return self._login.backoff

    def came_up(self, detail: str) -> None:
        """The peer has been heard."""
        self._login.succeeded()
        self._complaint = ""
        if self._path.address is None and isinstance(self.peer, UdpPeer):
            self._path.address = self.peer.remote
        self._waiting.over()
        self.changed(True, detail)

    def went_down(self, reason: str) -> None:
        """The peer is gone, and another attempt follows; only a peer that was heard has been up."""
        self.failure = reason
        if self.up:
            self.changed(False, reason)
            self._waiting.begin(self._place)
        else:
            self.log.info("%s", reason)

    def ended(self, reason: str) -> None:
        """The link has ended permanently: as its options ask, or because the server refuses it."""
        self._waiting.close()
        refusal = self._login.refusal
        if refusal is None:
            self.changed(False, reason)
        else:
            hint = "; check user and password (--auth-user-pass), and the server's log"
            self.failed(ElementError(reason if refusal.reason else reason + hint))

    def _warn_if_bare(self) -> None:
        if self.arguments.secure:
            return
        ends = [self.arguments.local, *(remote.host for remote in self.arguments.remotes)]
        if any(end is not None and sockets.stays_here(end) for end in ends):
            return
        self.log.warning(
            "frames leave this computer unencrypted: anybody on the path can read and forge them"
        )


def _is_used(option: str) -> bool:
    name, _, words = option.partition(" ")
    return name in USED or (name == "dhcp-option" and words.partition(" ")[0] in DHCP)

"""What a link and a server have in common: OpenVPN's options as arguments, sizes, counters and monitors."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tmelink import reasons
from tmelink.element import Element, OuterMtu, Port
from tmelink.elements.openvpn import wire
from tmelink.elements.openvpn.monitoring import Monitoring
from tmelink.elements.openvpn.revocations import RevocationWatch
from tmelink.elements.openvpn.sessions import Files, problems, renew_tls, without_keys
from tmelink.elements.openvpn.tunnel_network import TunnelNetwork
from tmelink.elements.openvpn.waiting import RefusalLog
from tmelink.errors import ElementError
from tmelink.frame import Counters
from tmelink.logs import TRACE
from tmelink.openvpn.data import replay
from tmelink.openvpn.monitoring.status import Snapshot
from tmelink.openvpn.options import parse as openvpn
from tmelink.openvpn.options.parse import Options
from tmelink.openvpn.options.values import MonitoringOptions
from tmelink.openvpn.tls.engine import TlsContext
from tmelink.source import Mistake, Place, Report, Word
from tmelink.system.event_loop import DirectLoop
from tmelink.transport.streams import MAX_DATAGRAM

STREAM_ROOM = 128
"""Bytes of a datagram on a stream beside the MTU and an Ethernet header: tags, keys, compression."""

DEBUG_VERB, TRACE_VERB = 4, 5
"""The levels from which OpenVPN's --verb logs options, and single packets."""


class OpenvpnElement(Element, ABC):
    """An element that carries frames or packets by OpenVPN's protocol, as OpenVPN's options say."""

    Arguments = Options
    arguments: Options
    up = False

    def __init__(self, name: str, arguments: Options) -> None:
        super().__init__(name, arguments)
        self.log_level = log_level(arguments.verb)
        self.sent = Counters()
        self.received = Counters()
        self.segment = arguments.udp_offload in ("send", "both")
        self.gro = arguments.udp_offload in ("receive", "both")
        self.stream_limit = max(arguments.sizes.tun_mtu, 1500) + 14 + STREAM_ROOM
        if arguments.sizes.super_frames:
            self.stream_limit = MAX_DATAGRAM
        self._ip = arguments.dev_type == "tun"
        self._tunnel_network = TunnelNetwork(self, arguments)
        self._revocations = RevocationWatch(self.log)
        replays = {replay.REPLAYED, replay.TOO_LATE} if arguments.replay.mute_warnings else set()
        self._refusals = RefusalLog(self, frozenset(replays))
        self._monitoring: Monitoring | None = None
        self._context: TlsContext | None = None
        """Of all sessions, while it is open and has TLS."""

    # Arguments in a machine file

    @classmethod
    def parse(cls, words: Sequence[Word], place: Place, report: Report) -> Options | None:
        """OpenVPN's options, as its command line takes them."""
        options = openvpn.parse(words, place, report, read_file=lambda path: Path(path).read_bytes())
        if options is None:
            return None
        mistakes = [Mistake(place, problem) for problem in problems(options)]
        mistakes += [Mistake(place, text, hint) for text, hint in cls.misfits(options)]
        for mistake in mistakes:
            report(mistake)
        return None if mistakes else options

    @classmethod
    @abstractmethod
    def misfits(cls, options: Options) -> Iterator[tuple[str, str]]:
        """What in the options does not fit this kind of element, each with its remedy."""

    @classmethod
    def usage(cls, module: str) -> str:
        """The options that work, by group."""
        return f"{module} {openvpn.usage()}"

    @classmethod
    def reference(cls) -> list[tuple[str, str]]:
        """A row for each option that works."""
        return openvpn.reference()

    # Its ports

    def make_port(self) -> Port:
        """A port that takes super-frames: they are cut directly into datagrams."""
        return Port(self, kind="ip" if self._ip else "ethernet", offload=True)

    def mtu(self, port: Port, outer: OuterMtu | None = None) -> int:
        """--tun-mtu: the largest packet that both ends expect."""
        return wire.inner_mtu(self.arguments)

    def poll_busily(self, polls: bool) -> None:
        """Have the event loop poll after traffic as --busy-poll says, or no more."""
        wanted, loop = self.arguments.busy_poll, asyncio.get_running_loop()
        if wanted != 0 and isinstance(loop, DirectLoop):
            loop.poll_busily(self, 0.0 if not polls else None if wanted is None else wanted / 1e6)

    def hold_machine(self, held: bool) -> None:
        """The socket is full, or has room again: the machine's sides stop reading, or continue."""
        for port in self.ports:
            port.hold(held)

    # Other keys while it is open

    def renewable(self, arguments: Options) -> bool:
        """Own key and certificate, and peers' fingerprints, where those are how peers are known."""
        tls = arguments.tls
        return (
            self._context is not None
            and tls is not None
            and tls.askpass is None
            and not tls.asks_passphrase
            and without_keys(arguments) == without_keys(self.arguments)
        )

    def renew(self, arguments: Options) -> None:
        """Use the new keys in every handshake from now on; sessions go on. Raises `ElementError`."""
        assert self._context is not None, "it is renewable"
        renew_tls(self._context, arguments, Files(self.log))
        self.arguments = arguments

    # For those who look

    def counters(self) -> dict[str, Counters]:
        """Frames that crossed the wire, and those dropped there."""
        sent = Counters(self.sent.frames, self.sent.bytes, Counter(self.sent.drops))
        received = Counters(self.received.frames, self.received.bytes, Counter(self.received.drops))
        for drops in filter(None, self.session_drops()):
            sent.drops.update(reasons.outgoing(drops))
            received.drops.update(reasons.incoming(drops))
        return {"wire sent": sent, "wire received": received}

    @abstractmethod
    def session_drops(self) -> Iterable[Counter[str]]:
        """The drops of each session that lives."""

    @abstractmethod
    def snapshot(self) -> Snapshot:
        """For OpenVPN's monitors."""

    @abstractmethod
    def kill(self, client: str) -> int:
        """End the sessions of a name, or of an underlay address with its port, as monitors ask; how many."""

    @abstractmethod
    def signal(self, name: str) -> None:
        """What a monitor asks for by the name of a signal."""

    async def open_monitoring(self) -> None:
        """Write --status and listen for --management, where the options name them."""
        if self.arguments.monitoring != MonitoringOptions():
            self._monitoring = Monitoring(self.arguments.monitoring, self, self.log)
            await self._monitoring.open()

    async def close_monitoring(self) -> None:
        """End what `open_monitoring` has begun."""
        if self._monitoring is not None:
            await self._monitoring.close()
            self._monitoring = None

    def refuse_undeployed(self) -> None:
        """`ElementError` for an element with `--secure`, which has no keys before its file is deployed."""
        if self.arguments.awaits_keys:
            raise ElementError(f"{self.name}: --secure has no keys yet; 'tmelink deploy FILE' makes them")

    def log_notes(self) -> None:
        """Log what the options' reading has left to say."""
        for note in self.arguments.notes:
            self.log.info("%s", note)


def log_level(verb: int) -> int:
    """The lowest level that --verb lets through; NOTSET leaves it to the whole program."""
    if verb == 0:
        return logging.ERROR
    if verb >= TRACE_VERB:
        return TRACE
    return logging.DEBUG if verb >= DEBUG_VERB else logging.NOTSET

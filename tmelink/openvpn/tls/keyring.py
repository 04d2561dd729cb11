"""Which keys seal and which open: the data channel of one session through its renegotiations.

New keys open from the moment they exist; they seal once the peer must have them, and until then the old ones
do, so that no frame is lost between keys. Counts what keys have carried. Knows no control channel.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import cast

from tmelink import frame
from tmelink.frame import Frame, Run
from tmelink.openvpn.data import direction, records
from tmelink.openvpn.data import keys as data_keys
from tmelink.openvpn.data.aead import AeadKeys
from tmelink.openvpn.data.keys import DataKeys
from tmelink.openvpn.data.packet import DATA_V1, DATA_V2, RECORD
from tmelink.openvpn.data.records import Record
from tmelink.openvpn.data.replay import Lateness
from tmelink.openvpn.data.slices import Slices
from tmelink.openvpn.data.window import Arrivals
from tmelink.openvpn.session import Item
from tmelink.openvpn.tls import key_method
from tmelink.openvpn.tls.control_session import ControlSession
from tmelink.openvpn.tls.key_method import EXPORTER_DATA_KEYS, KEY2
from tmelink.openvpn.tls.negotiated import NegotiatedOptions
from tmelink.openvpn.tls.negotiation import Negotiation
from tmelink.openvpn.tls.settings import TlsSettings


class Keyring:
    """The keys of one control session.

    `switch_at` is when new keys seal even if the peer has not used them. `arrivals` counts what comes where
    records go over UDP.
    """

    def __init__(self, settings: TlsSettings, drops: Counter[str], arrivals: Arrivals | None = None) -> None:
        self._settings = settings
        self._drops = drops
        self._arrivals = arrivals
        self._slices = None if arrivals is None else Slices(drops)
        self._control_session: ControlSession | None = None
        self._sealing: Negotiation | None = None
        self._opening: dict[int, Negotiation] = {}
        self._head = b""
        self._skip = 0
        limits = settings.control
        self._counts = limits.reneg_bytes > 0 or limits.reneg_pkts > 0
        """Whether each packet may be the one at which new keys are due."""
        self._seal_one: Callable[[bytes, int, Frame], bytes | None] | None = None
        self._openers: dict[int, tuple[Negotiation, AeadKeys, int, int]] = {}
        """How a data packet that comes alone is opened, by its first byte."""
        self.switch_at: float | None = None

    def follow(self, control_session: ControlSession | None, now: float) -> None:
        """Use the keys that a control session has now, and no others."""
        self._control_session = control_session
        negotiations = [] if control_session is None else control_session.negotiations()
        self._opening = {n.key_id: n for n in negotiations if n.keys is not None}
        self._openers = {}
        for key_id, negotiation in self._opening.items():
            if isinstance(negotiation.keys, AeadKeys) and not self._counts:
                self._openers[DATA_V1 << 3 | key_id] = negotiation, negotiation.keys, 1, 1
                self._openers[DATA_V2 << 3 | key_id] = negotiation, negotiation.keys, 4, 0
        self.choose(now)

    def choose(self, now: float) -> None:
        """Choose what seals."""
        control_session = self._control_session
        self.switch_at = self._sealing = self._seal_one = None
        if control_session is None or control_session.negotiated is None:
            return
        new, old = control_session.current, control_session.previous
        if old is not None and old.keys is None:
            old = None
        if new is not None and (new.keys is None or not new.ready):
            new = None
        chosen = new or old
        if new is not None and old is not None and not new.used_by_peer:
            switch_at = new.started + self._patience()
            if now < switch_at:
                chosen, self.switch_at = old, switch_at
        self._sealing = chosen
        if chosen is not None:
            self._head, self._skip = _head(control_session.negotiated, chosen.key_id)
            lasts = self.switch_at is None and not self._counts
            self._seal_one = chosen.keys.seal_one if lasts and isinstance(chosen.keys, AeadKeys) else None

    def _patience(self) -> float:
        """How long after a negotiation began the peer surely has its keys (as OpenVPN reckons)."""
        hand_window, reneg_sec = self._settings.control.hand_window, self._settings.control.reneg_sec
        return min(hand_window, reneg_sec / 2) if reneg_sec else hand_window

    @property
    def in_use(self) -> tuple[Negotiation | None, NegotiatedOptions | None]:
        """What seals now, and what was agreed on."""
        control_session = self._control_session
        return self._sealing, None if control_session is None else control_session.negotiated

    def ready(self, now: float) -> bool:
        """Whether there is a key to seal with."""
        if self.switch_at is not None and now >= self.switch_at:
            self.choose(now)
        return self._sealing is not None

    def seal(self, payloads: Sequence[Item | Record]) -> list[Item]:
        """Data packets out of payloads, slices out of records; to be called when `ready`."""
        sealing = self._sealing
        assert sealing is not None
        assert sealing.keys is not None
        if self._slices is not None and Record in set(map(type, payloads)):
            wire = self._seal_records(sealing.keys, payloads)
        else:
            wire = sealing.keys.seal(self._head, self._skip, cast("Sequence[Item]", payloads))
        sealing.bytes += frame.size(wire)
        sealing.packets += frame.count(wire)
        return wire

    def _seal_records(self, keys: DataKeys, payloads: Sequence[Item | Record]) -> list[Item]:
        """Payloads of which some are records, in order."""
        assert isinstance(keys, AeadKeys), "records are agreed on with an AEAD cipher"
        wire: list[Item] = []
        head = bytes((RECORD << 3 | self._head[0] & 7,)) + self._head[1:]
        between: list[Item] = []
        for payload in payloads:
            if not isinstance(payload, Record):
                between.append(payload)
                continue
            if between:
                wire += keys.seal(self._head, self._skip, between)
                between = []
            run = records.seal(keys, head, payload)
            if run is not None:
                wire.append(run)
        return wire + keys.seal(self._head, self._skip, between) if between else wire

    def seal_one(self, payload: Frame) -> bytes | None:
        """The data packet of a payload that goes alone, under keys that last; None leaves it to `seal`."""
        sealing, seal = self._sealing, self._seal_one
        if seal is None or sealing is None:
            return None
        packet = seal(self._head, self._skip, payload)
        if packet is not None:
            sealing.bytes += len(packet)
            sealing.packets += 1
        return packet

    def open_one(self, packet: Frame, now: float) -> bytes | None:
        """The payload of a data packet that came alone; None leaves it to `open`.

        Empty for one that is counted and dropped.
        """
        opener = self._openers.get(packet[0])
        if opener is None or not opener[0].used_by_peer:
            return None
        negotiation, keys, at, skip = opener
        payload = keys.open_one(at, skip, packet, now)
        if payload:
            negotiation.bytes += len(payload)
            negotiation.packets += 1
        return payload

    def open(self, first: int, packets: Run | Sequence[Frame], now: float) -> Sequence[Item]:
        """The payloads of data packets that all begin with the byte `first`."""
        negotiation = self._opening.get(first & 7)
        count = frame.count((packets,)) if isinstance(packets, Run) else len(packets)
        if negotiation is None or negotiation.keys is None:
            self._drops["no keys for a data packet"] += count
            return ()
        at, skip = (1, 1) if first >> 3 == DATA_V1 else (4, 0)
        keys = negotiation.keys
        keys.age(now)
        opened: Sequence[Item]
        if first >> 3 == RECORD:
            opened = self._open_records(keys, at, packets, now)
        elif isinstance(packets, Run):
            opened = keys.open_run(at, skip, packets)
        else:
            opened = keys.open_each(at, skip, packets)
        if opened:
            negotiation.bytes += frame.size(opened)
            negotiation.packets += count
            if not negotiation.used_by_peer:
                negotiation.used_by_peer = True
                self.choose(now)
        return opened

    def _open_records(
        self, keys: DataKeys, at: int, packets: Run | Sequence[Frame], now: float
    ) -> list[Item]:
        """The payloads of records that slices complete."""
        arrivals, slices = self._arrivals, self._slices
        if arrivals is None or slices is None or not isinstance(keys, AeadKeys):
            self._drops["unknown opcode"] += (
                frame.count((packets,)) if isinstance(packets, Run) else len(packets)
            )
            return []
        opened: list[Item] = []
        for joined in slices.join(packets, at + keys.id_bytes, now):
            payload = records.open(keys, at, joined)
            if payload is not None:
                arrivals.datagrams += joined.slices - 1
                opened.append(payload)
        return opened

    def needs_rekey(self) -> bool:
        """Whether the current keys have carried so much that new ones are due."""
        current = None if self._control_session is None else self._control_session.current
        if current is None or current.keys is None or not current.ready:
            return False
        settings = self._settings
        return (
            0 < settings.control.reneg_bytes <= current.bytes
            or 0 < settings.control.reneg_pkts <= current.packets
            or current.keys.needs_rekey()
        )

    def make(
        self,
        control_session: ControlSession,
        negotiation: Negotiation,
        negotiated: NegotiatedOptions,
        now: float,
    ) -> None:
        """Make a negotiation's keys of what both ends have said, and forget what they were made of."""
        settings, remote = self._settings, negotiation.remote
        if negotiated.exporter:
            material = negotiation.engine.export(EXPORTER_DATA_KEYS, KEY2)
        else:
            assert remote is not None
            assert control_session.remote is not None
            ends = [
                (negotiation.local.source, control_session.local),
                (remote.source, control_session.remote),
            ]
            (client, client_id), (server, server_id) = reversed(ends) if settings.server else ends
            material = key_method.expand(client, server, client_id, server_id)
        send, receive = direction.split(material, server=settings.server)
        window = Lateness(settings.replay.window, settings.replay.seconds, self._arrivals)
        negotiation.keys = data_keys.make(
            negotiated.cipher,
            settings.encryption.auth,
            send,
            receive,
            self._drops,
            epoch=negotiated.epoch,
            window=window,
        )
        negotiation.local = negotiation.local.without_secrets()
        negotiation.remote = None if remote is None else remote.without_secrets()
        self.follow(control_session, now)


def fragment_room(keys: DataKeys, negotiated: NegotiatedOptions, datagram: int) -> int:
    """The longest payload whose packet is no longer than `datagram` bytes."""
    return keys.max_payload(datagram - len(_head(negotiated, 0)[0]))


def _head(negotiated: NegotiatedOptions, key_id: int) -> tuple[bytes, int]:
    """What goes before a packet id, and how much of it is not authenticated."""
    if negotiated.peer_id is None:
        return bytes((DATA_V1 << 3 | key_id,)), 1
    return bytes((DATA_V2 << 3 | key_id,)) + negotiated.peer_id.to_bytes(3, "big"), 0

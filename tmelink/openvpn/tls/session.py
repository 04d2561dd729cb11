"""A link with TLS as a value: one pair of ends, from the first reset to frames under changing keys.

Stands on `Association` for the control channel, on `Keyring` for the data channel, on `Payloads` for what is
in it, and decides between them: which association counts, what follows from what the peer says, when keys
are renewed, when a peer is gone. The same session serves two equal ends, a client that pulls its options, and
a server's side of one client (`mode` of `TlsSettings`). Opens no socket, reads no clock, writes no log.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Sequence

from tmelink.errors import ProtocolError
from tmelink.frame import Frame, Run
from tmelink.openvpn.data import keys as data_keys
from tmelink.openvpn.data import packet, static, super_frames
from tmelink.openvpn.data.arrivals import grouped, is_data
from tmelink.openvpn.data.packet import Opcode
from tmelink.openvpn.liveness import PING, Liveness
from tmelink.openvpn.occ import EXIT as OCC_EXIT
from tmelink.openvpn.occ import differences
from tmelink.openvpn.occ import message as occ_message
from tmelink.openvpn.session import (
    NOTHING,
    Carried,
    Event,
    Exit,
    Item,
    Joining,
    Notice,
    Pushed,
    Restart,
    Step,
    Up,
)
from tmelink.openvpn.tls import negotiated, peer_info, push_messages
from tmelink.openvpn.tls.control_session import Association, may_begin
from tmelink.openvpn.tls.engine import TlsContext
from tmelink.openvpn.tls.handshake_factory import Beginning
from tmelink.openvpn.tls.key_method import Message
from tmelink.openvpn.tls.keyring import Keyring, count_of, fragment_room, size_of
from tmelink.openvpn.tls.negotiation import Negotiation
from tmelink.openvpn.tls.payload import Payloads
from tmelink.openvpn.tls.pull_client import Pulling, follow_timers
from tmelink.openvpn.tls.push_server import NO_CIPHER, Pushing
from tmelink.openvpn.tls.settings import TlsSettings
from tmelink.openvpn.tls.wrap import Wrapping


def check(settings: TlsSettings) -> None:
    """Raise `ValueError` for a cipher, a digest or a compression that there is not."""
    static.digest_name(settings.auth)
    for cipher in (*settings.data_ciphers, settings.data_ciphers_fallback):
        if cipher is not None and not data_keys.known(cipher):
            raise ValueError(f"there is no data cipher '{cipher}' here")
    Payloads(settings, Counter(), 0)


class TlsSession:
    """The `Session` of a link with TLS.

    `wall` gives the seconds since 1970 for a `now`. `local`, `remote`, `wrapping` and `material` are given by
    a server that has already exchanged resets with its client, without state.

    A peer that begins anew while its old session stands is answered where that one was: a step's `authentic`
    follows nobody who has not shown a key.
    """

    def __init__(
        self,
        settings: TlsSettings,
        context: TlsContext,
        wall: Callable[[float], float],
        *,
        local: bytes | None = None,
        remote: bytes | None = None,
        wrapping: Wrapping | None = None,
        material: bytes = b"",
    ) -> None:
        """Raises `ValueError` for a cipher, a digest or a compression that there is not."""
        check(settings)
        self.settings = settings
        self.drops: Counter[str] = Counter()
        self._beginning = Beginning(settings, context, wall, self.drops)
        self._payloads = Payloads(settings, self.drops, secrets.randbelow(256))
        self._keyring = Keyring(settings, self.drops)
        self._pulling = Pulling(settings)
        self._pushing = Pushing(settings)
        self._active: Association | None = None
        self._incoming: Association | None = None
        self._ended = False
        self._up = False
        self._wire: list[Item] = []
        self._events: list[Event] = []
        self._liveness = Liveness(
            ping_restart=settings.ping_restart,
            ping_exit=settings.ping_exit,
            waits_for_peer=settings.server and (settings.ping_timer_rem or not settings.remote),
            inactive=settings.inactive,
            inactive_bytes=settings.inactive_bytes,
            session_timeout=settings.session_timeout,
        )
        if wrapping is not None:
            self._active = self._beginning.associate(wrapping, material, local, remote, first=1)

    # What the shell calls.

    def connected(self, now: float) -> Step:
        """A client begins; a server waits."""
        self._liveness.start(now)
        if self._active is not None:
            self._active.start(self._introduction(), now, None)
        elif not self.settings.server:
            self._active = self._beginning.ask(self._pulling.credentials, now)
        return self._finish(now)

    def receive(self, datagrams: Sequence[Item], now: float) -> Step:
        """Frames out of data packets; control packets taken and answered."""
        frames: list[Carried] = []
        heard = authentic = control = False
        for first, packets in grouped(datagrams):
            if self._ended:
                break
            if is_data(first):
                opened = self._keyring.open(first, packets, now)
                if opened:
                    heard = authentic = True
                    self._take(opened, frames, now)
                continue
            control = True
            for datagram in packets.pieces() if isinstance(packets, Run) else packets:
                association = self._control(bytes(datagram), now)
                if association is not None:
                    heard = True
                    authentic |= self._may_follow(association)
        if heard:
            self._liveness.last_received = now
            self._liveness.unheard = False
        if control or self._events or self._keyring.worn():
            return self._finish(now, frames, authentic)
        return Step((), frames, (), authentic) if frames or authentic else NOTHING

    def send(self, frames: Sequence[Carried], now: float) -> Step:
        """Data packets out of frames, runs of them where frames are of one size."""
        if self._ended or not self._keyring.ready(now):
            self.drops["no keys yet"] += sum(map(count_of, frames))
            return NOTHING
        wire = self._keyring.seal(self._payloads.outgoing(frames))
        liveness = self._liveness
        liveness.last_sent = now
        if liveness.quiet_seconds:
            liveness.active(size_of(wire), now)
        if self._keyring.worn():
            step = self._finish(now)
            return Step([*wire, *step.wire], (), step.events)
        return Step(wire)

    def seal_one(self, frame: Frame, now: float) -> Sequence[Item] | None:
        """The data packet of an ordinary frame, under keys that last."""
        keyring, liveness = self._keyring, self._liveness
        if (
            self._ended
            or liveness.quiet_seconds
            or not self._payloads.passes(frame)
            or not keyring.ready(now)
            or keyring.worn()
        ):
            return None
        liveness.last_sent = now
        return keyring.seal([frame])

    def open_one(self, datagram: Frame, now: float) -> Frame | None:
        """None: what a packet holds, and what follows from it, is known only once it is open."""
        return None

    def tick(self, now: float) -> Step:
        """What time asks for: repetitions, new keys, pings, the end of what took too long."""
        if self._ended:
            return NOTHING
        for association in self._associations():
            self._mind(association, now)
        if self._pulling.request_due(now):
            self._tell(push_messages.PUSH_REQUEST, now)
        ended = self._pushing.forgotten(now) or self._liveness.ended(now)
        if self._pulling.answer_by is not None and now >= self._pulling.answer_by:
            ended = Restart("the server does not answer the request for options (PUSH_REQUEST)")
        if ended is not None:
            self._finish_with(ended, now)
        elif self._up and self._liveness.ping_due(now):
            self._say(PING, now)
        return self._finish(now)

    def deadline(self) -> float | None:
        """When `tick` has something to do."""
        if self._ended:
            return None
        times = [
            self._keyring.switch_at,
            self._pulling.request_at,
            self._pulling.answer_by,
            self._pushing.forget_at,
            self._liveness.deadline(),
        ]
        for association in self._associations():
            times.append(association.deadline())
            times += [self._give_up_at(association), self._renew_at(association)]
            if association.previous is not None:
                times.append(association.previous.expires)
        return min((time for time in times if time is not None), default=None)

    def close(self, now: float) -> Step:
        """The session ends from this side; under --explicit-exit-notify the peer is told."""
        if self._ended:
            return NOTHING
        active, notices = self._active, self.settings.explicit_exit_notify
        if self._up and notices and active is not None and active.agreed is not None:
            if active.agreed.exit_message:
                self._tell(push_messages.EXIT, now)
                self._wire += active.transmit(now)
            elif not self.settings.stream:
                for _ in range(notices):
                    self._say(occ_message(OCC_EXIT), now)
        wire, self._wire = self._wire, []
        self._end(now)
        return Step(wire)

    def dismiss(self, now: float) -> Step:
        """A server sends its client away, which is told to begin anew; nothing follows."""
        if self._up and self._active is not None:
            self._tell(push_messages.RESTART, now)
            self._wire += self._active.transmit(now)
        wire, self._wire = self._wire, []
        self._end(now)
        return Step(wire)

    def renew(self, now: float) -> Step:
        """Negotiate new keys now, unless that is under way."""
        self._renegotiate(now)
        return self._finish(now)

    def admit(self, options: Sequence[str], now: float) -> Step:
        """A server takes the client that is `Joining`, and pushes it these options (mode "push").

        One that renews its keys has its options, and is pushed these besides.

        Raises `ValueError` for an option that cannot be pushed.
        """
        push_messages.build_replies(options)
        joining = self._joining()
        if joining is None:
            return NOTHING
        association, negotiation, remote = joining
        negotiation.allowed = True
        if self.settings.mode == "push" and self._pushing.admitted:
            self._pushing.update(options)
        elif self.settings.mode == "push":
            association.agreed = self._pushing.admit(options, remote)
            if association.agreed is None:
                negotiation.allowed = False
                return self.refuse(NO_CIPHER, now)
        if association is self._active:
            self._serve(association, negotiation, now)
        return self._finish(now)

    def refuse(self, reason: str, now: float) -> Step:
        """A server refuses the client that is `Joining`; the session lives on a moment to say so."""
        joining = self._joining()
        if joining is None:
            return NOTHING
        association, negotiation, _ = joining
        negotiation.send(self._pushing.refuse(reason, now))
        self._go_on(association, negotiation, now)
        return self._finish(now)

    def _joining(self) -> tuple[Association, Negotiation, Message] | None:
        """The negotiation that waits to be admitted."""
        for association in self._associations():
            current = association.current
            if current is not None and current.remote is not None and not current.allowed:
                return association, current, current.remote
        return None

    # The control channel.

    def _introduction(self) -> Message:
        return self._beginning.introduction(self._pulling.credentials)

    def _associations(self) -> list[Association]:
        return [a for a in (self._active, self._incoming) if a is not None]

    def _control(self, datagram: bytes, now: float) -> Association | None:
        """Take one control packet; the association that it belongs to, or None after counting why not."""
        try:
            opcode, key_id, session_id = packet.parse_header(datagram)
            association = next((a for a in self._associations() if a.remote == session_id), None)
            if association is None:
                association, body = self._newcomer(datagram, opcode, key_id, session_id, now)
                negotiation = association.current
            else:
                body = association.open(datagram, opcode, key_id)
                negotiation = association.find(key_id)
            if negotiation is None:
                negotiation = self._renewed(association, opcode, key_id, now)
        except ProtocolError as error:
            self.drops[str(error)] += 1
            return None
        association.take(negotiation, opcode, body)
        self._go_on(association, negotiation, now)
        return association

    def _may_follow(self, association: Association) -> bool:
        """Whether the link may follow the address that a control packet came from.

        While a peer is up, only a packet of its own session does that, sealed in a key: any other can be made
        or repeated by anybody.
        """
        return not self._up or (association is self._active and association.wrapped)

    def _newcomer(
        self, datagram: bytes, opcode: Opcode, key_id: int, session_id: bytes, now: float
    ) -> tuple[Association, packet.Body]:
        """A reset of a session not known yet: the answer to this client's, or a peer that begins anew."""
        settings = self.settings
        if not may_begin(opcode, key_id, server=settings.server):
            raise ProtocolError("control packet of no session")
        active, incoming = self._active, self._incoming
        if active is not None and active.remote is None:
            association = active
        elif active is not None and (settings.mode != "equal" or settings.single_session):
            raise ProtocolError("control packet of no session")
        elif incoming is not None and incoming.current is not None and incoming.current.reliable.idle():
            raise ProtocolError("another session is beginning")
        elif settings.server:
            association = self._beginning.answer(datagram, opcode, now)
        else:
            association = self._beginning.ask(self._pulling.credentials, now)
        body = association.open(datagram, opcode, key_id)
        association.remote = session_id
        if association is not active:
            if association.current is None:
                association.start(self._introduction(), now, Opcode.CONTROL_HARD_RESET_SERVER_V2)
            if settings.mode == "push":
                self._active = association
            else:
                self._incoming = association
        return association, body

    def _renewed(self, association: Association, opcode: Opcode, key_id: int, now: float) -> Negotiation:
        """The peer begins to negotiate new keys."""
        current = association.current
        if (
            opcode is not Opcode.CONTROL_SOFT_RESET_V1
            or key_id != association.next_key_id()
            or current is None
            or current.keys is None
            or association is not self._active
        ):
            raise ProtocolError("unknown key id")
        return self._start_renewal(association, now)

    def _start_renewal(self, association: Association, now: float) -> Negotiation:
        negotiation = association.start(self._introduction(), now, Opcode.CONTROL_SOFT_RESET_V1)
        self._keyring.follow(association, now)
        return negotiation

    def _renegotiate(self, now: float) -> None:
        """Begin to negotiate new keys, unless that is under way."""
        active = self._active
        if active is not None and active.current is not None and active.current.ready and active.current.keys:
            self._start_renewal(active, now)

    def _go_on(self, association: Association, negotiation: Negotiation, now: float) -> None:
        """Let a negotiation take its next steps, and draw the consequences."""
        try:
            association.advance(negotiation, now)
        except ProtocolError as error:
            self._failed(association, str(error), now)
            return
        if negotiation.remote is not None and not negotiation.introduced:
            negotiation.introduced = True
            self._introduced(association, negotiation, negotiation.remote, now)
        if negotiation.ready and association is self._incoming:
            self._active, self._incoming = association, None
            self._keyring.follow(association, now)
            self._up, self._liveness.ping = False, 0  # nothing to seal a ping with until it is up again
        if association is self._active:
            self._serve(association, negotiation, now)
            messages, negotiation.messages = negotiation.messages, []
            for message in messages:
                if not self._ended:
                    self._message(association, negotiation, message, now)

    def _failed(self, association: Association, reason: str, now: float) -> None:
        self._wire += association.transmit(now)
        if association is self._incoming:
            self._incoming = None
            self._events.append(Notice("warning", f"a peer did not become one: {reason}"))
        else:
            self._finish_with(Restart(reason), now)

    def _introduced(
        self, association: Association, negotiation: Negotiation, remote: Message, now: float
    ) -> None:
        """The peer has said who it is: compare, agree, admit or ask."""
        settings = self.settings
        peer = negotiation.engine.peer
        identity = (peer.common_name, peer.fingerprint) if peer else ("", "")
        first = association.identity is None
        if first and settings.super_frames and not super_frames.asked(remote.options):
            self._events.append(Notice("error", super_frames.REFUSAL))
            if self._active is None:
                # The connection is this peer's, and there is no other that it could interrupt.
                self._finish_with(Restart(super_frames.REFUSED), now)
            else:
                self._failed(association, super_frames.REFUSED, now)
            return
        if first and settings.occ and remote.options:
            told = differences(negotiated.options_string(settings, remote=True), remote.options)
            self._events += [Notice("warning", text) for text in told]
        if not first and identity != association.identity:
            self._failed(association, "the peer showed another certificate when keys were renewed", now)
            return
        association.identity = identity
        if settings.mode == "equal" and association.agreed is None:
            association.agreed = negotiated.as_equals(settings, remote, negotiation.engine.export)
            if association.agreed is None:
                self._failed(association, "no cipher in common with the peer: compare --data-ciphers", now)
                return
        if settings.server and (settings.ask_password or (settings.mode == "push" and first)):
            info = peer_info.parse(remote.peer_info)
            self._events.append(Joining(*identity, remote.username, remote.password, info, not first))
        else:
            negotiation.allowed = True

    def _message(self, association: Association, negotiation: Negotiation, message: str, now: float) -> None:
        """A text message of the peer."""
        taken = None
        if self.settings.mode == "pull":
            assert negotiation.remote is not None
            agreed = association.agreed is not None
            taken = self._pulling.message(message, negotiation.remote, agreed=agreed, now=now)
        if taken is not None:
            for event in taken.events:
                if isinstance(event, Restart | Exit):
                    self._finish_with(event, now)
                    return
                if isinstance(event, Pushed):
                    follow_timers(self._liveness, event.options, now)
                self._events.append(event)
            if taken.agreed is not None:
                association.agreed = taken.agreed
                self._serve(association, negotiation, now)
        elif message == push_messages.PUSH_REQUEST and self.settings.mode == "push":
            self._pushing.asked()
            self._push_replies(now)
        elif message == push_messages.EXIT:
            self._finish_with(Restart("the peer says that it exits"), now)
        else:
            self.drops["unknown control message"] += 1

    def _tell(self, message: str, now: float) -> None:
        """Send a text message in the newest negotiation that has come so far."""
        association = self._active
        if association is None or self._ended:
            return
        for negotiation in association.negotiations():
            if negotiation.remote is not None:
                negotiation.send(message)
                self._go_on(association, negotiation, now)
                return

    def _push_replies(self, now: float) -> None:
        for reply in self._pushing.replies():
            self._tell(reply, now)

    # Keys and frames.

    def _serve(self, association: Association, negotiation: Negotiation, now: float) -> None:
        """Put a negotiation's keys to use as far as it has come."""
        settings, agreed = self.settings, association.agreed
        if agreed is None:
            if settings.mode == "pull" and negotiation.ready:
                self._pulling.start(now)
                if self._pulling.request_due(now):
                    self._tell(push_messages.PUSH_REQUEST, now)
            return
        if negotiation.keys is None and negotiation.allowed and negotiation.remote is not None:
            self._keyring.make(association, negotiation, agreed, now)
            assert negotiation.keys is not None
            self._payloads.fit(fragment_room(negotiation.keys, agreed, settings.fragment))
            self._payloads.clamp(fragment_room(negotiation.keys, agreed, settings.mss_datagram))
            if negotiation.key_id == 0 and agreed.dynamic_wrap:
                association.wrap_dynamically(negotiation)
        if negotiation.ready and negotiation.keys is not None:
            previous = association.previous
            if previous is not None and previous.expires is None:
                previous.expires = now + settings.tran_window
            self._keyring.choose(now)
            if settings.mode == "push":
                self._push_replies(now)
            if not self._up:
                self._go_up(negotiation, agreed.cipher, now)

    def _go_up(self, negotiation: Negotiation, cipher: str, now: float) -> None:
        self._up = True
        liveness = self._liveness
        liveness.ping = liveness.ping or self.settings.ping
        liveness.last_sent = now - liveness.ping
        liveness.last_received = now
        peer = negotiation.engine.peer
        parts = [peer.common_name if peer else "", negotiation.engine.describe(), f"data {cipher}"]
        self._events.append(Up(", ".join(part for part in parts if part)))

    def _take(self, opened: Sequence[Item], frames: list[Carried], now: float) -> None:
        """Add the frames among what was opened to `frames`."""
        if self._payloads.incoming(opened, frames, now) == "exit":
            self._finish_with(Restart("the peer says that it exits"), now)
        if self._liveness.quiet_seconds and frames:
            self._liveness.active(size_of(opened), now)

    def _say(self, payload: bytes, now: float) -> None:
        """Seal something that is no frame."""
        if self._keyring.ready(now):
            self._wire += self._keyring.seal(self._payloads.dressed([payload]))
        self._liveness.last_sent = now

    # Time.

    def _mind(self, association: Association, now: float) -> None:
        """What time does to one association."""
        give_up, renew = self._give_up_at(association), self._renew_at(association)
        if give_up is not None and now >= give_up:
            window = self.settings.hand_window
            self._failed(association, f"no keys agreed on within {window:g} s (--hand-window)", now)
            return
        previous = association.previous
        if previous is not None and previous.expires is not None and now >= previous.expires:
            association.previous = None
            self._keyring.follow(association, now)
        elif self._keyring.switch_at is not None and now >= self._keyring.switch_at:
            self._keyring.choose(now)
        if renew is not None and now >= renew:
            self._renegotiate(now)

    def _give_up_at(self, association: Association) -> float | None:
        """When a negotiation under way has taken too long."""
        current = association.current
        if current is None or (current.ready and (current.keys is not None or self.settings.mode == "pull")):
            return None
        return current.started + self.settings.hand_window

    def _renew_at(self, association: Association) -> float | None:
        current = association.current
        if not self.settings.reneg_sec or current is None or current.established is None:
            return None
        if current.keys is None or association is not self._active:
            return None
        return current.established + self.settings.reneg_sec

    # Ends.

    def _finish(self, now: float, frames: Sequence[Carried] = (), authentic: bool = False) -> Step:
        """The step that has gathered, with every control packet that is due."""
        if self._keyring.worn():
            self._renegotiate(now)
        for association in self._associations():
            self._wire += association.transmit(now)
        wire, self._wire = self._wire, []
        events, self._events = self._events, []
        return Step(wire, frames, events, authentic) if wire or frames or events or authentic else NOTHING

    def _finish_with(self, event: Event, now: float) -> None:
        """End with an event, after what is due has gone out once more."""
        if not self._ended:
            for association in self._associations():
                self._wire += association.transmit(now)
            self._events.append(event)
            self._end(now)

    def _end(self, now: float) -> None:
        """Forget all keys."""
        self._ended = True
        self._liveness.stop()
        self._active = self._incoming = None
        self._keyring.follow(None, now)
        self._pulling.credentials = None

"""A link with TLS as a value: one pair of ends, from the first reset to frames under changing keys.

Stands on `ControlSession` for the control channel, on `Keyring` for the data channel, on `Payloads` for what
is in it, and decides between them: which control session counts, what follows from what the peer says, when
keys are renewed, when a peer is gone. The same session serves two equal ends, a client that pulls its
options, and a server's side of one client (`mode` of `TlsSettings`). Opens no socket, reads no clock.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace

from tmelink import frame
from tmelink.errors import ProtocolError
from tmelink.frame import Frame, Run
from tmelink.openvpn.data import keys as data_keys
from tmelink.openvpn.data import packet, static, super_frames
from tmelink.openvpn.data.aead import SUITES
from tmelink.openvpn.data.arrivals import grouped, is_data
from tmelink.openvpn.data.keys import DataKeys
from tmelink.openvpn.data.packet import Opcode
from tmelink.openvpn.data.record_length import KIND as REPORT
from tmelink.openvpn.data.record_length import RecordLength, Reports
from tmelink.openvpn.liveness import PING, LivenessTimers
from tmelink.openvpn.occ import EXIT as OCC_EXIT
from tmelink.openvpn.occ import Occ, differences
from tmelink.openvpn.occ import message as occ_message
from tmelink.openvpn.session import (
    NOTHING,
    Carried,
    Exit,
    Item,
    Joining,
    Notice,
    Pushed,
    Restart,
    Security,
    SessionEvent,
    Step,
    Up,
)
from tmelink.openvpn.tls import negotiated, peer_info, push_messages
from tmelink.openvpn.tls.control_session import ControlSession, may_begin
from tmelink.openvpn.tls.cookie import UnknownSession
from tmelink.openvpn.tls.engine import TlsContext
from tmelink.openvpn.tls.handshake_factory import HandshakeFactory
from tmelink.openvpn.tls.key_method import Message
from tmelink.openvpn.tls.keyring import Keyring, fragment_room
from tmelink.openvpn.tls.negotiated import NegotiatedOptions
from tmelink.openvpn.tls.negotiation import Admission, Negotiation
from tmelink.openvpn.tls.newcomers import Newcomers
from tmelink.openvpn.tls.payload import Payloads
from tmelink.openvpn.tls.pull_client import PullClient, follow_timers
from tmelink.openvpn.tls.push_server import NO_CIPHER, PushServer
from tmelink.openvpn.tls.settings import TlsSettings
from tmelink.openvpn.tls.wrap import ClientKey, Wrapping
from tmelink.printable import printable

EARLY = 4
"""Answers to a client's reset that are kept until one shows that it is."""

LIVELY = 1.0
"""Seconds after a packet of the peer in which it cannot have restarted, and between two restarts."""

BARE_RESET = packet.HEADER + 1 + 4
"""Bytes of a reset that no key wraps: the number of its acknowledgements, and its own. What a key wraps is
longer."""

SOME_SIZE = 1000
"""Bytes of a datagram whose overhead is looked at; that of any other is the same, padding aside."""

REPORT_KIND = bytes((REPORT,))

SETTLED_BY_PUSH = ("'link-mtu'", "'tun-mtu'", "'comp-lzo'")
"""Differences of options that mean nothing before the server has pushed."""


def check(settings: TlsSettings) -> None:
    """Raise `ValueError` for an unknown cipher, digest or compression."""
    static.digest_name(settings.encryption.auth)
    for cipher in (*settings.ciphers.accepted, settings.ciphers.fallback):
        if cipher is not None and not data_keys.known(cipher):
            raise ValueError(f"data cipher '{cipher}' is not available")
    Payloads(settings, Counter(), 0)


class TlsSession:
    """The `Session` of a link with TLS.

    `wall` gives the seconds since 1970 for a `now`. `local`, `remote`, `wrapping` and `material` are given by
    a server that has already exchanged resets with its client, without state.

    Each session on the control channel is answered at its own address and heard from there alone, so that a
    peer may restart elsewhere while its old session stands, and whoever is not the peer leads nothing
    away. What comes from others is not a sign of life.
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
        """Raises `ValueError` for an unknown cipher, digest or compression."""
        check(settings)
        self.settings = settings
        self.trace: Callable[[str], None] = lambda text: None
        """Called with each step of a handshake, in words."""
        self.drops: Counter[str] = Counter()
        self._context = context
        self._handshakes = HandshakeFactory(settings, context, wall, self.drops)
        sliced = settings.sizes.super_frames and not settings.stream
        self._length = RecordLength() if sliced else None
        self._reports = Reports() if sliced else None
        self._payloads = Payloads(settings, self.drops, secrets.randbelow(256), self._length)
        arrivals = None if self._reports is None else self._reports.arrivals
        self._keyring = Keyring(settings, self.drops, arrivals)
        options = (negotiated.options_string(settings, remote=remote) for remote in (False, True))
        self._occ = Occ(*options, enabled=False, limited=False)
        """Answers the peer's questions on the data channel; options are compared in the handshake."""
        self._pull_client = PullClient(settings)
        self._push_server = PushServer(settings)
        self._active: ControlSession | None = None
        self._newcomers = Newcomers(settings, self._handshakes, wall)
        self._early: dict[bytes, packet.Body] = {}
        """Answers to a client's reset that do not show that they are, by session id."""
        self._begin_by: float | None = None
        """On a connection to a server, when the peer has to have shown who it is."""
        self.spoken = False
        """Whether anything that came was a packet of this protocol."""
        self._answer_by: float | None = None
        self._restarted_at: float | None = None
        """When this client last restarted because its server had."""
        self.handshakes = 0
        """Negotiations of keys that have come to their end."""
        self._ended = False
        self._complained = False
        self._up = False
        self._proven = False
        """Whether the packet in hand completed a handshake."""
        self._wire: list[Item] = []
        self._answers: list[tuple[Hashable, Sequence[Item]]] = []
        self._events: list[SessionEvent] = []
        self._liveness = LivenessTimers(
            replace(settings.liveness, ping=0),  # nothing can be sealed before there are keys
            waits_for_peer=settings.server and (settings.liveness.ping_timer_rem or not settings.remote),
        )
        if wrapping is not None:
            self._active = self._handshakes.control_session(wrapping, material, local, remote, first=1)

    # What the shell calls.

    def connected(self, now: float) -> Step:
        """A client begins; a server waits."""
        self._liveness.start(now)
        if self.settings.server and self.settings.stream:
            self._begin_by = now + self.settings.control.hand_window
        if self._active is not None:
            self._active.start(self._introduction(), now, None)
        elif not self.settings.server:
            self._active = self._handshakes.ask(self._pull_client.credentials, now)
            self.trace("handshake: reset sent")
            if self.settings.server_poll_timeout:
                self._answer_by = now + self.settings.server_poll_timeout
        return self._finish(now)

    def receive(self, datagrams: Sequence[Item], now: float, source: Hashable = None) -> Step:
        """Frames out of data packets; control packets taken and answered."""
        frames: list[Carried] = []
        authentic = control = alive = False
        for first, packets in grouped(datagrams):
            if self._ended:
                break
            if not is_data(first):
                for datagram in packets.pieces() if isinstance(packets, Run) else packets:
                    control_session = self._control(bytes(datagram), source, now)
                    if control_session is not None:
                        control = True
                        alive |= not self._up or (control_session is self._active and control_session.wrapped)
                continue
            if self._is_elsewhere(source):
                count = frame.count((packets,)) if isinstance(packets, Run) else len(packets)
                self.drops["data packet from another address"] += count
                continue
            opened = self._keyring.open(first, packets, now)
            if opened:
                authentic = True
                if source is not None and self._active is not None:
                    self._active.address = source
                self._sort_payloads(opened, frames, now)
            elif self._active is None:
                self._notice(source, frame.size((packets,) if isinstance(packets, Run) else packets), now)
        authentic |= self._proven
        self._proven = False
        liveness = self._liveness
        if authentic or alive:
            liveness.last_received = now
        if authentic and liveness.unheard:
            liveness.unheard, control = False, True  # a timer may run since now
        return self._finish(now, frames, authentic) if control else self._after_data(frames, authentic, now)

    def _after_data(self, frames: list[Carried], authentic: bool, now: float) -> Step:
        """The step after data packets alone, which rarely have any consequence beside their frames."""
        reports = self._reports
        if reports is not None and reports.due(now):
            self._seal_message(reports.message(now), now)
        if self._wire or self._answers or self._events or self._keyring.needs_rekey():
            return self._finish(now, frames, authentic)
        return Step((), frames, (), authentic, (), True) if frames or authentic else NOTHING

    def _notice(self, source: Hashable, size: int, now: float) -> None:
        """A server over UDP tells a client of an earlier run that this one has begun."""
        if self.settings.server and not self.settings.stream and source is not None:
            reset = self._newcomers.notice(source, size, now)
            if reset:
                self._send_to(source, [reset])

    def _is_elsewhere(self, source: Hashable) -> bool:
        """Whether data packets from an address are not to be opened."""
        active = self._active
        return (
            not self.settings.floats
            and active is not None
            and source is not None
            and active.address is not None
            and source != active.address
        )

    def knows(self, datagram: Frame, now: float) -> bool:
        """Whether the wrapping's key verifies it."""
        return self._newcomers.knows(bytes(datagram), now)

    def send(self, frames: Sequence[Carried], now: float) -> Step:
        """Data packets out of frames, runs of them where frames are of one size."""
        if self._ended or not self._keyring.ready(now):
            self.drops["no keys yet"] += frame.count(frames)
            return NOTHING
        wire = self._keyring.seal(self._payloads.outgoing(frames))
        liveness = self._liveness
        liveness.last_sent = now
        if liveness.quiet_seconds:
            liveness.active(frame.size(wire), now)
        if self._keyring.needs_rekey():
            step = self._finish(now)
            return Step([*wire, *step.wire], (), step.events, False, step.answers)
        return Step(wire, postpones=True)

    def seal_one(self, frame: Frame, now: float) -> Sequence[Item] | None:
        """The data packet of an ordinary frame, under keys that last."""
        liveness = self._liveness
        if self._ended or liveness.quiet_seconds or not self._payloads.passes(frame):
            return None
        packet = self._keyring.seal_one(frame)
        if packet is None:
            return None
        liveness.last_sent = now
        return [packet]

    def open_one(self, datagram: Frame, now: float, source: Hashable = None) -> Frame | Step:
        """The frame of a data packet from where the peer is, under keys that last."""
        active, liveness = self._active, self._liveness
        if (
            not self._up
            or active is None
            or source != active.address
            or liveness.unheard
            or liveness.quiet_seconds
            or (self._reports is not None and self._reports.due(now))
            or not len(datagram)
            or (payload := self._keyring.open_one(datagram, now)) is None
        ):
            return self.receive([datagram], now, source)
        if not payload:
            return NOTHING
        liveness.last_received = now
        if self._payloads.is_plain_frame(payload):
            return payload
        frames: list[Carried] = []
        self._sort_payloads((payload,), frames, now)
        return self._after_data(frames, True, now)

    def tick(self, now: float) -> Step:
        """What time asks for: repetitions, new keys, pings, the end of what took too long."""
        if self._ended:
            return NOTHING
        for control_session in self._control_sessions():
            self._pass_time(control_session, now)
        if self._pull_client.request_due(now):
            self._send_message(push_messages.PUSH_REQUEST, now)
        ended = self._push_server.forgotten(now) or self._liveness.ended(now)
        if self._begin_by is not None and now >= self._begin_by:
            window = self.settings.control.hand_window
            ended = Restart(f"nobody has authenticated within {window:g} s (--hand-window)")
        if (answer_by := self._unanswered_until()) is not None and now >= answer_by:
            seconds = self.settings.server_poll_timeout
            ended = Restart(f"no answer within {seconds:.3g} s (--server-poll-timeout)", at_once=True)
        elif self._pull_client.answer_by is not None and now >= self._pull_client.answer_by:
            ended = Restart("the server does not answer the request for options (PUSH_REQUEST)")
        if ended is not None:
            self._finish_with(ended, now)
        elif self._up and self._liveness.ping_due(now):
            self._seal_message(PING, now)
        return self._finish(now)

    def probe(self, payloads: Sequence[int], now: float) -> Step:
        """Load messages, and the question about them, once there are keys."""
        if self._ended or not self._keyring.ready(now):
            return NOTHING
        for message in self._occ.probe(payloads, now, secrets.token_bytes):
            self._seal_message(message, now)
        return self._finish(now)

    @property
    def answers(self) -> bool:
        """OpenVPN's ends do."""
        return self._up

    def security(self) -> Security:
        """Of the keys that seal now; nothing while there are none."""
        sealing, agreed = self._keyring.in_use
        if sealing is None or agreed is None:
            return Security(handshakes=self.handshakes)
        peer = sealing.engine.peer
        options = {
            "tls-ekm": agreed.exporter,
            "epoch data keys": agreed.epoch,
            f"peer-id {agreed.peer_id}": agreed.peer_id is not None,
            "exit message": agreed.exit_message,
            "dynamic tls-crypt": agreed.dynamic_wrap,
        }
        return Security(
            cipher=agreed.cipher,
            keys_since=sealing.established,
            tls=sealing.engine.describe(),
            peer_name=peer.common_name if peer else None,
            negotiated=tuple(name for name, holds in options.items() if holds),
            round_trip=sealing.reliable.round_trip,
            handshakes=self.handshakes,
        )

    def deadline(self) -> float | None:
        """When `tick` has something to do."""
        if self._ended:
            return None
        times = [
            self._unanswered_until(),
            self._begin_by,
            self._keyring.switch_at,
            self._pull_client.request_at,
            self._pull_client.answer_by,
            self._push_server.forget_at,
            self._liveness.deadline(),
        ]
        for control_session in self._control_sessions():
            times.append(control_session.deadline())
            times += [self._give_up_at(control_session), self._renew_at(control_session)]
            if control_session.previous is not None:
                times.append(control_session.previous.expires)
        return min((time for time in times if time is not None), default=None)

    def close(self, now: float) -> Step:
        """This side ends the session; under --explicit-exit-notify it notifies the peer."""
        if self._ended:
            return NOTHING
        active, notices = self._active, self.settings.messages.explicit_exit_notify
        if self._up and notices and active is not None and active.negotiated is not None:
            if active.negotiated.exit_message:
                self._send_message(push_messages.EXIT, now)
                self._post(active, now)
            elif not self.settings.stream:
                for _ in range(notices):
                    self._seal_message(occ_message(OCC_EXIT), now)
        step = self._gathered()
        self._end(now)
        return step

    def dismiss(self, now: float) -> Step:
        """A server ends its client's session and asks it to restart; nothing follows."""
        if self._up and self._active is not None:
            self._send_message(push_messages.RESTART, now)
            self._post(self._active, now)
        step = self._gathered()
        self._end(now)
        return step

    def respond(self, answer: str, now: float) -> Step:
        """A client answers its server's `Challenge`; raises `ValueError` for an answer that is too long."""
        message = push_messages.build_response(answer)
        if self._ended:
            return NOTHING
        self._send_message(message, now)
        return self._finish(now)

    def push_update(self, options: Sequence[str], now: float) -> Step | None:
        """A server changes what it has pushed; None if its client takes no changes, or is not up.

        An option with `-` before its name is taken back. Raises `ValueError` for one that cannot be pushed.
        """
        messages = push_messages.build_replies(options, push_messages.PUSH_UPDATE)
        agreed = None if self._active is None else self._active.negotiated
        if not self._up or agreed is None or not agreed.push_update:
            return None
        for message in messages:
            self._send_message(message, now)
        return self._finish(now)

    def log_keys(self, listener: Callable[[str], None]) -> Callable[[], None]:
        """Tell `listener` the secrets of this and other sessions' handshakes (`TlsContext.log_keys`)."""
        return self._context.log_keys(listener)

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
        control_session, negotiation, remote = joining
        if self.settings.mode == "push" and self._push_server.admitted:
            self._push_server.update(options)
        elif self.settings.mode == "push":
            control_session.negotiated = self._push_server.admit(options, remote)
            if control_session.negotiated is None:
                return self.refuse(NO_CIPHER, now)
        negotiation.admit()
        if control_session is self._active:
            self._serve(control_session, negotiation, now)
        return self._finish(now)

    def refuse(self, reason: str, now: float) -> Step:
        """A server refuses the client that is `Joining`; the session lives on a moment to say so."""
        joining = self._joining()
        if joining is None:
            return NOTHING
        control_session, negotiation, _ = joining
        negotiation.send(self._push_server.refuse(reason, now))
        self._advance(control_session, negotiation, now)
        return self._finish(now)

    @property
    def complete(self) -> bool:
        """Whether a handshake has come to its end: the peer has a certificate that counts here."""
        return self._active is not None and self._active.complete

    def _joining(self) -> tuple[ControlSession, Negotiation, Message] | None:
        """The negotiation that waits to be admitted."""
        for control_session in self._control_sessions():
            current = control_session.current
            if current is not None and current.admission is Admission.ASKED and current.remote is not None:
                return control_session, current, current.remote
        return None

    # The control channel.

    def _introduction(self) -> Message:
        return self._handshakes.introduction(self._pull_client.credentials)

    def _control_sessions(self) -> list[ControlSession]:
        return [*self._newcomers] if self._active is None else [self._active, *self._newcomers]

    def _control(self, datagram: bytes, source: Hashable, now: float) -> ControlSession | None:
        """Take one control packet; the session that it is of, if this end has that. Else counts why not."""
        try:
            opcode, key_id, session_id = packet.parse_header(datagram)
            control_session = next((s for s in self._control_sessions() if s.remote == session_id), None)
            if control_session is None:
                begun = self._begun(datagram, opcode, key_id, session_id, source, now)
                if begun is None:
                    return None
                control_session, body = begun
            elif control_session.address not in (None, source):
                raise ProtocolError("control packet from another address")
            else:
                body = control_session.open(datagram, opcode, key_id)
            negotiation = control_session.find(key_id)
            if negotiation is None:
                negotiation = self._renewed(control_session, opcode, key_id, now)
        except UnknownSession as error:
            self.drops[str(error)] += 1
            if self._active is None:
                self._notice(source, len(datagram), now)
            return None
        except ProtocolError as error:
            self.drops[str(error)] += 1
            return None
        self.spoken = True
        control_session.receive(negotiation, opcode, body, now)
        self._advance(control_session, negotiation, now)
        return control_session

    def _begun(
        self, datagram: bytes, opcode: Opcode, key_id: int, session_id: bytes, source: Hashable, now: float
    ) -> tuple[ControlSession, packet.Body] | None:
        """The session that a packet of an unknown one begins; None if all is said, or not enough yet."""
        settings, active = self.settings, self._active
        if active is not None and active.remote is None:
            return self._answered(active, datagram, opcode, key_id, session_id, source, now)
        if active is not None and (settings.mode == "push" or settings.single_session):
            raise ProtocolError("control packet for an unknown session")
        if settings.server and not settings.stream:
            greeted = self._newcomers.greet(datagram, opcode, source, self._introduction(), now)
            if isinstance(greeted, bytes):
                self.spoken = True
                self._send_to(source, [greeted])
                return None
            begun = greeted
        elif not may_begin(opcode, key_id, server=settings.server):
            raise ProtocolError("control packet for an unknown session")
        elif settings.server:
            begun = self._handshakes.answer(datagram, opcode, now)
            begun.start(self._introduction(), now, Opcode.CONTROL_HARD_RESET_SERVER_V2)
        elif isinstance(settings.wrap, ClientKey):
            return self._begun_under_own_key(datagram, opcode, key_id, session_id, source, now)
        else:
            self._refuse_needless_restart(source, now)
            begun = self._handshakes.ask(self._pull_client.credentials, now)
            if not settings.stream:
                begun.limit()
        body = begun.open(datagram, opcode, key_id)
        begun.remote, begun.address = session_id, source
        if settings.mode == "push":
            self._active = begun
        else:
            self._newcomers.admit(begun)
        return begun, body

    def _begun_under_own_key(
        self, datagram: bytes, opcode: Opcode, key_id: int, session_id: bytes, source: Hashable, now: float
    ) -> tuple[ControlSession, packet.Body] | None:
        """Like `_begun`, for a client whose tls-crypt-v2 key a server learns only from the client.

        A server that has restarted can only send a bare reset, as anybody can. It makes this client ask for
        a session beside the old one, where its server is and nowhere else; the answer shows the key.
        """
        assert self._active is not None
        if len(datagram) == BARE_RESET:
            if self._active.address != source:
                raise ProtocolError("control packet from another address")
            self._refuse_needless_restart(source, now)
            asked = self._handshakes.ask(self._pull_client.credentials, now)
            asked.address = source
            self._newcomers.admit(asked)
            self._post(asked, now)
            return None
        waiting = next((s for s in self._newcomers if s.remote is None and s.address == source), None)
        if waiting is None:
            raise ProtocolError("control packet for an unknown session")
        body = waiting.open(datagram, opcode, key_id)
        if body.acked is None:
            raise ProtocolError("answer without an acknowledgement")
        waiting.remote = session_id
        return waiting, body

    def _refuse_needless_restart(self, source: Hashable, now: float) -> None:
        """`ProtocolError` for a server's reset that does not show that the server has restarted.

        Without a wrapping key anybody can send one. So it counts only where the server is silent, and each
        costs a handshake, so that there is one a second at most.
        """
        if self._is_elsewhere(source):
            raise ProtocolError("control packet from another address")
        if self.settings.stream and self.settings.mode == "pull":
            raise ProtocolError("control packet for an unknown session")
        if self._up and now < self._liveness.last_received + LIVELY:
            raise ProtocolError("reset while the peer is alive")
        if self._restarted_at is not None and now < self._restarted_at + LIVELY:
            raise ProtocolError("more resets than one a second")
        self._restarted_at = now

    def _answered(
        self,
        active: ControlSession,
        datagram: bytes,
        opcode: Opcode,
        key_id: int,
        session_id: bytes,
        source: Hashable,
        now: float,
    ) -> tuple[ControlSession, packet.Body] | None:
        """This client's session, where a packet answers its reset.

        Without a key anybody can send such a packet. It counts once it, or a later one of its session,
        acknowledges the reset, which only whoever has seen that can do; an end of OpenVPN's that knows its
        client's address begins unasked.
        """
        body = active.open(datagram, opcode, key_id)
        first = may_begin(opcode, key_id, server=False)
        if body.acked is None and not active.wrapped:
            if first and len(self._early) < EARLY:
                self._early[session_id] = body
                return None
            raise ProtocolError("answer without an acknowledgement")
        early = self._early.get(session_id)
        if not first and early is None:
            raise ProtocolError("control packet for an unknown session")
        assert active.current is not None, "a client's session has begun"
        if early is not None:
            active.receive(active.current, Opcode.CONTROL_HARD_RESET_SERVER_V2, early, now)
        self._early.clear()
        active.remote, active.address = session_id, source
        return active, body

    def _renewed(
        self, control_session: ControlSession, opcode: Opcode, key_id: int, now: float
    ) -> Negotiation:
        """The peer begins to negotiate new keys."""
        current = control_session.current
        if (
            opcode is not Opcode.CONTROL_SOFT_RESET_V1
            or key_id != control_session.next_key_id()
            or current is None
            or current.keys is None
            or control_session is not self._active
        ):
            raise ProtocolError("unknown key id")
        return self._start_renewal(control_session, now)

    def _start_renewal(self, control_session: ControlSession, now: float) -> Negotiation:
        negotiation = control_session.start(self._introduction(), now, Opcode.CONTROL_SOFT_RESET_V1)
        self._keyring.follow(control_session, now)
        return negotiation

    def _renegotiate(self, now: float) -> None:
        """Begin to negotiate new keys, unless that is under way."""
        active = self._active
        if active is not None and active.current is not None and active.current.ready and active.current.keys:
            self._start_renewal(active, now)

    def _advance(self, control_session: ControlSession, negotiation: Negotiation, now: float) -> None:
        """Let a negotiation take its next steps, and draw the consequences."""
        before = negotiation.phase
        try:
            control_session.advance(negotiation, now)
        except ProtocolError as error:
            self._failed(control_session, str(error), now)
            return
        if negotiation.phase is not before:
            self.trace(negotiation.progress(now))
            self.handshakes += negotiation.ready
        if (remote := negotiation.introduce()) is not None:
            self._introduced(control_session, negotiation, remote, now)
        if negotiation.ready and not control_session.complete:
            control_session.complete = self._proven = True
            self._begin_by = None
        if negotiation.ready and control_session in self._newcomers:
            self._newcomers.remove(control_session)
            self._active = control_session
            self._keyring.follow(control_session, now)
            self._up, self._liveness.ping = False, 0  # nothing to seal a ping with until it is up again
            self._pull_client.restart()
        if control_session is self._active:
            self._serve(control_session, negotiation, now)
            messages, negotiation.messages = negotiation.messages, []
            for message in messages:
                if not self._ended:
                    self._message(control_session, negotiation, message, now)

    def _failed(self, control_session: ControlSession, reason: str, now: float) -> None:
        self._post(control_session, now)
        if control_session in self._newcomers:
            self._newcomers.remove(control_session)
            self._events.append(Notice("warning", f"a handshake failed: {reason}"))
        else:
            self._finish_with(Restart(reason), now)

    def _introduced(
        self, control_session: ControlSession, negotiation: Negotiation, remote: Message, now: float
    ) -> None:
        """The peer has said who it is: compare, agree, admit or ask."""
        settings = self.settings
        peer = negotiation.engine.peer
        identity = (peer.common_name, peer.fingerprint) if peer else ("", "")
        first = control_session.identity is None
        if first and settings.sizes.super_frames and not super_frames.asked(remote.options):
            self._events.append(Notice("error", super_frames.REFUSAL))
            if self._active is None:
                # The connection is this peer's, and there is no other that it could interrupt.
                self._finish_with(Restart(super_frames.REFUSED), now)
            else:
                self._failed(control_session, super_frames.REFUSED, now)
            return
        if first and settings.messages.occ and remote.options:
            told = differences(negotiated.options_string(settings, remote=True), remote.options)
            if settings.mode == "pull":
                # What the server pushes settles it.
                told = [text for text in told if not text.startswith(SETTLED_BY_PUSH)]
            self._events += [Notice("warning", text) for text in told]
        if not first and not self._is_same(identity, control_session.identity):
            self._failed(control_session, "the peer showed another certificate when keys were renewed", now)
            return
        control_session.identity = identity
        if settings.mode == "equal" and control_session.negotiated is None:
            control_session.negotiated = negotiated.as_equals(settings, remote, negotiation.engine.export)
            if control_session.negotiated is None:
                self._failed(
                    control_session, "no cipher in common with the peer: compare --data-ciphers", now
                )
                return
            if self._length is not None and not _takes_records(control_session.negotiated):
                self._events.append(Notice("error", super_frames.UNSEALED))
                self._failed(control_session, super_frames.UNSEALED, now)
                return
        if settings.server and (settings.ask_password or (settings.mode == "push" and first)):
            info = peer_info.parse(remote.peer_info)
            self._events.append(Joining(*identity, remote.username, remote.password, info, not first))
        else:
            negotiation.admit()

    def _is_same(self, identity: tuple[str, str], before: tuple[str, str] | None) -> bool:
        """Whether who renews keys is who has begun; with new certificates all round the name says so."""
        return identity == before or (
            self._context.renewed and before is not None and identity[0] == before[0]
        )

    def _message(
        self, control_session: ControlSession, negotiation: Negotiation, message: str, now: float
    ) -> None:
        """A text message of the peer."""
        taken = None
        if self.settings.mode == "pull":
            assert negotiation.remote is not None
            agreed = control_session.negotiated is not None
            taken = self._pull_client.message(message, negotiation.remote, agreed=agreed, now=now)
        if taken is not None:
            for event in taken.events:
                if isinstance(event, Restart | Exit):
                    self._finish_with(event, now)
                    return
                if isinstance(event, Pushed):
                    follow_timers(self._liveness, event.options, now)
                    mtu = negotiated.pushed_mtu(self.settings, event.options)
                    self._payloads.resize(mtu or self.settings.sizes.tun_mtu)
                self._events.append(event)
            if taken.negotiated is not None:
                control_session.negotiated = taken.negotiated
                self._follow_compression(taken.negotiated)
                self._serve(control_session, negotiation, now)
        elif message == push_messages.PUSH_REQUEST and self.settings.mode == "push":
            self._push_server.asked()
            self._push_replies(now)
        elif message == push_messages.EXIT:
            self._finish_with(Restart("the peer says that it exits"), now)
        else:
            self.drops["unknown control message"] += 1

    def _follow_compression(self, agreed: NegotiatedOptions) -> None:
        """The framing that the server pushes."""
        if agreed.compression is not None:
            try:
                self._payloads.compress(agreed.compression)
            except ValueError as error:
                self._events.append(Notice("warning", f"the server pushes compression: {error}"))

    def _send_message(self, message: str, now: float) -> None:
        """Send a text message in the newest negotiation that has come so far."""
        control_session = self._active
        if control_session is None or self._ended:
            return
        for negotiation in control_session.negotiations():
            if negotiation.remote is not None:
                negotiation.send(message)
                self._advance(control_session, negotiation, now)
                return

    def _push_replies(self, now: float) -> None:
        for reply in self._push_server.replies():
            self._send_message(reply, now)

    # Keys and frames.

    def _serve(self, control_session: ControlSession, negotiation: Negotiation, now: float) -> None:
        """Put a negotiation's keys to use as far as it has come."""
        settings, agreed = self.settings, control_session.negotiated
        if agreed is None:
            if settings.mode == "pull" and negotiation.ready:
                self._pull_client.start(now)
                if self._pull_client.request_due(now):
                    self.trace("handshake: options asked for (PUSH_REQUEST)")
                    self._send_message(push_messages.PUSH_REQUEST, now)
            return
        if negotiation.keys is None and negotiation.admission is Admission.ADMITTED:
            self._keyring.make(control_session, negotiation, agreed, now)
            assert negotiation.keys is not None
            self._payloads.fit(fragment_room(negotiation.keys, agreed, settings.sizes.fragment))
            self._payloads.clamp(fragment_room(negotiation.keys, agreed, settings.mss_datagram))
            self._occ.overhead = _least_overhead(negotiation.keys, agreed) + self._payloads.framing
            self._occ.largest = self._payloads.longest_out + self._occ.overhead
            if negotiation.key_id == 0 and agreed.dynamic_wrap:
                control_session.wrap_dynamically(negotiation)
        if negotiation.ready and negotiation.keys is not None:
            previous = control_session.previous
            if previous is not None and previous.expires is None:
                previous.expires = now + settings.control.tran_window
            self._keyring.choose(now)
            if settings.mode == "push":
                self._push_replies(now)
            if not self._up:
                self._go_up(negotiation, agreed.cipher, now)

    def _go_up(self, negotiation: Negotiation, cipher: str, now: float) -> None:
        self._up = True
        liveness = self._liveness
        liveness.ping = liveness.ping or self.settings.liveness.ping
        liveness.last_sent = now - liveness.ping
        liveness.last_received = now
        peer = negotiation.engine.peer
        parts = [printable(peer.common_name) if peer else "", negotiation.engine.describe(), f"data {cipher}"]
        self._events.append(Up(", ".join(part for part in parts if part)))

    def _sort_payloads(self, opened: Sequence[Item], frames: list[Carried], now: float) -> None:
        """Add the frames among what was opened to `frames`."""
        for body in self._payloads.incoming(opened, frames, now):
            self._answer(body, now)
        if not self._complained and self._payloads.complaint is not None:
            self._complained = True
            self._events.append(Notice("warning", self._payloads.complaint))
        if self._liveness.quiet_seconds and frames:
            self._liveness.active(frame.size(opened), now)

    def _answer(self, body: bytes, now: float) -> None:
        """An OCC message of the peer's, or its report of what has arrived."""
        if self._length is not None and body[:1] == REPORT_KIND:
            self._length.reported(body[1:])
            return
        answers, events = self._occ.receive(body, now, secrets.token_bytes)
        for answer in answers:
            self._seal_message(answer, now)
        for event in events:
            if isinstance(event, Restart):
                self._finish_with(event, now)
                return
            self._events.append(event)

    def _seal_message(self, payload: bytes, now: float) -> None:
        """Seal something that is not a frame."""
        if self._keyring.ready(now):
            self._wire += self._keyring.seal(self._payloads.encode([payload]))
        self._liveness.last_sent = now

    # Time.

    def _pass_time(self, control_session: ControlSession, now: float) -> None:
        """What time does to one control session."""
        give_up, renew = self._give_up_at(control_session), self._renew_at(control_session)
        if give_up is not None and now >= give_up:
            window = self.settings.control.hand_window
            self._failed(control_session, f"no keys agreed on within {window:g} s (--hand-window)", now)
            return
        previous = control_session.previous
        if previous is not None and previous.expires is not None and now >= previous.expires:
            control_session.previous = None
            self._keyring.follow(control_session, now)
        elif self._keyring.switch_at is not None and now >= self._keyring.switch_at:
            self._keyring.choose(now)
        if renew is not None and now >= renew:
            self._renegotiate(now)

    def _unanswered_until(self) -> float | None:
        """When a server that has said nothing yet is given up."""
        active = self._active
        return self._answer_by if active is not None and active.remote is None else None

    def _give_up_at(self, control_session: ControlSession) -> float | None:
        """When a negotiation under way has taken too long."""
        current = control_session.current
        if current is None or (current.ready and (current.keys is not None or self.settings.mode == "pull")):
            return None
        return current.started + self.settings.control.hand_window

    def _renew_at(self, control_session: ControlSession) -> float | None:
        current = control_session.current
        if not self.settings.control.reneg_sec or current is None or current.established is None:
            return None
        if current.keys is None or control_session is not self._active:
            return None
        return current.established + self.settings.control.reneg_sec

    # Ends.

    def _send_to(self, address: Hashable, packets: Sequence[Item]) -> None:
        if address is None:
            self._wire += packets
        elif packets:
            self._answers.append((address, packets))

    def _post(self, control_session: ControlSession, now: float) -> None:
        """Send the control packets of a session that are due."""
        self._send_to(control_session.address, control_session.transmit(now))

    def _finish(self, now: float, frames: Sequence[Carried] = (), authentic: bool = False) -> Step:
        """The step that has gathered, with every control packet that is due."""
        if self._keyring.needs_rekey():
            self._renegotiate(now)
        for control_session in self._control_sessions():
            self._post(control_session, now)
        return self._gathered(frames, authentic)

    def _gathered(self, frames: Sequence[Carried] = (), authentic: bool = False) -> Step:
        wire, self._wire = self._wire, []
        events, self._events = self._events, []
        answers, self._answers = self._answers, []
        if not (wire or frames or events or authentic or answers):
            return NOTHING
        return Step(wire, frames, events, authentic, answers)

    def _finish_with(self, event: SessionEvent, now: float) -> None:
        """End with an event, after what is due has gone out once more."""
        if not self._ended:
            for control_session in self._control_sessions():
                self._post(control_session, now)
            self._events.append(event)
            self._end(now)

    def _end(self, now: float) -> None:
        """Forget all keys."""
        self._ended = True
        self._liveness.stop()
        self._active = self._begin_by = None
        self._newcomers.clear()
        self._keyring.follow(None, now)
        self._pull_client.credentials = None


def _takes_records(agreed: NegotiatedOptions) -> bool:
    """Whether what both ends agreed on is enough for records over UDP."""
    return agreed.cipher in SUITES and agreed.peer_id is not None


def _least_overhead(keys: DataKeys, agreed: NegotiatedOptions) -> int:
    """Bytes that sealing adds to a payload that needs the least padding."""
    sizes = range(SOME_SIZE, SOME_SIZE + static.BLOCK)
    return min(size - fragment_room(keys, agreed, size) for size in sizes)

"""A link between two peers without TLS: bare frames, or frames under a static key.

Knows what is a frame, a ping or an OCC message on such a link, and counts what is not one of them. Without
keys, fragments and framing, a burst in which every piece is plainly a frame passes through as it came; only
one that may hold something else is looked at piece by piece.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import Final, cast

from tmelink import ethernet, frame, reasons
from tmelink.frame import Frame, SuperFrame, pieces
from tmelink.offload import may_be_syn
from tmelink.openvpn.data import replay, super_frames
from tmelink.openvpn.data.bounds import Bounds
from tmelink.openvpn.data.clamp import clamped
from tmelink.openvpn.data.frame_filter import FrameFilter, link_header, shortest_frame
from tmelink.openvpn.data.super_frames import SuperFrames
from tmelink.openvpn.liveness import PING, LivenessTimers
from tmelink.openvpn.occ import EXIT, MAGIC, REPLY, REQUEST, Occ, message
from tmelink.openvpn.plain.envelope import Envelope, new_window, problems
from tmelink.openvpn.plain.mtu import largest_datagram, message_overhead, mss_limit, options_string, tun_mtu
from tmelink.openvpn.plain.sequence_proof import SequenceProof
from tmelink.openvpn.plain.settings import Settings
from tmelink.openvpn.session import (
    NOTHING,
    Carried,
    Exit,
    Item,
    Notice,
    Restart,
    Security,
    SessionEvent,
    Step,
    Up,
)

SLACK: Final = 64
"""Bytes by which an OCC message may be longer than a frame, on a link whose ends differ a little."""

NOTICE_SECONDS: Final = 60.0
"""Between two log lines about datagrams that a key refuses: a peer must not make the log grow."""

NEVER_PINGS: Final = (
    "the peer sends frames and never a ping, as TME and NME do, so it looks gone whenever its machine is "
    "silent: write --ping 10 in place of --keepalive or --ping-restart"
)

LOOKED_AT: Final = 16
"""Frames from the peer that are looked at, without a key here, for ciphertext: every second piece of that
cannot be a frame."""
IMPOSSIBLE: Final = 3
"""Of these, how many have to be impossible before it is said."""

NOT_ETHERNET: Final = (
    "what comes from the peer does not look like Ethernet: it may have a key (--secret) "
    "or --fragment or compression, which this end does not have"
)

_NO_REPLIES: Final[list[bytes]] = []
_NO_EVENTS: Final[list[SessionEvent]] = []


class PointToPoint:
    """The `Session` of a link without TLS.

    `random(n)` gives n unpredictable bytes. With a key, `unix_time` is the time of day in seconds, and must
    be later than that of any earlier session under the key; `window` goes on with the packet ids of an
    earlier one. Raises `ValueError` for settings that have `tmelink.openvpn.plain.envelope.problems`.
    """

    def __init__(
        self,
        settings: Settings,
        random: Callable[[int], bytes],
        unix_time: int = 0,
        window: replay.ReplayWindow | None = None,
    ) -> None:
        found = problems(settings)
        if found:
            raise ValueError("; ".join(found))
        self.settings = settings
        self.drops: Counter[str] = Counter()
        self._random = random
        self._stream = not settings.proto.startswith("udp")
        self.spoken = False
        self._pinged = False
        """Whether the peer has sent anything but frames: then it is not one that never pings."""
        self._ended = False
        self._up = False
        self._begun = 0.0
        self._exit_messages = 0 if self._stream else settings.messages.explicit_exit_notify
        self._noticed: float | None = None
        self._liveness = LivenessTimers(
            settings.liveness, waits_for_peer=settings.liveness.ping_timer_rem and not settings.remote
        )
        self._ip = settings.kind == "ip"
        mtu = tun_mtu(settings)
        longest = mtu + link_header(settings.kind)
        self._bounds = Bounds(shortest_frame(settings.kind), longest, self.drops)
        self._filter = FrameFilter(settings.kind, max(mtu, settings.sizes.longest_mtu))
        self._mss = mss_limit(settings)
        self._super: SuperFrames | None = None
        longest_payload = self._filter.longest + SLACK
        if settings.sizes.super_frames:
            longest_payload = super_frames.LONGEST_PAYLOAD
            self._super = SuperFrames(longest, self._filter.longest, self.drops, ip=self._ip)
        self._asking_until: float | None = None
        """Under --super-frames, when a peer that has not said that it asks for them too is refused."""
        self._envelope: Envelope | None = None
        self._complained = False
        self._proof: SequenceProof | None = None
        if settings.key is not None and not self._stream:
            window = new_window(settings) if window is None else window
            self._proof = SequenceProof(settings, window, random)
        if settings.key is not None or settings.sizes.fragment or settings.compression.framing is not None:
            outdated = None if self._proof is None else self._proof.outdated
            self._envelope = Envelope(
                settings, longest_payload, self.drops, random, unix_time, window, outdated
            )
        self._occ = Occ(
            options_string(settings, remote=False),
            options_string(settings, remote=True),
            enabled=settings.messages.occ,
            mtu_test=settings.messages.mtu_test,
            largest=largest_datagram(settings),
            overhead=message_overhead(settings),
            limited=settings.key is None,
        )

        self._frames_to_check = LOOKED_AT if self._envelope is None and not self._ip else 0
        self._impossible = 0
        self._bare = self._envelope is None and self._super is None and not settings.liveness.inactive
        """Whether frames are datagrams as they stand, and traffic is not measured."""

    def connected(self, now: float) -> Step:
        """Start the timers; the first ping is sent at once, and under --super-frames who asks for them."""
        self._begun = now
        self._liveness.start(now)
        self._occ.start(now)
        step = self.tick(now)
        if self._super is None:
            return step
        self._asking_until = now + super_frames.WAIT_SECONDS
        # A peer of tmelink's says the same unasked; any other answers the request.
        asking = [message(REPLY, self._occ.local.encode() + b"\0"), message(REQUEST)]
        return Step([*step.wire, *self._seal_messages(asking, now)], (), step.events)

    def knows(self, datagram: Frame, now: float) -> bool:
        """Whether the key verifies it."""
        return self.receive([datagram], now).authentic

    def receive(self, datagrams: Sequence[Item], now: float, source: Hashable = None) -> Step:
        """Frames out of datagrams.

        `authentic` is set if the key has verified one of them or, without a key, if one was a frame, a
        ping or an OCC message.
        """
        if self._ended:
            return NOTHING
        if self._envelope is not None:
            return self._receive_sealed(self._envelope, pieces(datagrams), now, source)
        if self._asking_until is None and datagrams and self._filter.are_plain(datagrams):
            return self._received(datagrams, _NO_REPLIES, _NO_EVENTS, now)
        frames, replies, events, heard = self._sort(datagrams, now)
        return self._received(frames, replies, events, now) if frames or heard else NOTHING

    def send(self, frames: Sequence[Carried], now: float) -> Step:
        """Datagrams out of frames; what is too long or too short for a frame is dropped and counted."""
        if self._ended:
            return NOTHING
        if self._super is None:
            payloads = self._payloads(cast("Sequence[Item]", frames))
        elif self._asking_until is None:
            payloads = cast("Sequence[Item]", self._super.payloads(frames, self._payloads))
        else:
            self.drops[super_frames.UNAGREED] += frame.count(frames)
            return NOTHING
        if not payloads:
            return NOTHING
        wire = payloads
        if self._envelope is not None:
            wire = self._envelope.seal(pieces(payloads), now - self._begun)
            if not wire:
                return NOTHING
        liveness = self._liveness
        liveness.last_sent = now
        if liveness.quiet_seconds:
            liveness.active(frame.size(payloads), now)
        return Step(wire, postpones=True)

    def _payloads(self, frames: Sequence[Item]) -> Sequence[Item]:
        frames = self._bounds.within(frames)
        return clamped(frames, self._mss, ip=self._ip) if self._mss else frames

    def seal_one(self, frame: Frame, now: float) -> Sequence[Item] | None:
        """The frame itself, where it needs no look at more than its length."""
        bounds = self._bounds
        if (
            self._ended
            or not self._bare
            or not bounds.shortest <= len(frame) <= bounds.longest
            or (self._mss and may_be_syn(frame, ip=self._ip))
        ):
            return None
        self._liveness.last_sent = now
        return [frame]

    def open_one(self, datagram: Frame, now: float, source: Hashable = None) -> Frame | Step:
        """The datagram itself, where it is plainly a frame."""
        if (
            self._ended
            or not (self._bare and self._up)
            or self._frames_to_check
            or not self._filter.is_plain(datagram)
            or (self._mss and may_be_syn(datagram, ip=self._ip))
        ):
            return self.receive([datagram], now, source)
        self._liveness.last_received = now
        return datagram

    def tick(self, now: float) -> Step:
        """Pings and OCC requests that are due, and the end of a session whose peer is gone."""
        liveness = self._liveness
        if self._ended or liveness.started is None:
            return NOTHING
        ended = liveness.ended(now)
        told: list[SessionEvent] = []
        unsecured = self.settings.key is None
        if ended is not None and unsecured and self.spoken and not self._pinged and liveness.silent(now):
            told = [Notice("warning", NEVER_PINGS, once=True)]
        if self._asking_until is not None and now >= self._asking_until:
            ended = Restart(super_frames.SILENCE)
        if ended is not None:
            self._end()
            return Step(events=[*told, ended])
        messages, events = self._occ.due(now, self._random)
        if self._proof is not None:
            asked, notices = self._proof.take(now)
            messages, events = messages + asked, [*events, *notices]
        if liveness.ping_due(now) and not messages:
            messages.append(PING)
        if not messages and not events:
            return NOTHING
        return Step(self._seal_messages(messages, now), (), events)

    def probe(self, payloads: Sequence[int], now: float) -> Step:
        """Load messages, and the question about them."""
        if self._ended:
            return NOTHING
        return Step(self._seal_messages(self._occ.probe(payloads, now, self._random), now))

    @property
    def answers(self) -> bool:
        """Whether the peer has sent a ping or a message of OCC's, which TME's never does."""
        return self._pinged

    def security(self) -> Security:
        """The static key's cipher."""
        settings = self.settings
        return Security(cipher=settings.encryption.static_cipher if settings.key is not None else None)

    def deadline(self) -> float | None:
        """When `tick` has something to do."""
        if self._ended:
            return None
        proof = None if self._proof is None else self._proof.deadline()
        times = (self._liveness.deadline(), self._occ.deadline(), self._asking_until, proof)
        return min((time for time in times if time is not None), default=None)

    def close(self, now: float) -> Step:
        """The session ends from this side: under --explicit-exit-notify it notifies the peer."""
        if self._ended:
            return NOTHING
        self._end()
        return Step(self._seal_messages([message(EXIT)] * self._exit_messages, now))

    def _end(self) -> None:
        self._ended = True
        self._liveness.stop()

    # What arrives

    def _receive_sealed(
        self, envelope: Envelope, datagrams: list[Frame], now: float, source: Hashable
    ) -> Step:
        payloads, verified = envelope.open(datagrams, now)
        refused: list[SessionEvent] = []
        if self.settings.key is not None and verified < len(datagrams):
            refused = self._refused(now)
            if not verified and self._proof is not None:
                asked, notices = self._proof.take(now)
                if asked or notices:
                    return self._challenge(asked, [*refused, *notices], source, now)
        if not self._complained and envelope.complaint is not None:
            self._complained = True
            refused.append(Notice("warning", envelope.complaint))
        frames, replies, events, heard = self._sort(payloads, now)
        if not verified and not heard and not frames:
            return Step(events=refused) if refused else NOTHING
        return self._received(frames, replies, refused + events, now)

    def _refused(self, now: float) -> list[SessionEvent]:
        """A datagram failed under the key: over TCP the end of the session, otherwise now and then a line."""
        if self._stream:
            self._end()
            return [Restart("a packet failed authentication, and over TCP nothing after it can be trusted")]
        if self._noticed is not None and now < self._noticed + NOTICE_SECONDS:
            return []
        refused = reasons.incoming(self.drops)
        for replayed in (replay.REPLAYED, replay.TOO_LATE, replay.OLD_SEQUENCE):
            del refused[replayed]
        if not +refused:
            return []
        self._noticed = now
        told = ", ".join(f"{reason}: {count}" for reason, count in sorted(refused.items()) if count)
        words = reasons.explained(max(refused, key=lambda reason: refused[reason]))
        return [Notice("warning", f"datagrams dropped so far: {told}: {words}")]

    def _challenge(
        self, messages: list[bytes], events: list[SessionEvent], source: Hashable, now: float
    ) -> Step:
        """Ask whoever sends packets of an old sequence, at their address, to show that they are the peer."""
        sealed = self._seal_messages(messages, now)
        if source is None or not sealed:
            return Step(sealed, (), events)
        return Step((), (), events, answers=[(source, sealed)])

    def _agree_or_refuse(self, options: str) -> list[SessionEvent]:
        """What follows from the peer's options where this end asks for super-frames: agreed, or refused."""
        if super_frames.asked(options):
            self._asking_until = None
            return []
        self._end()
        return [Notice("error", super_frames.REFUSAL), Restart(super_frames.REFUSED)]

    def _received(
        self, frames: Sequence[Carried], replies: list[bytes], events: list[SessionEvent], now: float
    ) -> Step:
        liveness = self._liveness
        liveness.last_received = now
        self.spoken = True
        if not self._up and self._asking_until is None:
            self._up = True
            liveness.unheard = False
            events = [Up(), *events]
        if self._frames_to_check and frames:
            events = [*events, *self._check_first_frames(frames)]
        if liveness.quiet_seconds and frames:
            liveness.active(frame.size(frames), now)
        if self._mss and frames:
            frames = clamped(frames, self._mss, ip=self._ip)
        if not replies and not events:
            return Step((), frames, events, True, (), True)
        return Step(self._seal_messages(replies, now), frames, events, True)

    def _check_first_frames(self, frames: Sequence[Carried]) -> list[SessionEvent]:
        """What there is to say of the first frames."""
        for each in pieces([item for item in frames if not isinstance(item, SuperFrame)]):
            self._frames_to_check -= 1
            self._impossible += not ethernet.plausible(each)
            if self._impossible == IMPOSSIBLE:
                self._frames_to_check = 0
                return [Notice("warning", NOT_ETHERNET)]
            if not self._frames_to_check:
                break
        return []

    def _sort(
        self, datagrams: Sequence[Item], now: float
    ) -> tuple[list[Carried], list[bytes], list[SessionEvent], bool]:
        """Frames, replies and events, piece by piece, and whether there was a ping or a message."""
        frames: list[Carried] = []
        replies: list[bytes] = []
        events: list[SessionEvent] = []
        heard = False
        for piece in pieces(datagrams):
            if self._filter.is_plain(piece):
                frames.append(piece)
                continue
            if self._super is not None and super_frames.is_record(piece):
                super_frame = self._super.open(piece)
                if super_frame is not None:
                    frames.append(super_frame)
                continue
            kind = self._filter.kind_of(piece)
            if kind == "frame":
                frames.append(piece)
            elif kind == "ping":
                heard = self._pinged = True
            elif kind == "message":
                heard = self._pinged = True
                answers, told = self._occ.receive(bytes(piece[len(MAGIC) :]), now, self._random)
                if self._asking_until is not None and self._occ.told is not None:
                    self._drop_unagreed(frames)
                    told = self._agree_or_refuse(self._occ.told) or told
                replies += answers
                events += told
            else:
                self.drops[kind] += 1
        if any(isinstance(event, (Restart, Exit)) for event in events):
            self._end()
        if self._asking_until is not None:
            self._drop_unagreed(frames)
        return frames, replies, events, heard

    def _drop_unagreed(self, frames: list[Carried]) -> None:
        if frames:
            self.drops[super_frames.UNAGREED] += frame.count(frames)
            frames.clear()

    # What is sent

    def _seal_messages(self, messages: list[bytes], now: float) -> Sequence[Item]:
        if not messages:
            return messages
        self._liveness.last_sent = now
        if self._envelope is None:
            return messages
        return self._envelope.seal(messages, now - self._begun)

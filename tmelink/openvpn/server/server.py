"""A server with many clients behind one socket, as a value: which datagram is whose.

Tells clients apart by peer id, session id and address, follows those that move, keeps the limits, and leaves
each client's protocol to its `TlsSession`. What a client may do once it is `Joining`, its shell decides, and
where frames go from client to client, too. Opens no socket, reads no clock.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final, NamedTuple

from tmelink import frame
from tmelink.errors import ProtocolError
from tmelink.frame import Frame, Run
from tmelink.openvpn.data.arrivals import grouped, is_data
from tmelink.openvpn.data.packet import DATA_V1, DATA_V2, HEADER
from tmelink.openvpn.session import NOTHING, Exit, Item, Joining, Restart, Step
from tmelink.openvpn.tls.cookie import Cookies, Proven, UnknownSession
from tmelink.openvpn.tls.engine import TlsContext
from tmelink.openvpn.tls.negotiated import UNDEFINED_PEER
from tmelink.openvpn.tls.restarts import RestartNotices
from tmelink.openvpn.tls.session import TlsSession
from tmelink.openvpn.tls.settings import TlsSettings
from tmelink.openvpn.tls.wrap import Wrapping

INITIAL_FREQUENCY: Final = (100, 10.0)
"""Answers to resets, and the seconds that they count for (`--connect-freq-initial` of OpenVPN)."""


HANDSHAKE_SECONDS: Final = 5.0
"""How long a handshake may take before it makes room for another client, on a server that is full."""

DUE_EACH: Final = 64
"""Entries in the timetable for each client, on average, before those are taken out that mean nothing now."""

PEER: Final = 4
"""Bytes of a P_DATA_V2 packet up to the end of its peer id."""


class Addressed(NamedTuple):
    """A step for one client (its number; None before there is one) at an address, `stream` for one of TCP."""

    client: int | None
    address: Hashable
    step: Step
    stream: bool = False


class Frequency:
    """At most `count` events in `seconds`; 0 for any number."""

    def __init__(self, count: int, seconds: float) -> None:
        self._count = count
        self._seconds = seconds
        self._since = 0.0
        self._used = 0

    def allows(self, now: float) -> bool:
        """Whether one more is allowed; counts it."""
        if not self._count:
            return True
        if now >= self._since + self._seconds:
            self._since, self._used = now, 0
        self._used += 1
        return self._used <= self._count

    def give_back(self) -> None:
        """One that was counted is not one of those that the limit is against."""
        self._used = max(0, self._used - 1)


@dataclass(slots=True)
class _Client:
    """One client: its number is its peer id."""

    number: int
    address: Hashable
    session: TlsSession
    remote: bytes | None
    began: float
    stream: bool = False
    common_name: str = ""
    joined: bool = False
    due: float | None = None

    def addressed(self, step: Step) -> Addressed:
        """A step for it, where it is."""
        return Addressed(self.number, self.address, step, self.stream)


class TlsServer:
    """Clients by number, from 0 on.

    `drops` counts what belongs to no client; each session counts its own. Of `settings`, `server`, `mode` and
    `peer_id` are filled in here. `streams` are the settings for clients over TCP, where others are over UDP;
    an address may be that of one of each. `connect_freq` is how many clients may come in how many seconds;
    with `by_username` a client's name is its user name (`--username-as-common-name`).
    """

    def __init__(
        self,
        settings: TlsSettings,
        context: TlsContext,
        wall: Callable[[float], float],
        *,
        streams: TlsSettings | None = None,
        max_clients: int = 1024,
        duplicate_cn: bool = False,
        connect_freq: tuple[int, float] = (0, 0),
        connect_freq_initial: tuple[int, float] = INITIAL_FREQUENCY,
        by_username: bool = False,
    ) -> None:
        self.context = context
        self.trace: Callable[[Hashable, str], None] = lambda address, text: None
        """Called with each step of a handshake, with the client's address, in words."""
        self.drops: Counter[str] = Counter()
        self._handshakes = 0
        """With clients that are gone."""
        self.turned_away: Hashable | None = None
        """Whom --max-clients has refused last; for the shell to tell, and to forget."""
        self._settings = replace(settings, server=True, mode="push")
        self._stream_settings = replace(streams or settings, server=True, mode="push", stream=True)
        self._wall = wall
        self._max_clients = max_clients
        self._duplicate_cn = duplicate_cn
        self._by_username = by_username
        self._frequency = Frequency(*connect_freq)
        self._initial = Frequency(*connect_freq_initial)
        self._cookies = Cookies(settings.wrap, settings.control.hand_window)
        self._notices = RestartNotices(self._cookies)
        self._clients: dict[int, _Client] = {}
        self._by_address: dict[Hashable, _Client] = {}
        self._by_connection: dict[Hashable, _Client] = {}
        self._by_session: dict[tuple[Hashable, bytes], _Client] = {}
        self._due: list[tuple[float, int]] = []

    def handshakes(self) -> int:
        """Negotiations of keys that were completed, with clients that are gone too."""
        return self._handshakes + sum(client.session.handshakes for client in self._clients.values())

    def dropped(self) -> Counter[str]:
        """All that was dropped, by reason: what belonged to no client, and what to each, those gone too."""
        return sum((client.session.drops for client in self._clients.values()), Counter(self.drops))

    def name(self, joining: Joining) -> str:
        """What a client is called, as it may stand in a log or a list; empty for one without a name."""
        name = joining.username if self._by_username else joining.common_name or joining.username
        return "".join(letter if letter.isprintable() and letter != "," else "_" for letter in name)

    def __len__(self) -> int:
        return len(self._clients)

    def address(self, client: int) -> Hashable:
        """Where a client is now; `KeyError` for one that is gone."""
        return self._clients[client].address

    def session(self, client: int) -> TlsSession:
        """A client's session; `KeyError` for one that is gone."""
        return self._clients[client].session

    # Datagrams.

    def receive_stream(self, datagrams: Sequence[Item], address: Hashable, now: float) -> list[Addressed]:
        """Datagrams of the client that has connected from an address over TCP."""
        client = self._by_connection.get(address)
        if client is None:
            self.drops["data packet from an unknown client"] += frame.count(datagrams)
            return []
        return self._hand_over(client, datagrams, address, now)

    def receive(self, datagrams: Sequence[Item], address: Hashable, now: float) -> list[Addressed]:
        """Datagrams that came over UDP from one address, handed to the clients they belong to."""
        steps: list[Addressed] = []
        for first, packets in grouped(datagrams):
            if is_data(first):
                for peer, items in _by_peer(first, packets):
                    steps += self._data(peer, items, address, now)
            else:
                for datagram in packets.pieces() if isinstance(packets, Run) else packets:
                    steps += self._control(bytes(datagram), address, now)
        return steps

    def send(self, client: int, frames: Sequence[Item], now: float) -> Addressed:
        """Frames for one client; `KeyError` for one that is gone."""
        found = self._clients[client]
        step = found.session.send(frames, now)
        return self._after(found, step, now) if step.events else found.addressed(step)

    def open_one(self, datagram: Frame, address: Hashable, now: float) -> tuple[int, Frame] | list[Addressed]:
        """A client's number and its frame, out of a datagram that came alone over UDP; else as `receive`."""
        client = self._clients.get(_peer(datagram))
        if client is None or client.stream or client.address != address or datagram[0] >> 3 != DATA_V2:
            return self.receive((datagram,), address, now)
        opened = client.session.open_one(datagram, now)
        if isinstance(opened, Step):
            return self._taken(client, opened, address, now)
        return client.number, opened

    def seal_one(self, client: int, frame: Frame, now: float) -> tuple[Sequence[Item], Hashable] | None:
        """The datagram of a frame that goes alone over UDP, and its address; None leaves it to `send`."""
        found = self._clients.get(client)
        if found is None or found.stream or (wire := found.session.seal_one(frame, now)) is None:
            return None
        return wire, found.address

    def _data(self, peer: int, items: Sequence[Item], address: Hashable, now: float) -> list[Addressed]:
        """Data packets of one client, told by its number or by its address."""
        client = self._by_address.get(address) if peer == UNDEFINED_PEER else self._clients.get(peer)
        if client is None or client.stream:
            self.drops["data packet from an unknown client"] += frame.count(items)
            return self._notice(address, frame.size(items), now)
        steps = self._hand_over(client, items, address, now)
        if not steps and client.address != address:
            # A client of an earlier run may have had the number that is another's now.
            return self._notice(address, frame.size(items), now)
        return steps

    def _notice(self, address: Hashable, size: int, now: float) -> list[Addressed]:
        """Tell a client of an earlier run that this one has begun, unless it is already restarting."""
        if address in self._by_address:
            return []
        reset = self._notices.notice(address, size, now, self._wall(now))
        return [Addressed(None, address, Step((reset,)))] if reset else []

    def _control(self, datagram: bytes, address: Hashable, now: float) -> list[Addressed]:
        # A session is heard where it is: from elsewhere anybody could have copied its id.
        client = self._by_session.get((address, datagram[1:HEADER]))
        if client is not None:
            return self._hand_over(client, (datagram,), address, now)
        return self._greet(datagram, address, now)

    def _hand_over(
        self, client: _Client, items: Sequence[Item], address: Hashable, now: float
    ) -> list[Addressed]:
        return self._taken(client, client.session.receive(items, now), address, now)

    def _taken(self, client: _Client, step: Step, address: Hashable, now: float) -> list[Addressed]:
        """What follows from what a client's session made of datagrams."""
        if step.authentic and client.address != address:
            self._move(client, address)
        if not step.wire and not step.events:
            return [client.addressed(step)] if step.frames else []
        return [self._after(client, step, now)]

    def _move(self, client: _Client, address: Hashable) -> None:
        """An authentic data packet came from a new address: the client is there now."""
        self._unlist(client)
        client.address = address
        self._list(client)

    def _list(self, client: _Client) -> None:
        if client.stream:
            self._by_connection[client.address] = client
            return
        self._by_address[client.address] = client
        if client.remote is not None:
            self._by_session[client.address, client.remote] = client

    def _unlist(self, client: _Client) -> None:
        if client.stream:
            if self._by_connection.get(client.address) is client:
                del self._by_connection[client.address]
            return
        if self._by_address.get(client.address) is client:
            del self._by_address[client.address]
        if client.remote is not None and self._by_session.get((client.address, client.remote)) is client:
            del self._by_session[client.address, client.remote]

    # Clients come and go.

    def _greet(self, datagram: bytes, address: Hashable, now: float) -> list[Addressed]:
        try:
            greeted = self._cookies.greet(datagram, address, now, self._wall(now))
            if not isinstance(greeted, Proven):
                # Counted only now, so that nobody without the wrapping's key uses it up.
                if not self._initial.allows(now):
                    raise ProtocolError("more resets than --connect-freq-initial")
                return [Addressed(None, address, Step((greeted,)))]
            client, steps = self._admit_to_handshake(address, greeted, now)
        except UnknownSession as error:
            self.drops[str(error)] += 1
            return self._notice(address, len(datagram), now)
        except ProtocolError as error:
            self.drops[str(error)] += 1
            return []
        self._initial.give_back()
        steps.append(self._after(client, client.session.connected(now), now))
        steps += self._hand_over(client, (datagram,), address, now)
        return [step for step in steps if step.step is not NOTHING]

    def _admit_to_handshake(
        self, address: Hashable, proven: Proven | None, now: float
    ) -> tuple[_Client, list[Addressed]]:
        """A new client, and what becomes of the one that made room for it; `ProtocolError`.

        One that has `proven` its address is one over UDP.
        """
        if not self._frequency.allows(now):
            raise ProtocolError("more connections than --connect-freq")
        if len(self._clients) >= self._max_clients:
            self.turned_away = address
            steps = self._make_room(now)
            self.turned_away = None
        else:
            steps = []
        number = next(n for n in range(len(self._clients) + 1) if n not in self._clients)
        settings = replace(self._stream_settings if proven is None else self._settings, peer_id=number)
        if proven is None:
            session = TlsSession(settings, self.context, self._wall)
        else:
            # Both ends' packet ids went on by one with the resets that were not kept.
            wrapping = Wrapping(proven.codec, self._wall, first=1)
            session = TlsSession(
                settings,
                self.context,
                self._wall,
                local=proven.local,
                remote=proven.remote,
                wrapping=wrapping,
                material=proven.material,
            )
        session.trace = lambda text: self.trace(address, text)
        remote = None if proven is None else proven.remote
        client = _Client(number, address, session, remote, now, stream=proven is None)
        self._clients[number] = client
        self._list(client)
        return client, steps

    def _make_room(self, now: float) -> list[Addressed]:
        """End whoever is silent longest or, where nobody is, whoever takes too long to shake hands."""
        strangers = [
            client
            for client in self._clients.values()
            if not client.session.complete
            and (not client.session.spoken or now - client.began > HANDSHAKE_SECONDS)
        ]
        if not strangers:
            raise ProtocolError("more clients than --max-clients")
        last = min(strangers, key=lambda client: client.session.spoken)
        self.drops["replaced by a newer connection"] += 1
        step = last.session.close(now)
        return [self._after(last, Step(step.wire, (), (Restart("a newer client took its place"),)), now)]

    def opened(self, address: Hashable, now: float) -> list[Addressed]:
        """A client has connected over TCP; nothing if there are too many."""
        try:
            client, steps = self._admit_to_handshake(address, None, now)
        except ProtocolError as error:
            self.drops[str(error)] += 1
            return []
        return [*steps, self._after(client, client.session.connected(now), now)]

    def closed(self, address: Hashable) -> int | None:
        """A TCP connection has ended: the number of its client, which is gone, if it had one."""
        client = self._by_connection.get(address)
        if client is None:
            return None
        self._forget(client)
        return client.number

    def admit(self, client: int, options: Sequence[str], now: float) -> list[Addressed]:
        """Take the client that is `Joining` and push it these options; `KeyError` for one that is gone.

        To one that renews its keys they are further options.

        Unless `duplicate_cn`, others with its common name end here. Raises `ValueError` for an option that
        cannot be pushed.
        """
        found = self._clients[client]
        step = found.session.admit(options, now)
        steps = []
        if not found.joined and found.common_name and not self._duplicate_cn:
            twins = [c for c in self._clients.values() if c.joined and c.common_name == found.common_name]
            for twin in twins:
                left = twin.session.close(now)
                event = Restart(f"'{twin.common_name}' has connected again")
                steps.append(self._after(twin, Step(left.wire, (), (event,)), now))
        found.joined = True
        return [*steps, self._after(found, step, now)]

    def refuse(self, client: int, reason: str, now: float) -> Addressed:
        """Refuse the client that is `Joining`; `KeyError` for one that is gone."""
        found = self._clients[client]
        return self._after(found, found.session.refuse(reason, now), now)

    def kick(self, client: int, reason: str, now: float, *, again: bool = False) -> Addressed:
        """End one client's session; `KeyError` for one that is gone.

        With `again` it is told to restart. Not so where another has taken its place: the two would throw
        each other out for ever.
        """
        found = self._clients[client]
        left = found.session.dismiss(now) if again else found.session.close(now)
        return self._after(found, Step(left.wire, (), (Restart(reason),)), now)

    def push_update(self, client: int, options: Sequence[str], now: float) -> Addressed | None:
        """Change what one client was pushed (`TlsSession.push_update`); `KeyError` for one that is gone."""
        found = self._clients[client]
        step = found.session.push_update(options, now)
        return None if step is None else self._after(found, step, now)

    def close(self, now: float) -> list[Addressed]:
        """The server ends: what there is to say to its clients."""
        steps = [client.addressed(client.session.close(now)) for client in self._clients.values()]
        self._clients.clear()
        self._by_address.clear()
        self._by_connection.clear()
        self._by_session.clear()
        return [step for step in steps if step.step.wire]

    def _forget(self, client: _Client) -> None:
        if self._clients.get(client.number) is client:
            del self._clients[client.number]
            self.drops.update(client.session.drops)
            self._handshakes += client.session.handshakes
        self._unlist(client)
        if not client.stream:
            self._notices.known(client.address)

    # Time.

    def tick(self, now: float) -> list[Addressed]:
        """What time asks for, of every client that is due."""
        steps = []
        while self._due and self._due[0][0] <= now:
            at, number = heapq.heappop(self._due)
            client = self._clients.get(number)
            if client is None or client.due != at:
                continue  # a client that is gone, or that was due earlier since
            client.due = None
            step = client.session.tick(now)
            addressed = self._after(client, step, now)
            if step is not NOTHING:
                steps.append(addressed)
        return steps

    def deadline(self) -> float | None:
        """When `tick` has something to do."""
        while self._due:
            at, number = self._due[0]
            client = self._clients.get(number)
            if client is not None and client.due == at:
                return at
            heapq.heappop(self._due)
        return None

    def _tidy(self) -> None:
        """Take out of the timetable what clients left there that are gone, or due earlier by now."""
        self._due = [(c.due, c.number) for c in self._clients.values() if c.due is not None]
        heapq.heapify(self._due)

    def _after(self, client: _Client, step: Step, now: float) -> Addressed:
        """Draw the consequences of a client's step."""
        for event in step.events:
            if isinstance(event, Joining) and not event.renewed:
                client.common_name = self.name(event)
            elif isinstance(event, Restart | Exit):
                self._forget(client)
        due = client.session.deadline()
        if due is not None and (client.due is None or due < client.due):
            client.due = due
            heapq.heappush(self._due, (due, client.number))
            if len(self._due) > DUE_EACH * (len(self._clients) + 1):
                self._tidy()
        return client.addressed(step)


def _by_peer(first: int, packets: Run | list[Frame]) -> list[tuple[int, Sequence[Item]]]:
    """Data packets in their order, those in a row that name the same peer together, with its number."""
    if first >> 3 == DATA_V1:
        return [(UNDEFINED_PEER, (packets,) if isinstance(packets, Run) else packets)]
    if isinstance(packets, Run):
        data, size = packets
        if all(len(set(data[place::size])) == 1 for place in range(1, PEER)):
            return [(_peer(data), (packets,))]
    singly: Sequence[Frame] = packets.pieces() if isinstance(packets, Run) else packets
    return [(peer, list(group)) for peer, group in groupby(singly, _peer)]


def _peer(packet: Frame) -> int:
    """The peer that a P_DATA_V2 packet names."""
    return int.from_bytes(packet[1:PEER], "big") if len(packet) >= PEER else UNDEFINED_PEER

"""The server: any number of remote machines on one Ethernet, or in one IP network, through one port.

The shell around `tmelink.openvpn.server.server`: owns the sockets, the clock and the files. Who may join is
`tmelink.elements.openvpn.authentication`'s, where frames go `tmelink.elements.openvpn.server_bridge`'s and
`tmelink.elements.openvpn.server_router`'.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import logging
import socket
from collections import Counter
from collections.abc import Coroutine, Hashable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

from tmelink import frame, reasons
from tmelink.element import Claim, Port
from tmelink.elements.openvpn import shared_ports
from tmelink.elements.openvpn.authentication import Authentication, Refused
from tmelink.elements.openvpn.base import OpenvpnElement
from tmelink.elements.openvpn.clients import Clients, ClientState, Fabric
from tmelink.elements.openvpn.details import (
    ClientDetails,
    ServerDetails,
    in_wall_time,
    server_snapshot,
    wire_bytes,
)
from tmelink.elements.openvpn.listeners import Listeners
from tmelink.elements.openvpn.password_checks import PasswordChecks
from tmelink.elements.openvpn.prompts import answers
from tmelink.elements.openvpn.server_bridge import ServerBridge
from tmelink.elements.openvpn.server_router import ServerRouter
from tmelink.elements.openvpn.sessions import Files, longest_super_frame, tls_parts, tls_settings, wall_clock
from tmelink.errors import ElementError, PortError
from tmelink.frame import Burst, Frame
from tmelink.openvpn.monitoring.status import Snapshot
from tmelink.openvpn.options.parse import Options
from tmelink.openvpn.server.server import Addressed, TlsServer
from tmelink.openvpn.session import Exit, Item, Joining, Notice, Restart, Up
from tmelink.openvpn.tls.push_messages import UPDATABLE, PushedChange
from tmelink.source import Word
from tmelink.timers import DeadlineTimer
from tmelink.transport import sockets
from tmelink.transport.datagrams import MAX_RUN, Address
from tmelink.transport.streams import Stream


class Server(OpenvpnElement):
    """A server for any number of clients, tmelink's and OpenVPN's, on one port or several.

    With `--dev tap`, the server is a learning switch. Each client is a port of it, and so is each of the
    server's own connections. With `--client-to-client`, clients reach each other too. With `--dev tun`, a
    packet goes to the client that has its address. The arguments are OpenVPN's own options for `--mode
    server`. Any other word is the name of a `--config` file.

    `command SERVER clients` lists the clients. `command SERVER kick NAME` ends a client's session. `command
    SERVER table` shows which station is behind which client. `command SERVER push NAME OPTION` changes a
    pushed option while the client is up.
    """

    example = """\
sw0: tmelink/switch
vpn at sw0: tme/host/openvpn/socket/server --dev tap --client-to-client --keepalive 10 60 \\
    --server-bridge 10.0.77.1 255.255.255.0 10.0.77.100 10.0.77.199 \\
    --ca ca.crt --cert hub.crt --key hub.key
"""

    commands = ("clients", "kick", "push", "table")
    capacity = None

    def __init__(self, name: str, arguments: Options) -> None:
        super().__init__(name, arguments)
        options = arguments.server
        assert options is not None, "parse sees to it"
        self._options = options
        self.remote: Address | None = None
        self._fabric: Fabric
        if self._ip:
            self._fabric = ServerRouter(
                self._send,
                self._send_one,
                self.received,
                lambda text: self.log.warning("%s", text),
                client_to_client=options.client_to_client,
            )
        else:
            stale = options.stale_routes_check
            self._fabric = ServerBridge(
                f"{name} switch",
                self._send,
                self._send_one,
                self.received.drops,
                client_to_client=options.client_to_client,
                ageing=None if stale is None else max(1, stale[0]),
                quota=options.max_routes_per_client,
                vlans=options.vlans,
            )
        self._clients = Clients(self, self._fabric)
        self._streams: dict[Address, Stream] = {}
        self._passwords = PasswordChecks()
        self._wall = wall_clock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer = DeadlineTimer(self._tick)
        self._listeners = Listeners(self, self, self._accept, self._addresses)
        self._server: TlsServer | None = None
        self._authentication: Authentication | None = None

    @classmethod
    def misfits(cls, options: Options) -> Iterator[tuple[str, str]]:
        """A server has many clients, and must know each of them."""
        if options.server is None:
            hint = "add --server NETWORK NETMASK, or --mode server --tls-server"
            yield "these are options of a link, not of a server", hint
        elif options.server.verify_client_cert != "require" and options.server.user_table is None:
            hint = "add --auth-user-pass-table FILE, or leave out --verify-client-cert"
            yield "a client without a certificate could be anybody", hint
        elif options.server.username_as_common_name and options.server.user_table is None:
            hint = "add --auth-user-pass-table FILE"
            yield "without passwords every client could take any name", hint

    def claims(self) -> list[Claim]:
        """The ports, which a server does not share."""
        claims = [shared_ports.claim(own) for own in self._own_places()]
        return [claim for claim in claims if claim is not None]

    def _own_places(self) -> list[Options]:
        """The options for each address, port and protocol of its own."""
        alone = replace(self.arguments, float=False)
        places = self._options.locals
        return [replace(alone, local=host, lport=port, proto=proto) for host, port, proto in places] or [
            alone
        ]

    def port(self, words: Sequence[Word] = ()) -> Port:
        """A connection: any number on an Ethernet; one with --dev tun."""
        if self._ip and self.ports:
            raise PortError(
                f"{self.name} is already connected, and with --dev tun it takes only one connection"
            )
        port = super().port(words)
        self._fabric.add_machine(port)
        return port

    def longest(self, port: Port) -> int | None:
        """The size of a super-frame that becomes one run of datagrams, as of a link."""
        if not (self.segment and self.arguments.proto.startswith("udp")):
            return None
        return longest_super_frame(self.arguments, MAX_RUN)

    def session_drops(self) -> Iterable[Counter[str]]:
        """Of all clients together."""
        return () if self._server is None else (self._server.dropped(),)

    # Opening and closing

    def snapshot(self) -> Snapshot:
        """For OpenVPN's monitors."""
        return server_snapshot(self, self.details(), self.sent, self.received)

    def kill(self, client: str) -> int:
        """End the sessions of a name, or of an address outside with its port, as monitors ask; how many."""
        found = [each for each in self.details().clients if client in (each.name, each.address)]
        for each in found:
            self._end_session(each.number)
        return len(found)

    def signal(self, name: str) -> None:
        """What a monitor asks for: every session ends, and clients come again."""
        for number in list(self._clients):
            self._end_session(number)

    async def open(self) -> None:
        """Read keys and files, bind the port; raises `ElementError`."""
        self._refusals.open()
        self.poll_busily(True)
        arguments, options = self.arguments, self._options
        tls = arguments.tls
        assert tls is not None, "a server is one of TLS"
        self.refuse_undeployed()
        self.log_notes()
        files = Files(self.log)
        passphrase = (await answers(self.name, tls, files)).passphrase
        context, wrap = tls_parts(arguments, tls, files, passphrase, self._revocations)
        self._context = context
        if arguments.tls_crypt_v2 is not None and not arguments.tls_crypt_v2_force_cookie:
            self.log.info(
                "--tls-crypt-v2: clients of OpenVPN 2.5 and before cannot join, as with force-cookie"
            )
        self._authentication = Authentication(arguments, options, self.log)
        datagrams, streams = (
            replace(
                tls_settings(replace(arguments, proto=proto), tls, wrap),
                ask_password=options.user_table is not None,
            )
            for proto in ("udp", "tcp-server")
        )
        self._server = TlsServer(
            datagrams,
            context,
            self._wall,
            streams=streams,
            max_clients=options.max_clients,
            duplicate_cn=options.duplicate_cn,
            connect_freq=options.connect_freq or (0, 0),
            connect_freq_initial=options.connect_freq_initial,
            by_username=options.username_as_common_name,
        )
        self._server.trace = self._trace
        await self._fabric.open()
        await self._listeners.open(self._own_places())
        if self._options.pool_persist_seconds:
            self._spawn(self._keep_pool(self._options.pool_persist_seconds))
        await self._tunnel_network.reaching(None)
        await self.open_monitoring()

    async def close(self) -> None:
        """Notify the clients if the options ask for it, and release the port."""
        self.poll_busily(False)
        self._refusals.close()
        await self._revocations.close()
        await self._tunnel_network.close()
        await self.close_monitoring()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._server is not None:
            for _client, where, step, over_tcp in self._server.close(self._now):
                self._transmit(step.wire, cast(Address, where), stream=over_tcp)
            self.sent.drops.update(reasons.outgoing(self._server.drops))
            self.received.drops.update(reasons.incoming(self._server.drops))
            self._server = None
        self._timer.cancel()
        for stream in self._streams.values():
            stream.close()
        self._streams.clear()
        self._listeners.close()
        for client in list(self._clients):
            self._remove(client)
        if self._authentication is not None:
            self._authentication.save()
            self._authentication = None
        await self._fabric.close()

    async def _keep_pool(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            if self._authentication is not None:
                self._authentication.save()

    # Frames

    def receive(self, port: Port, burst: Burst) -> None:
        """Frames from the machine."""
        if self._server is None:
            port.drop("not open", len(burst.frames))
        else:
            self._fabric.from_machine(port, burst)

    def receive_one(self, port: Port, frame: Frame) -> None:
        """A frame from the machine that comes alone."""
        if self._server is None:
            port.drop("not open")
        else:
            self._fabric.one_from_machine(port, frame)

    def _send_one(self, client: int, frame: Frame) -> None:
        """A frame for a client that goes alone."""
        sealed = None if self._server is None else self._server.seal_one(client, frame, self._now)
        if sealed is None:
            self._send(client, (frame,))
            return
        wire, address = sealed
        self._listeners.send(wire, cast(Address, address))
        if (known := self._clients.get(client)) is not None:
            known.bytes_sent += wire_bytes(wire)

    def _send(self, client: int, items: Sequence[Item]) -> None:
        """Frames for a client."""
        server = self._server
        if server is None or not items:
            return
        try:
            addressed = server.send(client, items, self._now)
        except KeyError:
            self.received.drops["client gone"] += frame.count(items)
            return
        self._carry_out((addressed,))

    # The wire

    def heard_stranger(self, address: Address) -> None:
        """Whoever sends may become a client."""

    def knows(self, options: Options, datagram: Frame) -> bool:
        """Do nothing: a server has its port to itself."""
        return False

    def arrived(self, items: list[Item], address: Address) -> bool:
        """Take datagrams over UDP."""
        assert self._server is not None, "the socket is closed with it"
        self._take(self._server.receive(items, address, self._now), items)
        return False

    def arrived_one(self, datagram: Frame, address: Address) -> None:
        """Take a datagram over UDP."""
        assert self._server is not None, "the socket is closed with it"
        opened = self._server.open_one(datagram, address, self._now)
        if isinstance(opened, list):
            self._take(opened, [datagram])
            return
        client, frame = opened
        self._listeners.remember(address)
        if (known := self._clients.get(client)) is not None:
            known.bytes_received += len(datagram)
        self._fabric.one_from_client(client, frame)

    def _take(self, steps: Sequence[Addressed], items: Sequence[Item]) -> None:
        """Carry out what follows from datagrams that came."""
        for client, *_ in steps[:1]:
            if client is not None and (known := self._clients.get(client)) is not None:
                known.bytes_received += wire_bytes(items)
        self._carry_out(steps)

    def _accept(self, sock: socket.socket, address: Address, head: bytes) -> None:
        """Take a TCP connection, from which `head` was read before."""
        assert self._server is not None, "the socket is closed with it"
        opened = self._server.opened(address, self._now)
        if not opened:
            self._carry_out(())
            sock.close()
            return
        stream = Stream(
            sock,
            lambda items: self._receive_from_stream(items, address),
            lambda reason: self._lose_stream(address, reason),
            # A slow client must not stop all others; what it cannot take in time is dropped.
            lambda held: None,
            self.sent,
            self.received,
            limit=self.stream_limit,
        )
        self._streams[address] = stream
        self._carry_out(opened)
        stream.begin(head)

    def _receive_from_stream(self, items: Sequence[Item], address: Address) -> None:
        if self._server is not None:
            self._take(self._server.receive_stream(items, address, self._now), items)

    def _lose_stream(self, address: Address, reason: str) -> None:
        self._streams.pop(address, None)
        if self._server is not None and (client := self._server.closed(address)) is not None:
            self._remove(client, f"connection with {sockets.show(address)} ended: {reason}")

    def _transmit(self, items: Sequence[Item], address: Address, *, stream: bool) -> None:
        if not stream:
            self._listeners.send(items, address)
        elif (connection := self._streams.get(address)) is not None:
            connection.send(items)

    def _addresses(self) -> list[Address]:
        """Where the clients are."""
        assert self._server is not None, "clients are there only while it is open"
        return [cast(Address, self._server.address(client)) for client in self._clients]

    # Clients

    @property
    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _carry_out(self, steps: Sequence[Addressed]) -> None:
        """Send, forward and note what the steps ask for, and set the timer."""
        if self._server is not None and self._server.turned_away is not None:
            where, self._server.turned_away = self._server.turned_away, None
            most = self._options.max_clients
            text = "a client at %s is refused: %d are connected, the most that --max-clients allows"
            self.log.warning(text, sockets.show(cast(Address, where)), most)
        for client, where, step, stream in steps:
            address = cast(Address, where)
            if step.wire:
                self._transmit(step.wire, address, stream=stream)
            if client is None:
                continue
            if not stream:
                self._listeners.remember(address)
            if step.wire and (known := self._clients.get(client)) is not None:
                known.bytes_sent += wire_bytes(step.wire)
            if step.frames:
                self._fabric.from_client(client, cast("Sequence[Item]", step.frames))
            for event in step.events:
                if isinstance(event, Joining):
                    self._spawn(self._decide(client, address, event))
                elif isinstance(event, Up):
                    self._clients.came_up(client, address, event.detail)
                elif isinstance(event, Notice):
                    self.log.log(_LEVELS[event.level], "%s: %s", sockets.show(address), event.text)
                elif isinstance(event, Restart | Exit):
                    self._disconnect(client, address, event.reason, stream=stream)
        if self._server is not None:
            self._timer.arm(self._server.deadline())

    def _trace(self, address: Hashable, text: str) -> None:
        self.log.debug("%s: %s", sockets.show(cast(Address, address)), text)

    async def _decide(self, client: int, address: Address, joining: Joining) -> None:
        """Admit a client that has authenticated, or refuse it."""
        server, authentication = self._server, self._authentication
        assert server is not None
        assert authentication is not None
        # A client may leave at any moment, and another one may get its number.
        with contextlib.suppress(KeyError):
            session = server.session(client)
            known = self._clients.get(client)
            joining = _as_known(joining, known)
            name = server.name(joining) if known is None or not known.locked else known.name
            try:
                last = None if known is None else known.token
                token = authentication.shown_token(joining, self._wall(self._now), last)
                if token is None and self._options.user_table:
                    fits = await self._passwords.judge(
                        address[0], joining.username, functools.partial(authentication.password_fits, joining)
                    )
                    if server.session(client) is not session:
                        return
                    if not fits:
                        raise Refused("wrong user or password")
                options: list[str] = []
                if client not in self._clients:
                    self._lend_addresses(client, name, joining.username)
                    options += self._clients[client].welcome.options
                elif self._clients[client].name != name:
                    raise Refused("it came back under another name")
                known = self._clients[client]
                if joining.username not in (known.username, known.given_username):
                    raise Refused("it logged in as another user")
                given = authentication.new_token(known.username, self._wall(self._now), known.token or token)
                if given is not None:
                    known.token = given[0]
                    if known.locked:
                        options.append(
                            f"auth-token-user {base64.b64encode(known.username.encode()).decode()}"
                        )
                    options.append(given[1])
                self._carry_out(server.admit(client, options, self._now))
            except (Refused, ValueError) as error:
                self.log.warning("client '%s' at %s is refused: %s", name, sockets.show(address), error)
                self._carry_out((server.refuse(client, str(error), self._now),))

    def _lend_addresses(self, client: int, name: str, username: str) -> None:
        """Lend a client its addresses; one of its name that is here already leaves them to it."""
        server, authentication = self._server, self._authentication
        assert server is not None
        assert authentication is not None
        if name and not self._options.duplicate_cn:
            for other in self._clients.named(name):
                self._carry_out((server.kick(other, f"'{name}' has connected again", self._now),))
        welcome, lease = authentication.welcome(name)
        username, given = welcome.username or username, username
        self._clients[client] = ClientState(name, welcome, lease, username=username, given_username=given)

    def _disconnect(self, client: int, address: Address, reason: str, *, stream: bool) -> None:
        self._remove(client, reason, address)
        connection = self._streams.pop(address, None) if stream else None
        if connection is not None:
            connection.close()

    def _remove(self, client: int, reason: str = "", address: Address | None = None) -> None:
        """Forget a client, and take its addresses back; a reason is logged."""
        lease = self._clients.remove(client, reason, address)
        if lease is not None and self._authentication is not None:
            self._authentication.give_back(lease, self._now)

    def details(self) -> ServerDetails:
        """The connected clients by name, and what crossed the wire for each."""
        options, stations = self.arguments, self._fabric.stations()
        here = [self._client_details(number, stations.get(number, ())) for number in sorted(self._clients)]
        handshakes = 0 if self._server is None else self._server.handshakes()
        queued = sum(stream.queued for stream in self._streams.values())
        mtu = options.sizes.tun_mtu
        return ServerDetails(options.proto, options.dev_type, mtu, tuple(here), handshakes, queued)

    def _client_details(self, number: int, stations: Sequence[bytes]) -> ClientDetails:
        known, server = self._clients[number], self._server
        assert server is not None, "clients are there only while it is open"
        tunnel_addresses = (known.welcome.address, known.welcome.address6)
        security = server.session(number).security()
        return ClientDetails(
            known.name,
            known.username,
            sockets.show(cast(Address, server.address(number))),
            tuple(address for address in tunnel_addresses if address is not None),
            tuple(stations),
            known.since,
            known.bytes_received,
            known.bytes_sent,
            security.cipher,
            number,
            in_wall_time(security.keys_since, self._now),
            security.round_trip,
        )

    async def command(self, words: Sequence[str]) -> str:
        """`clients` lists clients, `kick NAME` ends sessions, `table` shows the switch's stations.

        `push NAME OPTION` changes an option that was pushed, or takes it back (`-OPTION`), while the client
        is up (PUSH_UPDATE, OpenVPN 2.7); NAME `*` is for all.
        """
        match list(words):
            case ["clients"]:
                return "\n".join([f"{len(self._clients)} clients", *map(self._row, sorted(self._clients))])
            case ["kick", name]:
                return self._kick(name)
            case ["push", name, *option] if option:
                return self._push(name, " ".join(option))
            case ["table"] if isinstance(self._fabric, ServerBridge):
                return await self._fabric.switch.command(words)
        known = "clients, kick NAME, push NAME OPTION" + ("" if self._ip else ", table")
        raise ElementError(f"{self.name} knows the commands: {known}")

    def _row(self, client: int) -> str:
        known = self._clients[client]
        assert self._server is not None, "clients are there only while it is open"
        where = sockets.show(cast(Address, self._server.address(client)))
        return "  ".join(filter(None, (known.name or "(no name)", where, known.addresses)))

    def _push(self, name: str, option: str) -> str:
        change = PushedChange(option.removeprefix("-"), option.startswith("-"))
        if change.name not in UPDATABLE or change.name.startswith("ifconfig"):
            known = ", ".join(sorted(each for each in UPDATABLE if not each.startswith("ifconfig")))
            raise ElementError(
                f"'{change.name}' cannot be pushed to connected clients; only these can: {known}"
            )
        found = [number for number, known in self._clients.items() if name in ("*", known.name) and known.up]
        if not found or self._server is None:
            raise ElementError(
                "no client is connected" if name == "*" else f"no client '{name}' is connected"
            )
        try:
            steps = [self._server.push_update(client, [option], self._now) for client in found]
        except ValueError as error:
            raise ElementError(str(error)) from None
        pushed = [step for step in steps if step is not None]
        self._carry_out(pushed)
        rest = (
            f"; {len(steps) - len(pushed)} do not accept it, since they are too old"
            if len(pushed) < len(steps)
            else ""
        )
        return f"pushed to {len(pushed)} of {len(steps)} clients{rest}"

    def _kick(self, name: str) -> str:
        found = self._clients.named(name)
        if not found or self._server is None:
            raise ElementError(f"no client '{name}' is connected")
        for client in found:
            self._end_session(client)
        return f"'{name}' was kicked"

    def _end_session(self, client: int) -> None:
        """End a client's session; it may come again."""
        assert self._server is not None, "clients are there only while it is open"
        self._carry_out((self._server.kick(client, "kicked", self._now, again=True),))

    # Time

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _tick(self) -> None:
        if self._server is not None:
            self._carry_out(self._server.tick(self._now))


def _as_known(joining: Joining, known: ClientState | None) -> Joining:
    """A client that renews its keys may call itself as it first did; its token is the overridden user's."""
    if known is None or not known.locked or joining.username not in (known.username, known.given_username):
        return joining
    return replace(joining, username=known.username)


_LEVELS = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}

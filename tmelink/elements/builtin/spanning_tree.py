"""The rapid spanning tree of one bridge: which of its ports forward (IEEE 802.1D-2004, clause 17).

The state machines of the standard by their names, as rules that are applied until none changes anything. It
has no clock and no ports of a switch: `tick` is called once a second, `heard` for each message, and `sent`
holds what is to be said. A neighbour that speaks the older protocol alone is answered in that one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from tmelink.elements.builtin import bpdu
from tmelink.elements.builtin.bpdu import Bpdu, ChangeNotice, Times, Vector

Role = Literal["disabled", "alternate", "backup", "root", "designated"]
Information = Literal["disabled", "aged", "mine", "received"]
Heard = Literal["better", "repeated", "worse", "answer", "other"]

PATH_COST: Final = 20_000
"""Of each connection, as of a gigabit Ethernet (table 17-3)."""

HELLO: Final = 2
"""Seconds between two messages of a designated port (table 17-1)."""

MIGRATE: Final = 3
"""Seconds in which one version is spoken before another is believed (table 17-1); and in which a port that
hears no bridge is taken for one that leads to machines alone."""

HOLD: Final = 6
"""Messages that a port may send in a second."""

_ADDRESS: Final = (1 << 48) - 1
_MOST_STEPS: Final = 1000
"""Rounds of rules for one event; a few are enough."""


NO_VECTOR: Final = Vector(0, 0, 0, 0)
NO_TIMES: Final = Times(0, 0, 0, 0)


class Sent(NamedTuple):
    """A message to send by a port."""

    port: int
    message: Bpdu | ChangeNotice


@dataclass(slots=True)
class TreePort:
    """One port of the bridge; names are those of clause 17.19. Times are whole seconds that are left."""

    number: int
    edge: bool
    oper_edge: bool
    role: Role = "disabled"
    selected_role: Role = "disabled"
    info: Information = "disabled"
    vector: Vector = NO_VECTOR
    times: Times = NO_TIMES
    own: Vector = NO_VECTOR
    """designatedPriority: what the bridge itself has to say there."""
    own_times: Times = NO_TIMES
    update: bool = False
    proposing: bool = False
    proposed: bool = False
    agree: bool = False
    agreed: bool = False
    sync: bool = False
    synced: bool = True
    reroot: bool = False
    disputed: bool = False
    learn: bool = False
    forward: bool = False
    rapid: bool = True
    """sendRSTP."""
    news: bool = False
    """newInfo: there is something to say."""
    change_told: bool = False
    """tcProp: a topology change of another port is to be said here."""
    active: bool = False
    """The topology change machine has seen it forward."""
    acknowledge: bool = False
    count: int = 0
    timers: dict[str, int] = field(default_factory=dict)

    def left(self, timer: str) -> int:
        """Seconds until a timer is over; 0 once it is."""
        return self.timers.get(timer, 0)


class SpanningTree:
    """The tree as the bridge `identifier` (priority and MAC address, 8 bytes as a number) sees it.

    `flush(port)` is called where stations behind a port are to be forgotten.
    """

    def __init__(self, identifier: int, forward_delay: int, flush: Callable[[int], None]) -> None:
        self.identifier = identifier
        self.ports: dict[int, TreePort] = {}
        self.sent: list[Sent] = []
        self._flush = flush
        self._own = Vector(identifier, 0, identifier, 0)
        self._own_times = Times(0, min(20, 2 * (forward_delay - 1)), HELLO, forward_delay)
        self.root, self.root_port = self._own, 0
        self._times = self._own_times

    # What happens

    def add(self, number: int, *, edge: bool) -> None:
        """A port is there, from 1 on; an `edge` leads to machines alone until a bridge is heard there."""
        port = self.ports[number] = TreePort(number, edge, edge)
        port.info = "aged"
        port.timers = {"migrate": MIGRATE, "edge": MIGRATE, "hello": HELLO, "forward": self._delay()}
        self._select()
        self._settle()

    def remove(self, number: int) -> None:
        """A port is gone."""
        port = self.ports.pop(number, None)
        if port is not None:
            if port.forward and not port.oper_edge:
                self._flush(number)
            self._select()
            self._settle()

    def tick(self) -> None:
        """A second has passed."""
        for port in self.ports.values():
            port.timers = {name: left - 1 for name, left in port.timers.items() if left > 1}
            port.count = max(0, port.count - 1)
            if not port.left("hello"):
                port.timers["hello"] = HELLO if port.own_times.hello < 1 else round(port.own_times.hello)
                port.news = port.news or port.role == "designated"
                port.news = port.news or (port.role == "root" and port.left("change") > 0)
            if port.info == "received" and not port.left("information"):
                port.info = "aged"
                self._select()
            # Only those who hear no bridge in the time of a proposal are edges.
            if not port.left("edge") and port.proposing and port.rapid and not port.oper_edge:
                port.oper_edge = True
        self._settle()

    def heard(self, number: int, message: Bpdu | ChangeNotice) -> None:
        """A bridge's message arrived at a port."""
        port = self.ports.get(number)
        if port is None:
            return
        port.oper_edge = False
        port.timers["edge"] = MIGRATE
        self._migrate(port, rapid=isinstance(message, Bpdu) and message.rapid)
        if isinstance(message, ChangeNotice):
            if port.active:
                port.acknowledge = port.role == "designated"
                self._changed(port)
                self._tell(port)
        else:
            self._take(port, message)
        self._settle()

    def forwards(self, number: int) -> bool:
        """Whether frames pass a port."""
        port = self.ports.get(number)
        return port is not None and port.forward

    # Reading (PPM, PIM)

    def _migrate(self, port: TreePort, *, rapid: bool) -> None:
        if port.left("migrate") or port.rapid == rapid:
            return
        port.rapid, port.news = rapid, True
        port.timers["migrate"] = MIGRATE

    def _take(self, port: TreePort, message: Bpdu) -> None:
        heard = self._judge(port, message)
        agreement = message.rapid and bool(message.flags & bpdu.AGREEMENT)
        if heard in ("better", "repeated"):
            if heard == "better":
                port.agreed = port.proposing = False
            if message.flags & bpdu.PROPOSAL and message.rapid:
                port.proposed = True
            if heard == "better":
                port.agree = port.agree and port.info == "received" and message.vector <= port.vector
                port.synced = port.synced and port.agreed
                port.vector, port.times = message.vector, message.times
                port.info = "received"
            fresh = message.times.age + 1 <= message.times.max_age
            port.timers["information"] = round(3 * message.times.hello) if fresh else 0
            if heard == "better":
                self._select()
        elif heard == "worse":
            if message.rapid and message.flags & bpdu.LEARNING:
                port.disputed, port.agreed = True, False
        elif heard == "answer":
            port.agreed = agreement
            port.proposing = port.proposing and not agreement
        if heard in ("better", "repeated", "answer") and port.active:
            if message.flags & bpdu.TOPOLOGY_CHANGE:
                self._changed(port)
            if message.flags & bpdu.CHANGE_ACKNOWLEDGED:
                port.timers.pop("change", None)

    def _judge(self, port: TreePort, message: Bpdu) -> Heard:
        """rcvInfo()."""
        if message.role == "designated":
            same_speaker = (message.vector.bridge & _ADDRESS, message.vector.port & 0xFFF) == (
                port.vector.bridge & _ADDRESS,
                port.vector.port & 0xFFF,
            )
            if message.vector == port.vector:
                return "repeated" if message.times == port.times else "better"
            return "better" if message.vector < port.vector or same_speaker else "worse"
        return "answer" if message.role != "unknown" and message.vector >= port.vector else "other"

    # Roles (PRS)

    def _select(self) -> None:
        """updtRolesTree(): the best path to the root, and what each port is for."""
        paths = [
            (port.vector._replace(cost=port.vector.cost + PATH_COST), _identifier(port), port)
            for port in self.ports.values()
            if port.info == "received" and port.vector.bridge & _ADDRESS != self.identifier & _ADDRESS
        ]
        best = min(paths, key=lambda path: path[:2], default=None)
        if best is not None and best[0] < self._own:
            self.root, self.root_port = best[0], best[2].number
            self._times = best[2].times._replace(age=best[2].times.age + 1)
        else:
            self.root, self.root_port, self._times = self._own, 0, self._own_times
        for port in self.ports.values():
            port.own = Vector(self.root.root, self.root.cost, self.identifier, _identifier(port))
            port.own_times = self._times
            port.selected_role, port.update = self._role(port)

    def _role(self, port: TreePort) -> tuple[Role, bool]:
        if port.info != "received":
            changed = port.vector != port.own or port.times != port.own_times
            return "designated", port.info == "aged" or changed
        if port.number == self.root_port:
            return "root", False
        if port.own < port.vector:
            return "designated", True
        mine = port.vector.bridge & _ADDRESS == self.identifier & _ADDRESS
        return ("backup" if mine else "alternate"), False

    # Rules, until none applies

    def _settle(self) -> None:
        for _ in range(_MOST_STEPS):
            steps = [self._step(port) for port in self.ports.values()]
            if not any(steps):
                break
        for port in self.ports.values():
            self._transmit(port)

    def _step(self, port: TreePort) -> bool:
        """Apply what applies to a port; whether anything did."""
        if port.update:
            # PIM: UPDATE
            port.proposing = port.proposed = False
            port.agreed = port.agreed and port.info == "mine" and port.own <= port.vector
            port.synced = port.synced and port.agreed
            port.vector, port.times = port.own, port.own_times
            port.info, port.update, port.news = "mine", False, True
            return True
        if port.role != port.selected_role:
            port.role = port.selected_role
            if port.role in ("alternate", "backup"):
                port.learn = port.forward = False
                port.timers["forward"] = self._delay()
                port.timers.pop("recent root", None)
                port.synced, port.sync, port.reroot = True, False, False
            return True
        if self._change(port):
            return True
        if port.role == "root":
            return self._root(port)
        if port.role == "designated":
            return self._designated(port)
        return self._blocked(port)

    def _agrees(self, port: TreePort) -> bool:
        """Answer a proposal once all other ports are in step."""
        if port.proposed and not port.agree:
            for each in self.ports.values():
                each.sync = True
            port.proposed = False
            return True
        in_step = all(each.synced or each is port for each in self.ports.values() if each.role != "root")
        if (in_step and not port.agree) or (port.proposed and port.agree):
            port.proposed = port.sync = False
            port.agree = port.news = True
            return True
        return False

    def _blocked(self, port: TreePort) -> bool:
        if port.role == "backup":
            port.timers["recent backup"] = 2 * HELLO
        port.timers["forward"] = self._delay()
        if port.sync or port.reroot or not port.synced:
            port.sync = port.reroot = False
            port.synced = True
            return True
        return port.role == "alternate" and self._agrees(port)

    def _root(self, port: TreePort) -> bool:
        port.timers["recent root"] = self._delay()
        if self._agrees(port):
            return True
        if not port.forward and not port.reroot:
            for each in self.ports.values():
                each.reroot = True
            return True
        others = [each for each in self.ports.values() if each is not port]
        rerooted = port.rapid and not port.left("recent backup")
        rerooted = rerooted and not any(each.left("recent root") for each in others)
        if (rerooted or not port.left("forward")) and not port.forward:
            return self._advance(port)
        if port.reroot and port.forward:
            port.reroot = False
            return True
        return False

    def _designated(self, port: TreePort) -> bool:
        if not (port.forward or port.agreed or port.proposing or port.oper_edge):
            port.proposing = port.news = True
            port.timers["edge"] = MIGRATE
            return True
        quiet = not port.learn and not port.forward
        if ((quiet or port.agreed or port.oper_edge) and not port.synced) or (port.sync and port.synced):
            port.timers.pop("recent root", None)
            port.synced, port.sync = True, False
            return True
        recent = port.left("recent root")
        if port.reroot and not recent:
            port.reroot = False
            return True
        in_doubt = (port.sync and not port.synced) or (port.reroot and recent) or port.disputed
        if in_doubt and not port.oper_edge and not quiet:
            port.learn = port.forward = port.disputed = False
            port.timers["forward"] = self._delay()
            return True
        ready = not port.left("forward") or port.agreed or port.oper_edge
        if ready and not port.forward and not (port.reroot and recent) and not port.sync:
            return self._advance(port)
        return False

    def _advance(self, port: TreePort) -> bool:
        """To the next of discarding, learning and forwarding."""
        if not port.learn:
            port.learn = True
            port.timers["forward"] = self._delay()
        else:
            port.forward = True
            port.timers.pop("forward", None)
            port.agreed = port.rapid if port.role == "designated" else port.agreed
        return True

    # Changes of the topology (TCM)

    def _change(self, port: TreePort) -> bool:
        if port.active != (port.forward and not port.oper_edge):
            port.active = not port.active
            if port.active:
                self._changed(port)
                self._tell(port)
            elif not port.forward:
                self._flush(port.number)
                port.timers.pop("change", None)
            return True
        if port.change_told:
            port.change_told = False
            if port.active:
                self._tell(port)
                self._flush(port.number)
            return True
        return False

    def _changed(self, port: TreePort) -> None:
        """setTcPropTree(): stations behind all other ports may be elsewhere."""
        for other in self.ports.values():
            if other is not port:
                other.change_told = True

    def _tell(self, port: TreePort) -> None:
        """newTcWhile()."""
        if not port.left("change"):
            times = port.own_times
            lasts = times.hello + 1 if port.rapid else times.max_age + times.forward_delay
            port.timers["change"] = round(lasts)
            port.news = True

    # Speaking (PTX)

    def _transmit(self, port: TreePort) -> None:
        if not port.news or port.count >= HOLD:
            return
        if not port.rapid and port.role == "root":
            message: Bpdu | ChangeNotice = ChangeNotice()
        elif port.rapid or port.role == "designated":
            message = self._message(port)
            port.acknowledge = False
        else:
            port.news = False
            return
        port.news = False
        port.count += 1
        self.sent.append(Sent(port.number, message))

    def _message(self, port: TreePort) -> Bpdu:
        flags = bpdu.TOPOLOGY_CHANGE if port.left("change") else 0
        if not port.rapid:
            flags |= bpdu.CHANGE_ACKNOWLEDGED if port.acknowledge else 0
            return Bpdu(False, flags, port.own, port.own_times)
        blocked = port.role not in ("root", "designated")
        flags |= bpdu.role_flags("alternate" if blocked else "root" if port.role == "root" else "designated")
        flags |= (bpdu.PROPOSAL if port.proposing else 0) | (bpdu.AGREEMENT if port.agree else 0)
        flags |= (bpdu.LEARNING if port.learn else 0) | (bpdu.FORWARDING if port.forward else 0)
        return Bpdu(True, flags, port.own, port.own_times)

    def _delay(self) -> int:
        return round(self._times.forward_delay)


def _identifier(port: TreePort) -> int:
    """Priority and number of a port, as messages have them."""
    return 0x8000 | port.number & 0xFFF

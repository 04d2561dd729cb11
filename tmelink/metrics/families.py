"""A lab's numbers as metric families: gathered when somebody asks, from what the elements know already.

Names follow Prometheus' conventions (https://prometheus.io/docs/practices/naming/): base units, `_total` for
counters, times as seconds since the epoch. Knows the lab and prometheus-client's values, and no HTTP.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from importlib.metadata import version

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric

from tmelink.control.control import Control
from tmelink.element import Element, Port
from tmelink.elements.openvpn.details import LinkDetails, ServerDetails
from tmelink.frame import Counters
from tmelink.inline.impairment import stage_of

ELEMENTS_A_TURN = 32
"""Elements read before the loop returns to traffic."""


class Families:
    """Fills the families of one scrape."""

    def __init__(self) -> None:
        self._families: list[Metric] = []
        element = ["element"]
        crossing = ["source", "destination"]
        self.info = self._add(InfoMetricFamily("tmelink_lab", "The lab and the program that runs it."))
        self.started = self._gauge("lab_start_time_seconds", "When the lab was started.", [])
        self.up = self._gauge(
            "element_up", "Whether what the element leads to can be reached.", ["element", "module"]
        )
        self.since = self._gauge(
            "element_state_change_time_seconds", "When the element's state changed last.", element
        )
        self.frames = self._counter("connection_frames", "Frames sent into a connection.", crossing)
        self.bytes = self._counter("connection_bytes", "Bytes of frames sent into a connection.", crossing)
        self.dropped = self._counter(
            "connection_dropped_frames", "Frames that a connection dropped.", [*crossing, "reason"]
        )
        self.waiting = self._gauge(
            "connection_waiting_frames", "Frames that an impairment holds back.", crossing
        )
        part = ["element", "counter"]
        self.element_frames = self._counter("element_frames", "Frames that the element itself counts.", part)
        self.element_bytes = self._counter("element_bytes", "Bytes that the element itself counts.", part)
        self.element_dropped = self._counter(
            "element_dropped_frames", "Frames that the element dropped.", [*part, "reason"]
        )
        self.handshakes = self._counter(
            "openvpn_handshakes", "Key negotiations that were completed.", element
        )
        self.queued = self._gauge("openvpn_queued_bytes", "Bytes that wait for a TCP connection.", element)
        peer = ["element", "client"]
        self.keys = self._gauge(
            "openvpn_keys_created_time_seconds", "When the keys in use were negotiated.", peer
        )
        self.round_trip = self._gauge(
            "openvpn_round_trip_seconds", "The round trip to the peer, as the last handshake saw it.", peer
        )
        self.clients = self._gauge("openvpn_clients", "Clients that a server has.", element)
        self.lag = self._gauge(
            "event_loop_lag_seconds", "How long this scrape had to wait for the event loop.", []
        )

    def collect(self) -> Iterable[Metric]:
        """The families that have anything in them."""
        return [family for family in self._families if family.samples]

    def _add(self, family: InfoMetricFamily) -> InfoMetricFamily:
        self._families.append(family)
        return family

    def _gauge(self, name: str, text: str, labels: list[str]) -> GaugeMetricFamily:
        family = GaugeMetricFamily(f"tmelink_{name}", text, labels=labels)
        self._families.append(family)
        return family

    def _counter(self, name: str, text: str, labels: list[str]) -> CounterMetricFamily:
        family = CounterMetricFamily(f"tmelink_{name}", text, labels=labels)
        self._families.append(family)
        return family


async def gather(control: Control, lag: float) -> Families:
    """The numbers of a lab as they are; `lag` in seconds is what the caller has waited for the loop."""
    families = Families()
    families.info.add_metric(
        [],
        {
            "lab": control.name,
            "file": control.file,
            "host": control.host or "",
            "version": version("tmelink"),
        },
    )
    families.started.add_metric([], control.since)
    families.lag.add_metric([], lag)
    machine = control.lab.machine
    for number, (path, element) in enumerate(list(machine.elements.items()), 1):
        _element(families, element, machine.modules.get(path, ""))
        if number % ELEMENTS_A_TURN == 0:
            await asyncio.sleep(0)
    _connections(families, [port for pair in list(machine.connections) for port in dict.fromkeys(pair)])
    return families


def _element(families: Families, element: Element, module: str) -> None:
    name = element.name
    families.up.add_metric([name, module], element.state.up)
    families.since.add_metric([name], element.state.since)
    for counter, values in element.counters().items():
        families.element_frames.add_metric([name, counter], values.frames)
        families.element_bytes.add_metric([name, counter], values.bytes)
        for reason, count in values.drops.items():
            families.element_dropped.add_metric([name, counter, reason], count)
    details = element.details()
    if isinstance(details, LinkDetails | ServerDetails):
        families.handshakes.add_metric([name], details.handshakes)
        families.queued.add_metric([name], details.queued)
    if isinstance(details, LinkDetails):
        _peer(families, [name, ""], details.keys_since, details.round_trip)
    elif isinstance(details, ServerDetails):
        families.clients.add_metric([name], len(details.clients))
        # Two of one name may be there (--duplicate-cn): a label set is to be unique.
        for client in {each.name: each for each in details.clients}.values():
            _peer(families, [name, client.name], client.keys_since, client.round_trip)


def _peer(families: Families, labels: list[str], keys_since: float | None, round_trip: float | None) -> None:
    if keys_since is not None:
        families.keys.add_metric(labels, keys_since)
    if round_trip is not None:
        families.round_trip.add_metric(labels, round_trip)


def _connections(families: Families, ports: list[Port]) -> None:
    """Both directions of every connection; several between the same two elements are one."""
    totals: dict[tuple[str, str], Counters] = defaultdict(Counters)
    waiting: dict[tuple[str, str], int] = {}
    for port in ports:
        if port.peer is None:
            continue
        ends = (port.element.name, port.peer.element.name)
        total = totals[ends]
        total.frames += port.sent.frames
        total.bytes += port.sent.bytes
        total.drops.update(port.sent.drops)
        if (stage := stage_of(port)) is not None:
            waiting[ends] = waiting.get(ends, 0) + stage.waiting
    for ends, total in totals.items():
        families.frames.add_metric(ends, total.frames)
        families.bytes.add_metric(ends, total.bytes)
        for reason, count in total.drops.items():
            families.dropped.add_metric([*ends, reason], count)
    for ends, count in waiting.items():
        families.waiting.add_metric(ends, count)

"""Rounds: every tunnel in turn, again and again, so that whatever else the machine does hits all of them."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence

from bench import loads, network
from bench.processes import Failed
from bench.tunnels import Tunnel

Results = dict[str, dict[str, list[float]]]
"""Numbers of each round, by tunnel and by what is measured."""


def measured(tunnels: Sequence[Tunnel], plan: loads.Plan) -> tuple[Results, dict[str, str]]:
    """What the tunnels reached, and why some of them did not run."""
    results: Results = {}
    failures: dict[str, str] = {}
    for number in range(plan.rounds):
        # Every second round backwards: nobody always comes after the same other.
        for tunnel in tunnels if number % 2 == 0 else reversed(tunnels):
            if tunnel.name in failures:
                continue
            _say(f"round {number + 1} of {plan.rounds}: {tunnel.name}")
            try:
                found = once(tunnel, plan)
            except Failed as error:
                failures[tunnel.name] = str(error)
                _say("")
                print(f"{tunnel.name}: {error}", file=sys.stderr)
                continue
            for what, value in found.items():
                results.setdefault(tunnel.name, {}).setdefault(what, []).append(value)
    _say("")
    return results, failures


def once(tunnel: Tunnel, plan: loads.Plan) -> dict[str, float]:
    """One round of one tunnel on hosts of its own."""
    if tunnel.measure is not None:
        return tunnel.measure(plan)
    assert tunnel.start is not None, "one of the two is given"
    with network.pair() as pair:
        if tunnel.path is not None:
            pair.relay(*tunnel.path)
        processes = tunnel.start(pair)
        pair.until_joined(network.OUTER if tunnel.interface == "eth0" else network.INNER)
        if tunnel.path is not None:
            return {"tcp 1": loads.goodput(pair, plan.lossy_seconds, 1)["bits"] / 1e9}
        return loads.measure(pair, tunnel.interface, processes, plan, tunnel.kind)


def medians(results: Results) -> dict[str, dict[str, float]]:
    return {
        name: {what: statistics.median(values) for what, values in found.items()}
        for name, found in results.items()
    }


def _say(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)

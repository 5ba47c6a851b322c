"""
How long clicks take at half of saturation, sptls beside nginx: ``python -m bench.latency``.

Each click is on a new TLS connection, as mail clients do. Saturation is what a closed loop gets through, here with
clients, origin and whatever else runs on the same processors ("of a CPU then" is the server's part); the latencies are
an open loop's at half of that (open_loop.py). Servers take turns, and a ratio is taken within each round.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import attrs

from bench import load
from bench.open_loop import Clicks, open_loop
from bench.peers import PEERS
from bench.report import BASE, SUBJECT, quartiles
from bench.servers import Server
from bench.stage import Stage

# Who is measured where a run has more servers.
SERVERS = (SUBJECT, BASE)
_SATURATING_CLIENTS = 16
_SATURATING_CLICKS = 1000
_SATURATING_TURNS = 3
# More clicks than these are never under way at half of saturation, unless the server stands still.
_CLIENTS = 64
_ROUND_SECONDS = 3.0
_ROUNDS = 5


@attrs.frozen
class Saturation:
    """
    What a server got through in a closed loop: clicks *a_second*, with *busy* of a processor.
    """

    a_second: float
    busy: float


@attrs.frozen
class Latency:
    """
    Milliseconds that clicks of one turn took: the median, what 99 of 100 stay within, the longest; and how late 99 of
    100 began at the most, which is the clients' and the machine's part.
    """

    p50: float
    p99: float
    longest: float
    late_p99: float

    @classmethod
    def of(cls, clicks: Clicks) -> Latency:
        """
        Sum *clicks* up.
        """
        taken = [seconds * 1000 for seconds in clicks.seconds]
        late = [seconds * 1000 for seconds in clicks.late_seconds]
        return cls(percentile(taken, 50), percentile(taken, 99), max(taken), percentile(late, 99))


def main() -> None:
    """
    Start the servers, and print the table.
    """
    parser = argparse.ArgumentParser(prog="python -m bench.latency", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(PEERS), default=["sptls", "nginx-tuned"])
    parser.add_argument("--rounds", type=int, default=_ROUNDS)
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="the virtualenv's Python for sptls")
    options = parser.parse_args()
    with Stage.begun() as stage:
        servers = [stage.peer(name, options.python) for name in options.only]
        print(measured(servers, str(stage.files.ca), options.rounds))


def measured(servers: Sequence[Server], ca: str, rounds: int = _ROUNDS) -> str:
    """
    Load *servers* in turns, and give the Markdown table of what clicks took.
    """
    turns = [{server.name: _saturated(server, ca) for server in servers} for _ in range(_SATURATING_TURNS)]
    saturation = {server.name: typical([turn[server.name] for turn in turns]) for server in servers}
    halves = [
        {server.name: _at(server, ca, saturation[server.name].a_second / 2) for server in servers}
        for _ in range(rounds)
    ]
    return table(saturation, halves)


def _saturated(server: Server, ca: str) -> Saturation:
    cpu, began = server.cpu_seconds(), time.monotonic()
    client = partial(load.cold, "system", server.port, ca)
    made = load.shared(client, _SATURATING_CLICKS, _SATURATING_CLIENTS)
    seconds = time.monotonic() - began
    return Saturation(made / seconds, (server.cpu_seconds() - cpu) / seconds)


def _at(server: Server, ca: str, rate: float) -> Latency:
    return Latency.of(open_loop(server.port, ca, rate, math.ceil(rate * _ROUND_SECONDS), _CLIENTS))


def typical(turns: Sequence[Saturation]) -> Saturation:
    """
    Give the medians of *turns*.
    """
    return Saturation(
        statistics.median(turn.a_second for turn in turns), statistics.median(turn.busy for turn in turns)
    )


def percentile(values: Sequence[float], percent: int) -> float:
    """
    Give the least of *values* that so many of a hundred of them do not exceed.
    """
    return sorted(values)[math.ceil(len(values) * percent / 100) - 1]


def table(saturation: Mapping[str, Saturation], halves: Sequence[Mapping[str, Latency]]) -> str:
    """
    Give the Markdown table: *saturation* by server, and the latencies at half of it, by round and server.
    """
    lines = [
        f"| new connections at half of saturation, {len(halves)} rounds | saturation, a second | of a CPU then "
        f"| p50 ms | p99 ms | p99 to {BASE} | longest ms | begun late, p99 ms |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for server, most in saturation.items():
        took = [half[server] for half in halves]
        ratio = quartiles([half[server].p99 / half[BASE].p99 for half in halves], ".2f") if BASE in saturation else "-"
        cells = [
            f"**{server}**" if server == SUBJECT else server,
            f"{most.a_second:.0f}",
            f"{most.busy:.0%}",
            quartiles([turn.p50 for turn in took], ".1f"),
            quartiles([turn.p99 for turn in took], ".1f"),
            ratio,
            f"{max(turn.longest for turn in took):.0f}",
            quartiles([turn.late_p99 for turn in took], ".1f"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

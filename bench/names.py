"""
What a new connection costs sptls with 100,000 names, beside one with a single name: ``python -m bench.names``.

All clients ask for the one name that has a certificate, so the names are the only difference. The daemons take turns,
and the ratio is taken within each round.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from bench import load
from bench.peers import sptls_names
from bench.report import quartiles
from bench.servers import Server
from bench.stage import Stage

# What the data plane's issue asks for.
BAR: Final = 1.1
NAMES: Final = 100_000
ROUNDS: Final = 15
_CLIENTS = 4
_CONNECTIONS = 800
# A daemon has taken its names in when it did next to nothing for a second.
_SETTLED_CPU_SECONDS = 0.02
_GIVE_UP_SECONDS = 60.0


def main() -> None:
    """
    Start both daemons, and print the table.
    """
    parser = argparse.ArgumentParser(prog="python -m bench.names", description=__doc__)
    parser.add_argument("--names", type=int, default=NAMES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="the virtualenv's Python for sptls")
    options = parser.parse_args()
    with Stage.begun() as stage:
        print(measured(stage, options.python, options.names, options.rounds))


def measured(stage: Stage, python: Path, names: int = NAMES, rounds: int = ROUNDS) -> str:
    """
    Start the two on *stage*, load them in turns, and give the Markdown table of what a connection costs.

    Raises:
        RuntimeError: a daemon is still busy with its names after a minute.
    """
    one = stage.start("one-name", partial(sptls_names, names=1), python)
    many = stage.start("many-names", partial(sptls_names, names=names), python)
    ca = str(stage.files.ca)
    for server in (one, many):
        _settle(server)
        _cost(server, ca)  # warms up
    turns = [{server.name: _cost(server, ca) for server in (one, many)} for _ in range(rounds)]
    return table(turns, {server.name: server.resident_bytes() for server in (one, many)})


def table(rounds: Sequence[Mapping[str, float]], resident_bytes: Mapping[str, int]) -> str:
    """
    Give the Markdown table of *rounds*: microseconds of CPU a connection by server, the one with a single name first.
    """
    base, *_ = rounds[0]
    lines = [
        f"| new connections, {len(rounds)} rounds | CPU µs a connection | to {base} | at most | MB | |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for server in rounds[0]:
        cost = quartiles([costs[server] for costs in rounds], ".0f")
        ratios = [costs[server] / costs[base] for costs in rounds]
        ratio, bar, verdict = quartiles(ratios, ".2f"), f"{BAR:.2f}", "met" if _is_met(ratios) else "**missed**"
        if server == base:
            bar = verdict = ""
        lines.append(f"| {server} | {cost} | {ratio} | {bar} | {resident_bytes[server] / 1e6:.0f} | {verdict} |")
    return "\n".join(lines)


def _is_met(ratios: Sequence[float]) -> bool:
    return statistics.median(ratios) <= BAR


def _settle(server: Server) -> None:
    until = time.monotonic() + _GIVE_UP_SECONDS
    while time.monotonic() < until:
        before = server.cpu_seconds()
        time.sleep(1)
        if server.cpu_seconds() - before < _SETTLED_CPU_SECONDS:
            return
    raise RuntimeError(f"{server.name}: still busy after {_GIVE_UP_SECONDS:.0f} s without a client")


def _cost(server: Server, ca: str) -> float:
    before = server.cpu_seconds()
    made = load.shared(partial(load.cold, "system", server.port, ca), _CONNECTIONS, _CLIENTS)
    return (server.cpu_seconds() - before) / made * 1e6


if __name__ == "__main__":
    main()

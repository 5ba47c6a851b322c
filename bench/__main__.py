"""
Take turns: every server, every mode, many short rounds; print the tables, and write them where ``--write`` says.

Turns are short (one or two seconds) and a ratio is taken within each round, because the machine may be doing other
things: what slows one server down for a while slows its neighbours in the same round.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs

from bench import idle, latency, names, start, workers
from bench.conditions import conditions
from bench.load import negotiated
from bench.modes import MODES
from bench.peers import PEERS
from bench.report import SUBJECT, Run, bars_table, mode_table, replaced, section
from bench.servers import Server
from bench.stage import Stage


def main() -> None:
    """
    Run the comparison that the command line asks for.
    """
    options = _options()
    with Stage.begun() as stage:
        servers = [stage.peer(name, options.python) for name in options.only]
        measured = _measured(servers, str(stage.files.ca), options)
        if options.write is not None:
            measured = attrs.evolve(measured, further=_further(stage, servers, options.python))
    if options.write is not None:
        document = options.write.read_text()
        options.write.write_text(replaced(document, section(measured)))
        print(f"\nwritten into {options.write}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--modes", nargs="+", choices=list(MODES), default=list(MODES))
    for name, mode in MODES.items():
        parser.add_argument(f"--{name}", type=int, default=mode.requests, help=f"requests a turn, {mode.described}")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--tls", choices=("system", "wheel"), default="system", help="the clients' OpenSSL (load.py)")
    parser.add_argument(
        "--python", type=Path, default=Path(sys.executable), help="the virtualenv's Python that sptls runs on"
    )
    parser.add_argument(
        "--write",
        type=Path,
        help="the document whose figures are replaced; bench.latency, .workers, .names, .idle and .start run too",
    )
    return parser.parse_args()


def _measured(servers: list[Server], ca: str, options: argparse.Namespace) -> Run:
    """
    Run all modes, and print each table as soon as it is there.
    """
    agreed = {server.name: negotiated(options.tls, server.port, ca) for server in servers}
    rounds: dict[str, list[dict[str, float]]] = {}
    measured = Run((), agreed, rounds, {})
    for mode in options.modes:
        wanted = MODES[mode].servers
        taking_part = [server for server in servers if wanted is None or server.name in wanted]
        if not taking_part:
            continue
        rounds[mode] = _rounds(mode, taking_part, ca, options)
        resident = {server.name: server.resident_bytes() for server in servers}
        measured = Run((), agreed, rounds, resident)
        print(f"{mode_table(measured, mode)}\n", flush=True)
    print(bars_table(measured))
    return attrs.evolve(measured, conditions=conditions(options.python, options.tls, agreed))


def _further(stage: Stage, servers: list[Server], python: Path) -> tuple[str, ...]:
    """
    Run what is measured in another way than by modes, and print its tables as soon as they are there.
    """
    tables = []
    for table in _tables(stage, servers, python):
        print(f"\n{table}", flush=True)
        tables.append(table)
    return tuple(tables)


def _tables(stage: Stage, servers: list[Server], python: Path) -> Iterator[str]:
    ca = str(stage.files.ca)
    if beside := [server for server in servers if server.name in latency.SERVERS]:
        yield latency.measured(beside, ca)
    pair = sorted((server for server in servers if server.name.startswith(SUBJECT)), key=lambda server: server.workers)
    if len(pair) > 1:
        yield workers.measured(pair, ca)
    yield names.measured(stage, python)
    yield idle.measured(stage, python)
    yield start.measured(python)


def _rounds(mode: str, servers: list[Server], ca: str, options: argparse.Namespace) -> list[dict[str, float]]:
    """
    Give CPU microseconds per request of each server, by round, after a turn each to warm up.
    """
    load, requests = MODES[mode].load, int(getattr(options, mode.replace("-", "_")))
    for server in servers:
        clients = options.clients * server.workers
        load(options.tls, server.port, ca, max(clients, requests // 4), clients)
    rounds: list[dict[str, float]] = []
    for _ in range(options.rounds):
        costs: dict[str, float] = {}
        for server in servers:
            before = server.cpu_seconds()
            made = load(options.tls, server.port, ca, requests, options.clients * server.workers)
            costs[server.name] = (server.cpu_seconds() - before) / made * 1e6
        rounds.append(costs)
    return rounds


if __name__ == "__main__":
    main()

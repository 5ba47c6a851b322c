"""
One server beside another that differs in one thing only: turns that go round, and a ratio within each round.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

import attrs

from bench.report import quartiles
from bench.servers import Server

# Loads the server at this port, and gives how many requests it made.
Load = Callable[[int], int]


@attrs.frozen
class Question:
    """
    *what* is done to both in a round, and how many times the first's cost the second's may be.
    """

    what: str
    most: float
    load: Load


def measured(question: Question, servers: Sequence[Server], rounds: int) -> str:
    """
    Load the *servers* in turns, and give the Markdown table of what a request costs, beside the first of them.
    """
    for server in servers:
        _cost(server, question.load)  # warms up
    turns = [{server.name: _cost(server, question.load) for server in servers} for _ in range(rounds)]
    return table(question, turns, {server.name: server.resident_bytes() for server in servers})


def table(question: Question, rounds: Sequence[Mapping[str, float]], resident_bytes: Mapping[str, int]) -> str:
    """
    Give the Markdown table of *rounds*: microseconds of CPU a request by server; the first is what others are held to.
    """
    base, *_ = rounds[0]
    lines = [
        f"| {question.what}, {len(rounds)} rounds | CPU µs a request | to {base} | at most | MB | |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for server in rounds[0]:
        cost = quartiles([costs[server] for costs in rounds], ".0f")
        ratios = [costs[server] / costs[base] for costs in rounds]
        bar, verdict = ("", "") if server == base else (f"{question.most:.2f}", _verdict(question.most, ratios))
        megabytes = f"{resident_bytes[server] / 1e6:.0f}"
        lines.append(f"| {server} | {cost} | {quartiles(ratios, '.2f')} | {bar} | {megabytes} | {verdict} |")
    return "\n".join(lines)


def _verdict(most: float, ratios: Sequence[float]) -> str:
    return "met" if statistics.median(ratios) <= most else "**missed**"


def _cost(server: Server, load: Load) -> float:
    before = server.cpu_seconds()
    made = load(server.port)
    return (server.cpu_seconds() - before) / made * 1e6

"""
What a run found, as text: a table for the terminal, and the figures of docs/performance.md between their two marks.

Ratios are taken within each round and then summed up, as rounds differ more than servers do. Reads nothing but what it
is given; what is around the marks in the document is left alone.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Final

import attrs

BEGIN: Final = "<!-- figures: written by `make bench`, not by hand -->"
END: Final = "<!-- end of the figures -->"
BASE: Final = "nginx tuned"
# Where the base does not take part.
OTHER_BASE: Final = "Caddy"
SUBJECT: Final = "sptls"

# By round, by server: microseconds of CPU a request.
Rounds = Sequence[Mapping[str, float]]


@attrs.frozen
class Bar:
    """
    In *mode*, sptls may cost *most* times what *peer* costs.
    """

    mode: str
    peer: str
    most: float


# What the issues ask for; the first is the end-to-end issue's, the rest the data plane's.
BARS: Final = (
    Bar("cold", BASE, 1.4),
    Bar("cold", BASE, 1.2),
    Bar("cold", "nginx guide", 1.0),
    Bar("cold", "Apache", 1.0),
    Bar("cold", "Caddy", 1.0),
    Bar("keep", "Caddy", 0.85),
    Bar("cold-h2", "Caddy", 0.85),
    Bar("busy-h2", "Caddy", 0.6),
)


@attrs.frozen
class Run:
    """
    One run: what it was made on (a line each), what each server agreed on with clients, the rounds of each mode,
    and each server's resident bytes at the end; *further* tables are of other measurements.
    """

    conditions: tuple[str, ...]
    negotiated: Mapping[str, str]
    rounds: Mapping[str, Rounds]
    resident_bytes: Mapping[str, int]
    further: tuple[str, ...] = ()


def quartiles(values: Sequence[float], form: str) -> str:
    """
    Give the median, and the quartiles behind it in brackets, each in *form*; of a single value, itself.
    """
    if len(values) == 1:
        return f"{values[0]:{form}}"
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:{form}} ({low:{form}}-{high:{form}})"


def ratios(rounds: Rounds, server: str, peer: str) -> list[float]:
    """
    Give what *server* costs in units of *peer*, round by round.
    """
    return [costs[server] / costs[peer] for costs in rounds]


def mode_table(run: Run, mode: str) -> str:
    """
    Give the Markdown table of one mode.
    """
    rounds = run.rounds[mode]
    base = OTHER_BASE if BASE not in rounds[0] and OTHER_BASE in rounds[0] else BASE
    lines = [
        f"| {mode}, {len(rounds)} rounds | negotiated | CPU µs a request | to {base} | MB |",
        "| --- | --- | --- | --- | --- |",
    ]
    for server in rounds[0]:
        cost = quartiles([costs[server] for costs in rounds], ".0f")
        ratio = quartiles(ratios(rounds, server, base), ".2f") if base in rounds[0] else "-"
        shown = f"**{server}**" if server == SUBJECT else server
        resident = f"{run.resident_bytes[server] / 1e6:.0f}"
        lines.append(f"| {shown} | {run.negotiated[server]} | {cost} | {ratio} | {resident} |")
    return "\n".join(lines)


def bars_table(run: Run) -> str:
    """
    Give the Markdown table of what is asked for and whether it is met; bars whose peer did not run are left out.
    """
    lines = ["| CPU a request, sptls to | at most | measured | |", "| --- | --- | --- | --- |"]
    for bar in BARS:
        rounds = run.rounds.get(bar.mode, ())
        if rounds and {SUBJECT, bar.peer} <= rounds[0].keys():
            measured = ratios(rounds, SUBJECT, bar.peer)
            verdict = "met" if statistics.median(measured) <= bar.most else "**missed**"
            lines.append(f"| {bar.peer}, {bar.mode} | {bar.most:.2f} | {quartiles(measured, '.2f')} | {verdict} |")
    return "\n".join(lines)


def section(run: Run) -> str:
    """
    Give all figures of *run* as Markdown, with the marks around them.
    """
    conditions = "\n".join(f"- {line}" for line in run.conditions)
    tables = [mode_table(run, mode) for mode in run.rounds]
    return "\n\n".join([BEGIN, conditions, *tables, bars_table(run), *run.further, END])


def replaced(document: str, figures: str) -> str:
    """
    Give *document* with *figures* instead of what is between its marks.

    Raises:
        ValueError: it hasn't the two marks, once each and in order.
    """
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in before + after:
        raise ValueError(f"the document must have, once each and in this order, the lines {BEGIN!r} and {END!r}")
    return before + figures + after

"""
An open loop of clicks: each begins at its moment, whatever the answers to earlier ones do, on a connection of its own.

A closed loop asks a slow server less, and so does not see who would have waited. Here a click's latency counts from
the moment that it was to begin at, so that a wait for a free client counts too.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import MutableSequence, Sequence
from multiprocessing.sharedctypes import RawArray, Synchronized

import attrs

from bench.load import SystemClient, click, in_processes

# Until all clients have been forked and have read the CA's certificate.
_BEGIN_SECONDS = 1.0


@attrs.frozen
class Clicks:
    """
    What became of each click of a loop, in their order: *seconds* from its moment to the end of its answer, of which
    *late_seconds* went by before it began.
    """

    seconds: Sequence[float]
    late_seconds: Sequence[float]


def open_loop(port: int, ca: str, rate: float, clicks: int, clients: int) -> Clicks:
    """
    Make *clicks* clicks, *rate* a second; *clients* processes can have one each under way.

    Raises:
        RuntimeError: a client met something other than a click's answer.
    """
    seconds, late_seconds = RawArray("d", clicks), RawArray("d", clicks)
    # Forked clients share it: whoever is free takes the next click.
    taken: Synchronized[int] = multiprocessing.get_context("fork").Value("L", 0)
    begin = time.monotonic() + _BEGIN_SECONDS

    def client() -> None:
        context = SystemClient(ca)
        while (at := _next(taken)) < clicks:
            _clicked(context, port, begin + at / rate, at, seconds, late_seconds)

    in_processes(client, clients)
    return Clicks(tuple(seconds), tuple(late_seconds))


def _next(taken: Synchronized[int]) -> int:
    with taken.get_lock():
        at = taken.value
        taken.value += 1
    return at


def _clicked(
    client: SystemClient,
    port: int,
    moment: float,
    at: int,
    seconds: MutableSequence[float],
    late_seconds: MutableSequence[float],
) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))
    late_seconds[at] = time.monotonic() - moment
    click(client, port)
    seconds[at] = time.monotonic() - moment

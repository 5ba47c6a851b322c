"""
A name that can't be validated, while clients keep asking for it: three and a half hours, two hundred times a minute.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from sptls.names import HostName
from tests.simulation.lets_encrypt import HOUR
from tests.simulation.world import World
from tests.simulation.year import most_within

DEAD = HostName("click.dead.example")
CLICK_SECONDS = 0.3
CLICKS = 42_000
# The listener's own limit to a wait (`hold_seconds`) is longer than a CA takes to say no.
LONGEST_WAIT_SECONDS = 30.0


def clicked(*, kills: int) -> World:
    """
    Give a world in which clients asked for the name, and the process was killed in the middle of so many orders.
    """
    world = World([DEAD], lambda _: timedelta(days=90), dead=[DEAD])

    def click(left: int) -> None:
        world.click(DEAD)
        if left:
            world.later(CLICK_SECONDS, lambda: click(left - 1))

    for number in range(kills):
        world.later(number * HOUR, lambda: world.kill_within(10.0))
    click(CLICKS)
    world.run(timedelta(seconds=CLICKS * CLICK_SECONDS))
    return world


@pytest.mark.parametrize("kills", [0, 3])
def test_clients_make_us_order_no_more(kills: int) -> None:
    """
    Five orders and five failed authorizations an hour are never exceeded, however often the process begins anew.
    """
    world = clicked(kills=kills)
    ordered = [moment for moment, _ in world.ca.ordered]
    assert (kills, []) == (world.kills, world.ca.limits.refusals)
    assert most_within(ordered, HOUR) <= 5
    assert most_within(world.ca.failures[DEAD], HOUR) <= 5


def test_clients_are_refused_at_once_after_the_first_failure() -> None:
    """
    The first wait ends with the CA's answer; afterwards more than 99 of 100 clients wait for nothing.
    """
    world = clicked(kills=0)
    held = world.clicks.held_seconds
    first = [seconds for seconds in held[: int(LONGEST_WAIT_SECONDS / CLICK_SECONDS)] if seconds]
    assert 0 < max(first) <= max(held) < LONGEST_WAIT_SECONDS
    assert world.clicks.refused / (world.clicks.refused + len(held)) > 0.99


def test_no_client_waits_for_an_attempt_that_follows_a_failure() -> None:
    """
    Of those who come after the first failure none is held, in the first minutes neither, when it is tried most often.
    """
    world = World([DEAD], lambda _: timedelta(days=90), dead=[DEAD])
    held_at: list[float] = []

    def click() -> None:
        before = len(world.clicks.held_seconds) + world.held
        world.click(DEAD)
        if len(world.clicks.held_seconds) + world.held > before:
            held_at.append(world.clock.seconds())
        world.later(CLICK_SECONDS, click)

    click()
    world.run(timedelta(minutes=20))
    assert len(world.ca.ordered) > 2
    assert max(held_at) < LONGEST_WAIT_SECONDS

"""
A year in the life of a host, and what is wrong with it afterwards.

Customers' names whose certificates live 160 hours, 45, 64 and 90 days; dead names that clients keep asking for, one of
them two hundred times a minute for half an hour of each quarter; a profile that is switched, a mass revocation that
the CA announces by renewal information (RFC 9773), a CA that is out for three days, processes that are killed in the
middle of orders.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import attrs

from sptls.certs.limits import LETS_ENCRYPT, Limits
from sptls.names import HostName
from tests.simulation.lets_encrypt import DAY, HOUR
from tests.simulation.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

LIFETIMES: Final = (timedelta(hours=160), timedelta(days=45), timedelta(days=64), timedelta(days=90))
KILLS: Final = 12
# The CA has renewal information for these weeks: asking a thousand times twice a day for a year is a matter of its own.
ARI_FROM, PULL_IN, ARI_UNTIL = 118 * DAY, 120 * DAY, 132 * DAY
PROFILE_SWITCH: Final = 180 * DAY
OUTAGE: Final = (250 * DAY, 253 * DAY)
# What was obtained together, or was waited for together, has spread after so long.
_STEADY_FROM: Final = 30 * DAY
_SETTLES: Final = 10 * DAY
MAX_FAILED_IN_AN_HOUR: Final = 5


@attrs.define
class Year:
    """
    *count* live names and *dead* ones; `pass_by` lets the year (or its first *days*) pass.

    *limits* are what our ledger knows, the CA is out during *outage*. Of *revoked* names the CA revokes the
    certificates; those of *late* ones were not replaced within a day.
    """

    count: int
    dead: int
    seed: int = 1
    limits: Limits = LETS_ENCRYPT
    days: int = 365
    outage: tuple[float, float] = OUTAGE
    revoked: list[HostName] = attrs.field(factory=list)
    late: list[HostName] = attrs.field(factory=list)
    world: World = attrs.field(init=False)
    _groups: dict[HostName, timedelta] = attrs.field(init=False)
    _dead: list[HostName] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        live = [HostName(f"click.customer{number}.example") for number in range(self.count)]
        self._groups = {name: LIFETIMES[number % len(LIFETIMES)] for number, name in enumerate(live)}
        self._dead = [HostName(f"click.dead{number}.example") for number in range(self.dead)]
        self.world = World([*live, *self._dead], self._lifetime, dead=self._dead, seed=self.seed, limits=self.limits)
        self._plan()

    def pass_by(self) -> World:
        """
        Let the days pass.
        """
        self.world.run(timedelta(days=self.days))
        return self.world

    def _lifetime(self, name: HostName) -> timedelta:
        """
        Give a name's lifetime; in the middle of the year the CA halves its longest.
        """
        lifetime = self._groups.get(name, LIFETIMES[-1])
        return LIFETIMES[1] if lifetime == LIFETIMES[-1] and self.world.clock.seconds() > PROFILE_SWITCH else lifetime

    def _plan(self) -> None:
        world = self.world
        world.ca.outages.append(self.outage)
        world.later(ARI_FROM, lambda: self._restart(asks_when=True))
        world.later(PULL_IN, self._pull_in)
        world.later(PULL_IN + DAY, self._look_for_late_ones)
        world.later(ARI_UNTIL, lambda: self._restart(asks_when=False))
        for _ in range(KILLS):
            world.later(world.random.uniform(0, self.days * DAY), self._kill_soon)
        if self._dead:
            self._click()
            for quarter in range(4):
                world.later(quarter * 91 * DAY, lambda: self._insist(200 * 30))

    def _restart(self, *, asks_when: bool) -> None:
        self.world.asks_when = asks_when
        self.world.kill()

    def _pull_in(self) -> None:
        """
        The CA announces that it revokes all of today's certificates: they are to be replaced within some hours.
        """
        world = self.world
        now = world.now()
        for name in self._groups:
            bundle = world.served.bundle_for(name)
            assert bundle is not None
            world.ca.renewal_windows[bundle.serial] = (now - timedelta(hours=1), now + timedelta(hours=10))
            self.revoked.append(name)

    def _look_for_late_ones(self) -> None:
        self.late = [name for name in self.revoked if self.world.replaced_at[name] < PULL_IN]

    def _kill_soon(self) -> None:
        """
        Kill the process in the middle of what the CA's next order is for.
        """
        self.world.kill_within(20.0)

    def _click(self) -> None:
        """
        A client asks for one of the dead names, and another one in ten minutes or so.
        """
        world = self.world
        world.click(world.random.choice(self._dead))
        world.later(world.random.expovariate(1 / 600), self._click)

    def _insist(self, left: int) -> None:
        """
        Clients ask for the same dead name two hundred times a minute.
        """
        self.world.click(self._dead[0])
        if left > 1:
            self.world.later(0.3, lambda: self._insist(left - 1))


def violations(year: Year) -> Iterator[str]:
    """
    Say what went wrong in *year*.
    """
    world = year.world
    yield from (f"expired: {name.text} at day {moment / DAY:.1f}" for name, moment in world.expired)
    yield from (f"expired: {name.text} at the end" for name in world.expired_now)
    yield from (
        f"429: {refusal.limit.name}, {refusal.name} at day {refusal.moment / DAY:.2f}"
        for refusal in world.ca.limits.refusals
    )
    for name, moments in world.ca.failures.items():
        worst = most_within(moments, HOUR)
        if worst > MAX_FAILED_IN_AN_HOUR:
            yield f"failed authorizations: {worst} in an hour for {name.text}"
    yield from (f"late: {name.text} was not replaced within a day of the pull-in" for name in year.late)


def most_within(moments: list[float], seconds: float) -> int:
    """
    Give how many of *moments*, in order, at most lie within some *seconds*.
    """
    return max(position + 1 - bisect_right(moments, moment - seconds) for position, moment in enumerate(moments))


def kinds(year: Year) -> set[str]:
    """
    Give the kinds of what went wrong.
    """
    return {violation.partition(":")[0] for violation in violations(year)}


@attrs.frozen
class Busy:
    """
    How many orders the CA got in the mean and in the busiest stretch of *seconds* while nothing was being caught up.
    """

    mean: float
    most: int

    @property
    def times(self) -> float:
        """
        Give how many times the mean the busiest stretch is.
        """
        return self.most / self.mean


def busy(year: Year, seconds: float, *, only_live: bool = False) -> Busy:
    """
    Count the orders of each stretch of *seconds* in the steady state: not after the first day, a pull-in, an outage.
    """
    world = year.world
    counts = Counter(
        int(moment // seconds) for moment, name in world.ca.ordered if not (only_live and name in world.dead)
    )
    parts = range(int(year.days * DAY // seconds))
    steady = [counts[part] for part in parts if _is_steady(part * seconds, year.outage)]
    return Busy(sum(steady) / len(steady), max(steady))


def _is_steady(moment: float, outage: tuple[float, float]) -> bool:
    return (
        moment >= _STEADY_FROM
        and not PULL_IN <= moment < PULL_IN + _SETTLES
        and not outage[0] <= moment < outage[1] + _SETTLES
    )

"""
The wall clock set back and forward, a day and a year: timers go on, nothing is parked, nothing is ordered in a storm.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import attrs
import pytest
from twisted.internet.defer import Deferred

from sptls.certs import schedule
from sptls.certs.limits import Bucket, Limits
from sptls.certs.records import History
from sptls.certs.renewer import LOOK_AGAIN_SECONDS, STOP_SECONDS
from sptls.errors import AcmeProblem, Concern, IssuanceFailed, Scope
from sptls.names import HostName
from tests.certs.authority import NOW
from tests.certs.stored import CA, CLICK, outcome, stored
from tests.certs.test_renewer import INVALID, UNREACHABLE, Setting

OTHER = HostName("other.example.com")
DAY, YEAR = timedelta(days=1), timedelta(days=365)
BACK = pytest.mark.parametrize("by", [-YEAR, -DAY], ids=["year back", "day back"])
# A minute and its jitter.
FIRST_DELAY = timedelta(minutes=1.2)
# Four orders at once, then one in 36 s.
FEW = Limits(orders=Bucket(4, 36.0))


EVERY_WAY = pytest.mark.parametrize("by", [-YEAR, -DAY, DAY, YEAR], ids=["year_back", "day_back", "day_on", "year_on"])


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    """
    A renewer on a real store, not started.
    """
    setting = Setting(tmp_path / "store.db")
    yield setting
    stop(setting)


def stop(setting: Setting) -> None:
    """
    End it.
    """
    stopping = Deferred.fromCoroutine(setting.renewer.stop())
    setting.clock.advance(STOP_SECONDS)
    assert stopping.called
    outcome(setting.store.close())


def let_pass(setting: Setting, time: timedelta) -> None:
    """
    Let *time* pass, a minute at a time, or more where it is long.
    """
    longest = timedelta(minutes=1) if time <= timedelta(hours=2, minutes=10) else timedelta(minutes=10)
    while time > timedelta():
        step = min(time, longest)
        setting.advance(seconds=step.total_seconds())
        time -= step


def refused_until(hours: float, scope: Scope) -> IssuanceFailed:
    """
    Give a rate limit of the CA's.
    """
    seconds = hours * 3600
    concern = Concern(scope, "", NOW + timedelta(seconds=seconds))
    return IssuanceFailed(AcmeProblem(429, "rateLimited", concern=concern, retry_after_seconds=seconds))


@EVERY_WAY
def test_a_failed_name_is_tried_again_after_its_usual_delay(setting: Setting, by: timedelta) -> None:
    """
    The delay is a minute of real time, or two, whatever the wall clock says.
    """
    setting.start(CLICK)
    setting.issuer.fail(CLICK, UNREACHABLE)
    setting.set_by = by
    let_pass(setting, FIRST_DELAY * 3)
    assert 2 == len(setting.issuer.asked)


@EVERY_WAY
def test_the_limit_of_failed_authorizations_holds(setting: Setting, by: timedelta) -> None:
    """
    Five in an hour is what the CA counts, by its own clock.
    """
    setting.issuer.answer = lambda _: INVALID
    setting.start(CLICK)
    setting.set_by = by
    for _ in range(50):
        setting.renewer.want(CLICK)
        let_pass(setting, timedelta(minutes=1))
    assert len(setting.issuer.asked) * INVALID.failed_authorizations <= 5


@EVERY_WAY
def test_an_order_under_way_ends_at_its_deadline(setting: Setting, by: timedelta) -> None:
    """
    Ten minutes of real time, not a year and ten minutes, and not at once.
    """
    setting.start(CLICK)
    setting.set_by = by
    let_pass(setting, schedule.LONGEST_ATTEMPT - timedelta(seconds=1))
    assert [] == setting.issuer.cancelled
    let_pass(setting, timedelta(seconds=2))
    assert [CLICK] == setting.issuer.cancelled


@pytest.mark.parametrize("by", [-DAY, DAY], ids=["day back", "day on"])
def test_a_certificate_that_comes_meanwhile_is_stored_and_served(setting: Setting, by: timedelta) -> None:
    """
    The step happened during its order.
    """
    setting.start(CLICK)
    setting.set_by = by
    setting.issuer.finish(CLICK)
    assert CLICK in setting.served
    assert CLICK in outcome(setting.store.load()).certificates
    assert "valid" == setting.state().state


@BACK
def test_set_back_nothing_is_ordered_that_is_not_due(setting: Setting, by: timedelta) -> None:
    """
    Certificates that are stored are served on, and renewed when the clock has come there again.
    """
    outcome(setting.store.put_certificate(stored()))
    setting.start(CLICK)
    setting.set_by = by
    let_pass(setting, timedelta(hours=3))
    assert ([], "valid") == (setting.issuer.asked, setting.state().state)


@BACK
def test_set_back_and_right_again_costs_an_hour(setting: Setting, by: timedelta) -> None:
    """
    A renewal that fell due meanwhile is not late by more.
    """
    outcome(setting.store.put_certificate(stored()))
    setting.start(CLICK)
    setting.set_by = by
    let_pass(setting, timedelta(hours=2))
    setting.set_by = timedelta(days=50)
    let_pass(setting, timedelta(seconds=LOOK_AGAIN_SECONDS))
    assert [CLICK] == setting.issuer.asked


def test_a_day_on_orders_what_is_due_then_and_nothing_else(setting: Setting) -> None:
    """
    Of a hundred certificates two are due within the day.
    """
    soon = {HostName(f"soon{number}.example") for number in range(2)}
    late = {HostName(f"late{number}.example") for number in range(8)}
    for name in soon | late:
        due = NOW + (DAY / 2 if name in soon else 20 * DAY)
        outcome(setting.store.put_certificate(attrs.evolve(stored(name.text), renew_at=due)))
    setting.start(*soon, *late)
    setting.set_by = DAY
    let_pass(setting, timedelta(seconds=LOOK_AGAIN_SECONDS))
    assert soon == set(setting.issuer.asked)


def test_a_year_on_and_back_leaves_nobody_waiting(setting: Setting) -> None:
    """
    Two hours with a wrong clock, in which everything seemed expired and every order failed, cost two hours more.
    """
    outcome(setting.store.put_certificate(stored()))
    setting.start(CLICK, OTHER)
    setting.issuer.answer = lambda _: UNREACHABLE
    setting.issuer.fail(OTHER, UNREACHABLE)
    setting.set_by = YEAR
    let_pass(setting, timedelta(hours=2))
    setting.set_by = timedelta()
    setting.issuer.answer = lambda _: None
    let_pass(setting, timedelta(hours=2, minutes=10))
    assert "valid" == setting.state(OTHER).state
    asked = setting.issuer.asked.count(CLICK)
    let_pass(setting, timedelta(days=2))
    assert (asked, stored().bundle.not_after) == (setting.issuer.asked.count(CLICK), setting.state(CLICK).not_after)


@EVERY_WAY
def test_a_step_while_the_process_was_down_parks_nothing(setting: Setting, by: timedelta) -> None:
    """
    What was stored by a clock that was ahead is brought back to where it does no harm: a day, as far as a CA may ask.
    """
    begun = History(3, NOW + timedelta(hours=1), (NOW,) * 2, "dead", NOW, CA)
    outcome(setting.store.put_history(CLICK, begun))
    setting.set_by = by
    setting.start(CLICK)
    let_pass(setting, timedelta(hours=25))
    assert 1 <= len(setting.issuer.asked)


@EVERY_WAY
def test_limits_that_were_learnt_do_not_park_a_name(setting: Setting, by: timedelta) -> None:
    """
    A CA that said "in an hour" is asked within a day: not after a year.
    """
    setting.start(CLICK)
    setting.issuer.fail(CLICK, refused_until(1, Scope.NAME))
    setting.set_by = by
    let_pass(setting, timedelta(hours=26))
    assert 2 <= len(setting.issuer.asked)


@EVERY_WAY
def test_limits_that_were_learnt_for_all_do_not_park_everybody(setting: Setting, by: timedelta) -> None:
    """
    A limit of the account's neither.
    """
    setting.start(CLICK)
    setting.issuer.fail(CLICK, refused_until(1, Scope.ACCOUNT))
    setting.set_by = by
    let_pass(setting, timedelta(hours=26))
    assert 2 <= len(setting.issuer.asked)


@EVERY_WAY
def test_buckets_that_were_spent_do_not_park_new_names(tmp_path: Path, by: timedelta) -> None:
    """
    The books of the CA's limits are kept in wall time too: after a step there are orders left for new names.
    """
    setting = Setting(tmp_path / "store.db", limits=FEW)
    setting.issuer.answer = lambda _: None
    setting.start(*(HostName(f"n{number}.example.com") for number in range(4)))
    assert 4 == len(setting.issuer.asked)
    setting.set_by = by
    loaded = outcome(setting.store.load())
    setting.renewer.set_names([*loaded.certificates, OTHER], loaded)
    let_pass(setting, timedelta(hours=1))
    is_asked = OTHER in setting.issuer.asked
    stop(setting)
    assert is_asked

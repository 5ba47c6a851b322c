"""
The renewer, the store and the issuer together before a CA that fails for minutes, hours and days.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from sptls.certs.limits import NO_LIMITS, Bucket, Limits
from sptls.certs.records import StoredCertificate
from sptls.names import HostName
from tests.acme_front.faults import Break, Change, Fault, GoDown, Say, answer, problem
from tests.acme_front.limits import LetsEncryptLimits, Limit
from tests.faults.keeping import Keeper
from tests.faults.world import NAME, OTHER, World

pytestmark = pytest.mark.pebble

MINUTE, HOUR = 60.0, 3600.0
Keep = Callable[..., Keeper]


@pytest.fixture
def keep(world: World, tmp_path: Path) -> Iterator[Keep]:
    """
    Give what starts a renewer in the world; it ends with the test.
    """
    keepers: list[Keeper] = []

    def start(*names: HostName, limits: Limits = NO_LIMITS) -> Keeper:
        keeper = Keeper(world, tmp_path / "store.db", limits)
        keepers.append(keeper)
        keeper.start(*names)
        return keeper

    yield start
    for keeper in keepers:
        keeper.stop()


def some(count: int) -> list[HostName]:
    """
    Give *count* names.
    """
    return [HostName(f"n{number}.test") for number in range(count)]


# Outages


def test_an_outage_costs_few_requests_and_no_certificate(world: World, keep: Keep) -> None:
    """
    While the CA refuses connections for an hour, five names ask it now and then; when it is back, all are served
    within the longest delay of a name, an hour.
    """
    names = some(5)
    world.front.door.close()
    keeper = keep(*names)
    world.reactor.pass_time(HOUR)
    assert {} == keeper.served
    assert all(keeper.state(name).state == "failing" for name in names)
    world.front.come_back()
    assert keeper.run_until_served(*names) <= 66 * MINUTE
    assert 5 == world.front.count("newOrder")


def test_a_click_after_an_outage_is_served(world: World, keep: Keep) -> None:
    """
    A name without a certificate gets it within the breaker's longest pause after the CA is back.
    """
    world.front.door.close()
    keeper = keep(NAME)
    world.reactor.pass_time(HOUR)
    world.front.come_back()
    for _ in range(26):
        keeper.renewer.want(NAME)
        world.reactor.pass_time(MINUTE / 2)
    assert NAME in keeper.served


def test_a_ca_that_answers_503_is_asked_now_and_then(world: World, keep: Keep) -> None:
    """
    The breaker opens: an hour's outage does not cost five names their attempts.
    """
    world.front.arm(Fault("newOrder", Say(answer(503)), times=None))
    keeper = keep(*some(5))
    world.reactor.pass_time(HOUR / 2)
    begun = len(world.front.seen)
    world.reactor.pass_time(HOUR)
    # A probe every ten minutes, less 20 %, is eight; each tries six times.
    assert len(world.front.seen) - begun <= 8 * 6
    world.front.faults.clear()
    assert keeper.run_until_served(*some(5)) <= 66 * MINUTE


def test_a_retry_after_of_an_hour_is_kept(world: World, keep: Keep) -> None:
    """
    Nobody asks before; ten minutes is the longest that others wait for one answer.
    """
    world.front.arm(Fault("newOrder", Say(answer(503, retry_after="3600")), times=None))
    keeper = keep(NAME)
    world.reactor.pass_time(59 * MINUTE)
    assert 1 == world.front.count("newOrder")
    world.front.faults.clear()
    assert keeper.run_until_served(NAME) <= 5 * MINUTE


def test_stored_certificates_are_served_while_everything_is_out(world: World, keep: Keep) -> None:
    """
    A restart with the CA down serves what is stored, and asks for nothing that is not due.
    """
    keeper = keep(NAME, OTHER)
    keeper.run_until_served(NAME, OTHER)
    world.front.seen.clear()
    world.front.door.close()
    keeper.restart()
    world.reactor.pass_time(HOUR)
    assert {NAME, OTHER} == set(keeper.served)
    assert ["valid", "valid"] == [keeper.state(name).state for name in (NAME, OTHER)]
    assert [] == world.front.seen


def test_an_outage_in_the_middle_is_gone_on_with(world: World, keep: Keep) -> None:
    """
    The order that was finalized when the CA went down is not made a second time: one order, one certificate.
    """
    world.front.arm(Fault("certificate", GoDown("refuse", seconds=3 * MINUTE)))
    keeper = keep(NAME)
    keeper.run_until_served(NAME)
    assert (1, 1) == (world.front.count("newOrder"), world.front.count("finalize"))


def test_a_restart_in_the_middle_goes_on_with_the_order(world: World, keep: Keep) -> None:
    """
    The stored order, with its key, leads to the certificate: nothing is ordered, validated or finalized twice.
    """
    world.front.arm(Fault("certificate", Break("hang"), times=None))
    keeper = keep(NAME)
    world.reactor.run_until(lambda: world.front.count("certificate"))
    world.front.faults.clear()
    keeper.restart()
    assert keeper.run_until_served(NAME) < 2
    assert (1, 1, 1) == tuple(world.front.count(step) for step in ("newOrder", "challenge", "finalize"))


@pytest.mark.parametrize("step", ["newOrder", "challenge", "finalize"])
def test_a_restart_at_any_step_costs_at_most_one_order_more(world: World, keep: Keep, step: str) -> None:
    """
    Whether or not the CA had answered.
    """
    world.front.arm(Fault(step, Break("hang", asks_ca=True), times=None))
    keeper = keep(NAME)
    world.reactor.run_until(lambda: world.front.count(step))
    world.reactor.settle()
    world.front.faults.clear()
    keeper.restart()
    keeper.run_until_served(NAME, seconds=2 * HOUR)
    assert world.front.count("newOrder") <= 2


# One name's trouble


@pytest.mark.parametrize("step", ["authorization", "finalize"])
def test_a_name_that_hangs_delays_nobody(world: World, keep: Keep, step: str) -> None:
    """
    Five others are served within two seconds.
    """
    names = some(6)
    world.front.arm(Fault(step, Break("hang"), times=None, name=names[0].text))
    keeper = keep(*names)
    assert keeper.run_until_served(*names[1:]) < 2
    world.front.faults.clear()
    keeper.run_until_served(names[0])


def test_a_dead_name_under_clicks_keeps_to_the_limits(world: World, keep: Keep) -> None:
    """
    A click every ten seconds for an hour and three restarts: five failed authorizations, and the CA refuses nothing.
    """
    world.tokens.dead.add(NAME)
    world.front.limits = LetsEncryptLimits(world.reactor.seconds)
    keeper = keep(NAME)
    for minute in range(60):
        if minute in (5, 20, 40):
            keeper.restart()
        for _ in range(6):
            keeper.renewer.want(NAME)
            world.reactor.pass_time(10)
    assert [] == world.front.limits.refusals
    assert 2 <= world.front.count("challenge") <= 5
    assert world.front.count("newOrder") <= 5
    assert "unauthorized" in keeper.state(NAME).last_error or "404" in keeper.state(NAME).last_error
    world.tokens.dead.clear()
    keeper.run_until_served(NAME, seconds=2 * HOUR)


def test_a_certificate_that_can_t_be_served_is_ordered_once_an_hour(world: World, keep: Keep) -> None:
    """
    Each uses up the limit of five a week all the same.
    """
    world.front.arm(Fault("certificate", Change(lambda said: said.with_content(b"not PEM")), times=None))
    keeper = keep(NAME, OTHER)
    world.reactor.pass_time(3.5 * HOUR)
    assert world.front.count("newOrder", NAME.text) <= 4
    world.front.faults.clear()
    keeper.run_until_served(NAME, OTHER)


# Limits of the CA's


def test_a_limit_of_the_account_is_met_once(world: World, keep: Keep) -> None:
    """
    Of ten names the first that is refused speaks for all; nobody asks before the time is over.
    """
    world.bundle()
    said = problem(429, "rateLimited", "too many new orders (300) from this account", retry_after="600")
    world.front.arm(Fault("newOrder", Say(said), times=None))
    world.front.seen.clear()
    keeper = keep(*some(10))
    world.reactor.pass_time(590)
    refused = world.front.count("newOrder")
    assert 1 <= refused <= 10  # those that were on their way
    world.front.faults.clear()
    keeper.run_until_served(*some(10))
    assert 10 == world.front.count("newOrder") - refused


def test_a_limit_of_one_name_stops_that_name(world: World, keep: Keep) -> None:
    """
    For as long as the CA said, and no other.
    """
    detail = f'too many certificates (5) already issued for this exact set of identifiers: "{NAME}"'
    said = problem(429, "rateLimited", detail, retry_after="7200")
    world.front.arm(Fault("newOrder", Say(said), times=None, name=NAME.text))
    keeper = keep(NAME, OTHER)
    assert keeper.run_until_served(OTHER) < 2
    world.reactor.pass_time(1.9 * HOUR)
    assert 1 == world.front.count("newOrder", NAME.text)
    world.front.faults.clear()
    assert keeper.run_until_served(NAME) <= 0.2 * HOUR + 10 * MINUTE


def test_orders_keep_to_the_ca_s_buckets(world: World, keep: Keep) -> None:
    """
    New names and two dead ones, at a CA that allows twenty orders at once and one in 36 s: no refusal, and not much
    slower than it could be. A restart forgets nothing.
    """
    names = some(26)
    world.tokens.dead.update(names[:2])
    world.front.limits = LetsEncryptLimits(world.reactor.seconds, new_orders=Limit("new orders", 20, 36.0))
    keeper = keep(*names, limits=Limits(orders=Bucket(20, 36.0)))
    seconds = keeper.run_until_served(*names[2:12])
    keeper.restart()
    seconds += keeper.run_until_served(*names[2:])
    assert [] == world.front.limits.refusals
    orders = world.front.count("newOrder")
    assert seconds <= (orders - 18) * 36.0 / 0.95


# The account


def test_a_lost_account_is_registered_once_for_all_names(world: World, keep: Keep) -> None:
    """
    And all ten names are served within two seconds.
    """
    names = some(10)
    for name in names:  # each once: after the registration the CA knows the account
        world.front.arm(Fault("newOrder", Say(problem(400, "accountDoesNotExist")), name=name.text))
    keeper = keep(*names)
    assert keeper.run_until_served(*names) < 2
    assert 2 == world.front.count("newAccount")


# The disk


def test_a_renewal_is_not_begun_while_the_store_can_not_be_written(world: World, keep: Keep, tmp_path: Path) -> None:
    """
    What is stored is served on; when there is room again the renewal is made.
    """
    keeper = keep(NAME)
    keeper.run_until_served(NAME)
    first = keeper.served[NAME]
    due = StoredCertificate(NAME, first, world.config.directory, world.now() + timedelta(minutes=5))
    world.reactor.run_coroutine(keeper.store.put_certificate(due))
    keeper.restart()
    world.front.seen.clear()
    keeper.store._file.close()
    (tmp_path / "store.db").rename(tmp_path / "moved")
    (tmp_path / "store.db").mkdir()
    world.reactor.pass_time(HOUR)
    assert (first, 0) == (keeper.served[NAME], world.front.count("newOrder"))
    (tmp_path / "store.db").rmdir()
    (tmp_path / "moved").rename(tmp_path / "store.db")
    world.reactor.run_until(lambda: keeper.served[NAME] != first, 2 * HOUR)

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptls.certs.limits import (
    LETS_ENCRYPT,
    LETS_ENCRYPT_STAGING,
    NO_LIMITS,
    Bucket,
    Demand,
    Ledger,
    Limits,
    NotBefore,
    Priority,
)
from sptls.errors import Scope

NOW = 1_000_000.0
WEEK = 7 * 86400.0


def registered(name: str) -> str:
    """
    Give the last two labels, which is right for the names here.
    """
    return ".".join(name.split(".")[-2:])


def ledger(limits: Limits = LETS_ENCRYPT) -> Ledger:
    """
    Give a ledger of an account that has ordered nothing.
    """
    return Ledger(limits, registered)


def new(name: str = "click.example.com", priority: Priority = Priority.WAITING) -> Demand:
    """
    Give the demand of a name that never had a certificate.
    """
    return Demand(name, priority)


def spent(books: Ledger, demands: list[Demand], now: float = NOW) -> int:
    """
    Spend as many of *demands* as are allowed *now*, and count them.
    """
    count = 0
    for demand in demands:
        if books.earliest(demand, now) is None:
            books.spend(demand, now)
            count += 1
    return count


@pytest.mark.parametrize(
    ("priority", "expected"),
    [(Priority.WAITING, 299), (Priority.NEW, 284), (Priority.RETRY, 239)],
)
def test_part_of_the_orders_is_left_for_those_who_go_before(priority: Priority, expected: int) -> None:
    """
    Three hundred orders in three hours: retries leave a fifth of them, new names a twentieth, and one is to spare.
    """
    books = ledger()
    assert expected == spent(books, [new(f"click.n{number}.example", priority) for number in range(400)])


def test_next_order_comes_when_a_token_has_come() -> None:
    """
    One order every 36 seconds and a little, for whoever goes first.
    """
    books = ledger()
    spent(books, [new(f"n{number}.example") for number in range(299)])
    waits = books.earliest(new("next.example"), NOW)
    assert waits is not None
    assert (Scope.ACCOUNT, 36.18) == (waits.scope, round(waits.moment - NOW, 3))
    assert books.earliest(new("next.example"), waits.moment) is None


def test_attempt_of_several_orders_waits_for_as_many() -> None:
    """
    Where it may need two, one that is left is not enough; what it did not need is there for the next.
    """
    books = ledger(Limits(Bucket(3, 100)))
    two = Demand("click.example.com", Priority.NEW, orders=2)
    books.spend(two, NOW)
    assert NotBefore(NOW + 100, Scope.ACCOUNT) == books.earliest(two, NOW)
    books.give_back_orders(two, 1)
    assert books.earliest(two, NOW) is None
    books.give_back_orders(two, 0)
    assert {"orders": NOW + 100} == books.entries


def test_domain_has_fifty_a_week() -> None:
    """
    Names of one registered domain share fifty certificates, one of which is to spare; other domains are not concerned.
    """
    books = ledger()
    assert 49 == spent(books, [new(f"n{number}.example.com") for number in range(60)])
    waits = books.earliest(new("n60.example.com"), NOW)
    assert waits is not None
    assert Scope.REGISTERED_DOMAIN == waits.scope
    assert books.earliest(new("n60.example.net"), NOW) is None


def test_name_has_five_a_week() -> None:
    """
    A sixth certificate for the same name waits for a day and ten hours.
    """
    books = ledger()
    assert 5 == spent(books, [new()] * 9)
    assert NotBefore(NOW + WEEK / 5, Scope.NAME) == books.earliest(new(), NOW)


def test_renewal_is_exempt_from_all_but_the_exact_set() -> None:
    """
    The account's and the domain's limits are for new names.
    """
    books = ledger()
    spent(books, [new(f"n{number}.example.com") for number in range(60)])
    renewal = Demand("n0.example.com", Priority.RENEWAL, is_renewal=True)
    assert 4 == spent(books, [renewal] * 9)


def test_renewal_that_follows_ari_is_free() -> None:
    """
    Nothing is counted, and nothing stands in its way but what the CA itself said.
    """
    books = ledger()
    renewal = Demand("click.example.com", Priority.RENEWAL, is_renewal=True, follows_ari=True)
    assert 1000 == spent(books, [renewal] * 1000)
    books.block(Scope.ACCOUNT, "click.example.com", NOW + 60)
    assert NotBefore(NOW + 60, Scope.ACCOUNT) == books.earliest(renewal, NOW)


def test_order_without_certificate_gives_back_what_only_certificates_cost() -> None:
    """
    The account's order was one all the same.
    """
    books = ledger(Limits(Bucket(1, 100), Bucket(1, 100), Bucket(1, 100)))
    books.spend(new(), NOW)
    books.give_back(new())
    assert NotBefore(NOW + 100, Scope.ACCOUNT) == books.earliest(new(), NOW)
    assert books.earliest(Demand("click.example.com", Priority.RENEWAL, is_renewal=True), NOW) is None


@pytest.mark.parametrize(
    ("scope", "meets"),
    [
        (Scope.NAME, {"click.example.com"}),
        (Scope.REGISTERED_DOMAIN, {"click.example.com", "open.example.com"}),
        (Scope.ACCOUNT, {"click.example.com", "open.example.com", "click.example.net"}),
        (Scope.CA, {"click.example.com", "open.example.com", "click.example.net"}),
    ],
)
def test_what_the_ca_said_meets_exactly_what_it_concerns(scope: Scope, meets: set[str]) -> None:
    """
    A 429's Retry-After holds for the name, the domain, or all; also where no bucket is known.
    """
    books = ledger(NO_LIMITS)
    books.block(scope, "click.example.com", NOW + 60)
    books.block(scope, "click.example.com", NOW + 30)
    names = ["click.example.com", "open.example.com", "click.example.net"]
    assert meets == {name for name in names if books.earliest(new(name), NOW) == NotBefore(NOW + 60, scope)}
    assert spent(books, [new(name) for name in names], NOW + 60) == len(names)


def test_books_survive_a_restart() -> None:
    """
    What changed is told once, to be stored; a ledger made from it stands where the old one stood.
    """
    books = ledger(LETS_ENCRYPT_STAGING)
    spent(books, [new()])
    books.block(Scope.CA, "click.example.com", NOW + 5)
    stored = books.take_changes()
    assert {"name click.example.com", "domain example.com", "orders", "until CA"} == set(stored)
    assert {} == books.take_changes()
    again = Ledger(LETS_ENCRYPT_STAGING, registered, stored)
    assert books.earliest(new(), NOW) == again.earliest(new(), NOW)


def test_entries_that_say_nothing_more_are_forgotten() -> None:
    """
    A bucket that is full again is the same as one that was never used.
    """
    books = ledger()
    spent(books, [new()])
    assert () == books.prune(NOW)
    assert {"orders"} == set(books.prune(NOW + 40))
    assert {"name click.example.com", "domain example.com"} == set(books.take_changes())


def test_clock_that_was_ahead_does_not_park_a_name_for_years() -> None:
    """
    A moment beyond what any limit of ours can ask for is brought back.
    """
    books = Ledger(LETS_ENCRYPT, registered, {"orders": NOW + 400 * 86400, "name click.example.com": NOW + 5})
    books.correct(NOW, WEEK)
    assert {"orders": NOW + WEEK} == books.take_changes()


@given(
    st.lists(st.tuples(st.floats(0, 5000), st.sampled_from(Priority)), max_size=60),
    st.integers(1, 30),
    st.floats(1, 1000),
)
def test_no_bucket_is_overdrawn(steps: list[tuple[float, Priority]], size: int, refill_seconds: float) -> None:
    """
    A bucket of the CA's, filled at its own rate, has a token for everything that the ledger allows.
    """
    books = ledger(Limits(orders=Bucket(size, refill_seconds)))
    now, tokens = NOW, float(size)
    for number, (seconds, priority) in enumerate(steps):
        now, tokens = now + seconds, min(size, tokens + seconds / refill_seconds)
        if spent(books, [new(f"n{number}.example", priority)], now):
            tokens -= 1
        assert tokens > -1e-5


def test_books_go_by_a_clock_that_was_set() -> None:
    """
    What was to be allowed in a minute still is, however the clock was set.
    """
    books = Ledger(Limits(orders=Bucket(1, 60)), registered)
    books.spend(new(), NOW)
    books.shift(5 * WEEK)
    assert NotBefore(NOW + 5 * WEEK + 60, Scope.ACCOUNT) == books.earliest(new(), NOW + 5 * WEEK)


def test_order_that_is_under_way_was_counted() -> None:
    """
    To go on with it spends nothing and waits for no bucket, but a refusal of the CA's holds it up like any other.
    """
    books = ledger(Limits(orders=Bucket(1, 60), certificates_per_name=Bucket(1, 60)))
    books.spend(new(), NOW)
    begun, under_way = dict(books.entries), attrs.evolve(new(), is_under_way=True)
    assert (False, None) == (books.earliest(new(), NOW) is None, books.earliest(under_way, NOW))
    books.spend(under_way, NOW)
    books.give_back_orders(under_way, 1)
    assert begun == books.entries
    books.block(Scope.ACCOUNT, "click.example.com", NOW + 5)
    assert NotBefore(NOW + 5, Scope.ACCOUNT) == books.earliest(under_way, NOW)
    books.give_back(under_way)
    assert NOW == books.entries["name click.example.com"]

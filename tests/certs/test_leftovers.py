"""
Tests for `sptls.certs.leftovers`, on real stores.
"""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING

import attrs
import pytest

from sptls.certs import leftovers
from sptls.certs.leftovers import KEPT, Looked, Place
from sptls.certs.records import Deployment, History, Loaded, RenewalAdvice, Warned
from sptls.certs.schema import connect
from sptls.certs.store_file import StoreFile
from sptls.names import HostName
from tests.certs.authority import NOW
from tests.certs.stored import CA, CLICK, order_for, stored

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

OTHER = HostName("other.example")
HOUR = timedelta(hours=1)
EXPIRY = stored().bundle.not_after
NOTHING = frozenset[str]()
_BEGINNING: Place | None = Place()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """
    Give the path of a store that is not there yet.
    """
    return tmp_path / "store.db"


def filled(path: Path) -> Loaded:
    """
    Store all that there can be of a name, and give it.
    """
    with closing(StoreFile(path, lambda: NOW)) as store:
        failed = History(failed_authorizations=(NOW - HOUR,), directory=CA)
        elsewhere = History(2, NOW + HOUR, (NOW,), "dead", NOW, "https://other.example/")
        limits = {CA: {f"name {CLICK}": NOW.timestamp() + 7 * 86400}}
        store.put_certificate(stored(), attrs.evolve(failed, elsewhere=(elsewhere,)), limits)
        store.put_deployments({CLICK: Deployment("0a")})
        advice = RenewalAdvice(stored().bundle.serial, NOW, NOW, NOW + HOUR)
        store.put_renewal(CLICK, stored().bundle.serial, stored().renew_at, advice)
        store.put_warned({CLICK: Warned("0a", 21)})
        store.put_order(order_for())
        return store.load()


def looked_through(path: Path, now: datetime, configured: frozenset[str] = NOTHING) -> tuple[Loaded, int]:
    """
    Look through the whole store, and give what is left and how much was dropped.
    """
    with closing(StoreFile(path, lambda: now)) as store:
        dropped, place = 0, _BEGINNING
        while place is not None:
            looked = store.drop_some(place, configured)
            dropped += looked.dropped
            place = looked.next_place
        return store.load(), dropped


def test_what_a_ca_counts_still_is_never_dropped(path: Path) -> None:
    """
    A name that comes back must not exceed its CA's limits: for as long as they look back, all is there.
    """
    before = filled(path)
    assert (before, 0) == looked_through(path, NOW)
    week = NOW + timedelta(days=7) - HOUR
    after, _ = looked_through(path, week)
    assert (before.limits, before.histories, before.certificates) == (after.limits, after.histories, after.certificates)


def test_what_is_configured_stays_for_ever(path: Path) -> None:
    """
    But for orders that have expired, and what is full again of a ledger.
    """
    before = filled(path)
    after, dropped = looked_through(path, EXPIRY + 2 * KEPT, frozenset({CLICK.text}))
    assert (attrs.evolve(before, orders=frozenset(), limits={}), 2) == (after, dropped)


def test_each_row_goes_a_month_after_the_last_moment_that_it_tells_of(path: Path) -> None:
    """
    The certificate last, and with it what is known of its files.
    """
    before = filled(path)
    after, dropped = looked_through(path, NOW + HOUR + KEPT + HOUR)
    assert (Loaded(before.certificates, deployments=before.deployments), 5) == (after, dropped)
    assert (after, 0) == looked_through(path, EXPIRY + KEPT)
    assert (Loaded(), 2) == looked_through(path, EXPIRY + KEPT + HOUR)


def test_failure_of_the_future_keeps_its_history(path: Path) -> None:
    """
    Whichever of its moments it is; a history without any goes at once.
    """
    for history in (
        History(1, next_attempt_at=NOW),
        History(attempt_started_at=NOW),
        History(failed_authorizations=(NOW - HOUR, NOW)),
        History(elsewhere=(History(1, NOW, directory=CA),)),
    ):
        with closing(StoreFile(path, lambda: NOW)) as store:
            store.put_history(OTHER, history)
        assert {OTHER: history} == looked_through(path, NOW + KEPT)[0].histories
        assert {} == looked_through(path, NOW + KEPT + HOUR)[0].histories
    with closing(StoreFile(path, lambda: NOW)) as store:
        store.put_history(OTHER, History(1, last_error="forgiven"))
    assert {} == looked_through(path, NOW)[0].histories


def test_store_is_looked_through_a_few_rows_at_a_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Each of them once, whatever is dropped on the way.
    """
    names = [HostName(f"n{number}.example") for number in range(7)]
    with closing(StoreFile(path, lambda: NOW)) as store:
        for name in names:
            store.put_history(name, History(1, NOW))
    monkeypatch.setattr(leftovers, "ROWS_AT_A_TIME", 3)
    with closing(connect(path)) as connection:
        seen = [leftovers.drop_some(connection, Place(1), {names[4].text}, NOW + 2 * KEPT)]
        while (place := seen[-1].next_place) is not None and place.table == 1:
            seen.append(leftovers.drop_some(connection, place, {names[4].text}, NOW + 2 * KEPT))
    assert [Looked(3, Place(1, 3)), Looked(2, Place(1, 6)), Looked(1, Place(2))] == seen


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("certificate", "not_after"),
        ("history", "failed_authorizations"),
        ("ca_limit", "moment"),
        ("warning", "told_at"),
    ],
)
def test_row_that_cannot_be_read_stays(path: Path, table: str, column: str) -> None:
    """
    What is damaged is a matter of the next start.
    """
    filled(path)
    with closing(connect(path)) as connection:
        connection.execute(f"UPDATE {table} SET {column} = 'half'")  # noqa: S608 - constants
    looked_through(path, EXPIRY + 2 * KEPT)
    with closing(connect(path)) as connection:
        kept = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]  # noqa: S608 - constants
        kept += connection.execute("SELECT count(*) FROM set_aside").fetchone()[0]
    assert 1 == kept

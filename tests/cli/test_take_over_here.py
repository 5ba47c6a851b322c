"""
Tests for `sptls.cli.take_over_here`: the store of a daemon that does not run.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from sptls.certs.intake import Offer
from sptls.certs.lock import StateLock
from sptls.certs.records import NO_HISTORY, History
from sptls.certs.store_file import StoreFile
from sptls.certs.store_reader import read_store
from sptls.cli.options import Place, place
from sptls.cli.take_over_here import judge_here, take_over_here
from sptls.errors import BadCertificate, StartError
from sptls.names import HostName
from tests.cli.conftest import Site

A = HostName("a.example")


def _place(site: Site) -> Place:
    return place(site.write("a.example"), None)


def test_taken_certificate_is_stored_and_its_failures_forgotten(site: Site) -> None:
    """
    The daemon that starts then waits until it is due; the lock is given back.
    """
    moment = datetime.now(UTC) + timedelta(hours=6)
    site.put_history("a.example", History(5, moment, last_error="refused", directory="internal"))
    bundle = site.bundle("a.example")
    (outcome,) = take_over_here(_place(site).config(), [Offer(A, bundle)])
    loaded = read_store(site.state / "store.db")
    assert ("taken", bundle, "internal") == (
        outcome.word,
        loaded.certificates[A].bundle,
        loaded.certificates[A].directory,
    )
    assert 0 == loaded.histories.get(A, NO_HISTORY).consecutive_failures
    lock = StateLock(site.state)
    lock.acquire()
    lock.release()


def test_store_is_made_where_there_is_none(site: Site) -> None:
    """
    A migration begins with nothing.
    """
    where = _place(site)
    site.state.rmdir()
    assert ["taken"] == [one.word for one in take_over_here(where.config(), [Offer(A, site.bundle("a.example"))])]
    assert 0o700 == site.state.stat().st_mode & 0o777


def test_daemon_that_starts_meanwhile_keeps_its_store(site: Site) -> None:
    """
    Nobody else writes it.
    """
    lock = StateLock(site.state)
    lock.acquire()
    with pytest.raises(StartError, match="uses this state directory"):
        list(take_over_here(_place(site).config(), [Offer(A, site.bundle("a.example"))]))
    lock.release()


def test_certificate_that_the_store_refuses_keeps_nothing_else(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    It may expire at the last moment.
    """

    def refuse(*_: object) -> None:
        raise BadCertificate("it has expired")

    monkeypatch.setattr(StoreFile, "put_certificate", refuse)
    outcomes = take_over_here(_place(site).config(), [Offer(A, site.bundle("a.example"))])
    assert [("refused", "it has expired")] == [(one.word, one.reason) for one in outcomes]


def test_trial_reads_only(site: Site) -> None:
    """
    Also beside a daemon that can't be asked.
    """
    site.put("a.example")
    before = {path.name for path in site.state.iterdir()}
    (outcome,) = judge_here(_place(site), [Offer(A, site.bundle("a.example", timedelta(days=95)))])
    assert ("taken", before) == (outcome.word, {path.name for path in site.state.iterdir()})

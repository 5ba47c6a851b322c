from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from sptls.certs import copies, schema
from sptls.certs.copies import FIRST_LOOK_SECONDS, LOOK_AGAIN_SECONDS, DailyCopies
from sptls.certs.records import NO_HISTORY, AccountRecord, History
from sptls.certs.store_file import StoreFile
from sptls.errors import StoreError
from sptls.names import HostName
from tests.certs.authority import NOW
from tests.certs.stored import CA, CLICK, bundle_for, open_directory, outcome, read_only, stored

if TYPE_CHECKING:
    from collections.abc import Callable

DEAD = HostName("dead.example")
FAILING = History(2, NOW + timedelta(minutes=5), (NOW, NOW), "dead", None, CA)
ACCOUNT = AccountRecord(b"key", "https://ca/acct/1")
OTHER = stored("other.example.com")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """
    Where the store of a test is.
    """
    return tmp_path / "store.db"


def with_copy(path: Path) -> None:
    """
    Make a store with a certificate, a failing name and an account, and its copy.
    """
    with closing(StoreFile(path, lambda: NOW)) as store:
        store.put_certificate(stored(), NO_HISTORY)
        store.put_history(DEAD, FAILING)
        store.put_account(CA, ACCOUNT)
        store.copy_if_due()


def filled(path: Path, connection: sqlite3.Connection) -> str:
    """
    Fill the store that is open as *connection*.
    """
    connection.execute("BEGIN IMMEDIATE")
    words = copies.fill(connection, path)
    connection.execute("COMMIT")
    return words


# Making one


def test_a_copy_is_the_whole_store(path: Path) -> None:
    """
    It can be put in the store's place by hand.
    """
    with_copy(path)
    copies.copy_path(path).rename(path)
    with closing(StoreFile(path, lambda: NOW)) as store:
        loaded = store.load()
        assert ({CLICK: stored()}, {DEAD: FAILING}, ()) == (loaded.certificates, loaded.histories, loaded.damaged)
        assert ACCOUNT == store.account(CA)


def test_a_copy_is_private_and_alone(path: Path) -> None:
    """
    It has keys in it: mode 0600 under any umask, and nothing else is left beside it.
    """
    before = os.umask(0o000)
    try:
        with_copy(path)
    finally:
        os.umask(before)
    assert 0o600 == copies.copy_path(path).stat().st_mode & 0o777
    assert {"store.db", "store.db-journal", "store.db.daily"} == {each.name for each in path.parent.iterdir()}


def test_a_copy_has_the_moment_when_it_was_made(path: Path) -> None:
    """
    By our clock.
    """
    assert copies.made_at(path) is None
    with_copy(path)
    assert copies.made_at(path) == NOW


def test_a_copy_takes_the_place_of_the_old_one(path: Path) -> None:
    """
    Once it is whole.
    """
    with_copy(path)
    with closing(schema.connect(path)) as connection:
        connection.execute("DELETE FROM certificate")
        copies.make(connection, path, NOW + timedelta(days=1))
    with closing(schema.connect(copies.copy_path(path))) as copy:
        assert (0,) == copy.execute("SELECT count(*) FROM certificate").fetchone()


def test_a_copy_that_can_t_be_made_leaves_the_old_one() -> None:
    """
    On a read-only file system the error says so, and nothing is left behind.
    """
    with open_directory() as directory:
        path = directory / "store.db"
        with_copy(path)
        told = pytest.raises(StoreError, match="Permission denied; the copy of the store before is kept")
        with closing(schema.connect(path)) as connection, read_only(directory), told:
            copies.make(connection, path, NOW + timedelta(days=1))
        assert copies.made_at(path) == NOW
        assert 3 == len(list(directory.iterdir()))


def test_an_error_of_sqlite_leaves_the_old_copy(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A disk that fills up in the middle.
    """

    def full(_connection: sqlite3.Connection, copy: str) -> None:
        Path(copy).write_bytes(b"half")
        raise sqlite3.OperationalError("database or disk is full")

    with_copy(path)
    monkeypatch.setattr(copies, "_write", full)
    with closing(schema.connect(path)) as connection, pytest.raises(StoreError, match="disk is full"):
        copies.make(connection, path, NOW)
    assert {"store.db", "store.db-journal", "store.db.daily"} == {each.name for each in path.parent.iterdir()}


# Filling a store from it


def test_a_missing_store_needs_its_copy(path: Path) -> None:
    """
    An empty file is a missing one; without a copy nothing is needed.
    """
    assert not copies.is_needed(path)
    with_copy(path)
    assert not copies.is_needed(path)
    path.write_bytes(b"")
    assert copies.is_needed(path)
    path.unlink()
    assert copies.is_needed(path)


def test_an_empty_store_gets_everything(path: Path) -> None:
    """
    Certificates, accounts and what is remembered of names that fail.
    """
    with_copy(path)
    path.unlink()
    with closing(schema.connect(path)) as connection:
        words = filled(path, connection)
    assert f"1 certificates came from the copy of 2026-08-01 12:00 UTC, {path}.daily" == words
    with closing(StoreFile(path, lambda: NOW)) as store:
        loaded = store.load()
        assert ({CLICK: stored()}, {DEAD: FAILING}) == (loaded.certificates, loaded.histories)
        assert ACCOUNT == store.account(CA)


def test_a_store_keeps_what_it_has(path: Path) -> None:
    """
    A newer certificate is not replaced by its predecessor, and a failure that is over is not brought back.
    """
    with_copy(path)
    newer = attrs.evolve(stored(), bundle=bundle_for(CLICK))
    with closing(StoreFile(path, lambda: NOW)) as store:
        store.put_certificate(newer, NO_HISTORY)
        store.put_history(DEAD, NO_HISTORY)
    with closing(schema.connect(path)) as connection:
        assert filled(path, connection).startswith("0 certificates")
    with closing(StoreFile(path, lambda: NOW)) as store:
        loaded = store.load()
        assert ({CLICK: newer}, {}) == (loaded.certificates, loaded.histories)


def test_without_a_copy_nothing_is_said(path: Path) -> None:
    """
    Nothing was brought.
    """
    with closing(schema.connect(path)) as connection:
        assert "" == filled(path, connection)


@pytest.mark.parametrize("content", [b"", b"garbage" * 1000, b"SQLite format 3\0" + b"x" * 5000])
def test_a_copy_that_is_none_gives_nothing(path: Path, content: bytes) -> None:
    """
    The store is none the worse for it.
    """
    copies.copy_path(path).write_bytes(content)
    with closing(StoreFile(path, lambda: NOW)) as store:
        assert {} == store.load().certificates
        store.put_certificate(stored(), NO_HISTORY)


def test_a_damaged_copy_gives_what_can_be_read(path: Path) -> None:
    """
    A wrong checksum costs one certificate.
    """
    with closing(StoreFile(path, lambda: NOW)) as store:
        store.put_certificate(stored(), NO_HISTORY)
        store.put_certificate(OTHER, NO_HISTORY)
        store.copy_if_due()
    with closing(sqlite3.connect(copies.copy_path(path), isolation_level=None)) as copy:
        copy.execute("UPDATE certificate SET names = 'x' WHERE name = 'other.example.com'")
    path.unlink()
    with closing(StoreFile(path, lambda: NOW)) as store:
        assert {CLICK: stored()} == store.load().certificates


def test_a_copy_of_an_older_sptls_is_brought_to_the_newest_schema(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The first day after an update is no exception.
    """
    with monkeypatch.context() as older:
        older.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:1])
        with closing(schema.connect(path)) as connection:
            copies.make(connection, path, NOW)
    path.unlink()
    with closing(schema.connect(path)) as connection:
        filled(path, connection)
    with closing(sqlite3.connect(copies.copy_path(path))) as copy:
        assert (len(schema.MIGRATIONS),) == copy.execute("PRAGMA user_version").fetchone()


# Exported files


def test_exported_files_are_read(tmp_path: Path) -> None:
    """
    A chain and a key for each name; what is missing or damaged is left out.
    """
    bundle = bundle_for(CLICK)
    for name, chain, key in (
        ("good", bundle.chain_pem(), bundle.key_pem()),
        ("bad", b"garbage", bundle.key_pem()),
        ("half", bundle.chain_pem()[:300], bundle.key_pem()),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "fullchain.pem").write_bytes(chain)
        (tmp_path / name / "privkey.pem").write_bytes(key)
    (tmp_path / "dir" / "fullchain.pem").mkdir(parents=True)
    (tmp_path / "dir" / "privkey.pem").write_bytes(bundle.key_pem())
    names = {"good": CLICK, "bad": HostName("b.test"), "half": HostName("h.test"), "dir": HostName("d.test")}
    files = {host: (tmp_path / name / "fullchain.pem", tmp_path / name / "privkey.pem") for name, host in names.items()}
    files[HostName("missing.test")] = (tmp_path / "no", tmp_path / "nor this")
    with capturedLogs() as logs:
        assert {CLICK: bundle} == copies.exported(files)
    assert 3 == len(logs)


# The service


@attrs.define
class Copied:
    """
    A store whose copies are counted.
    """

    answer: Callable[[], None] = lambda: None
    calls: int = 0
    waiting: Deferred[None] | None = None

    async def copy_if_due(self) -> None:
        """
        Count it.
        """
        self.calls += 1
        if self.waiting is not None:
            await self.waiting
        self.answer()


def failing(error: Exception) -> Callable[[], None]:
    """
    Give what raises *error*.
    """

    def fail() -> None:
        raise error

    return fail


def test_copies_are_looked_after_every_hour() -> None:
    """
    A minute after the start for the first time, and never after the stop.
    """
    clock, store = Clock(), Copied()
    copies_made = DailyCopies(store, clock)
    copies_made.start()
    clock.advance(FIRST_LOOK_SECONDS - 1)
    assert 0 == store.calls
    clock.advance(1)
    assert 1 == store.calls
    clock.advance(LOOK_AGAIN_SECONDS)
    assert 2 == store.calls
    outcome(copies_made.stop())
    assert [] == clock.getDelayedCalls()


def test_a_failure_is_said_once_and_tried_again() -> None:
    """
    An error of a full disk does not fill it with log, and does not end the loop.
    """
    clock, store = Clock(), Copied(failing(StoreError("/s", "no room")))
    copies_made = DailyCopies(store, clock)
    with capturedLogs() as logs:
        copies_made.start()
        clock.advance(FIRST_LOOK_SECONDS)
        clock.advance(LOOK_AGAIN_SECONDS)
    assert (2, 1) == (store.calls, len(logs))
    with capturedLogs() as logs:
        store.answer = lambda: None
        clock.advance(LOOK_AGAIN_SECONDS)
        store.answer = failing(StoreError("/s", "no room"))
        clock.advance(LOOK_AGAIN_SECONDS)
    assert 1 == len(logs)
    outcome(copies_made.stop())


def test_a_fault_of_ours_does_not_end_the_loop() -> None:
    """
    It is logged with its traceback.
    """
    clock, store = Clock(), Copied(failing(ZeroDivisionError()))
    copies_made = DailyCopies(store, clock)
    with capturedLogs() as logs:
        copies_made.start()
        clock.advance(FIRST_LOOK_SECONDS)
        clock.advance(LOOK_AGAIN_SECONDS)
    assert [ZeroDivisionError] * 2 == [each["log_failure"].type for each in logs]
    outcome(copies_made.stop())


def test_a_stop_does_not_wait_for_a_copy() -> None:
    """
    The store finishes it when it is closed.
    """
    clock, store = Clock(), Copied(waiting=Deferred())
    copies_made = DailyCopies(store, clock)
    copies_made.start()
    clock.advance(FIRST_LOOK_SECONDS)
    outcome(copies_made.stop())
    outcome(copies_made.stop())
    assert 1 == store.calls

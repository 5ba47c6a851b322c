"""
Tests for `sptls.certs.store_reader`, on real files.
"""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from sptls.certs import schema
from sptls.certs.records import NO_HISTORY, History, Loaded
from sptls.certs.store_file import StoreFile
from sptls.certs.store_reader import read_certificates, read_store
from sptls.errors import StoreError
from sptls.names import HostName
from tests.certs.authority import NOW
from tests.certs.stored import CA, open_directory, read_only, stored

DEAD = HostName("dead.example")
FAILING = History(2, NOW + timedelta(minutes=5), (NOW, NOW), "refused", None, CA)


def _fill(directory: Path) -> Path:
    """
    Make a store with a certificate and a history in *directory*.
    """
    path = directory / "store.db"
    with closing(StoreFile(path, lambda: NOW)) as store:
        store.put_certificate(stored(), NO_HISTORY)
        store.put_history(DEAD, FAILING)
    return path


def _seen(directory: Path) -> dict[str, tuple[int, bytes]]:
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in directory.iterdir()}


def _execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def test_everything_is_read_and_nothing_changed(tmp_path: Path) -> None:
    """
    Certificates and histories come out as they were put in.
    """
    path = _fill(tmp_path)
    before = _seen(tmp_path)
    assert Loaded({stored().name: stored()}, {DEAD: FAILING}) == read_store(path)
    assert before == _seen(tmp_path)


def test_no_store_is_nothing_stored(tmp_path: Path) -> None:
    """
    And no file is made of it.
    """
    assert Loaded() == read_store(tmp_path / "store.db")
    assert [] == list(tmp_path.iterdir())


def test_file_without_a_schema_is_nothing_stored(tmp_path: Path) -> None:
    """
    The daemon makes the file before it writes to it.
    """
    (tmp_path / "store.db").touch()
    assert Loaded() == read_store(tmp_path / "store.db")


def test_store_is_read_while_a_daemon_has_it_open(tmp_path: Path) -> None:
    """
    Neither waits for the other.
    """
    path = _fill(tmp_path)
    with closing(StoreFile(path, lambda: NOW)) as daemon:
        daemon.load()
        assert {stored().name} == set(read_store(path).certificates)
        daemon.remove(stored().name)
        assert {} == read_store(path).certificates


def test_store_in_a_directory_that_cannot_be_written_is_read() -> None:
    """
    A back-up on a read-only disk is as good.
    """
    with open_directory() as directory:
        path = _fill(directory)
        with read_only(directory):
            assert {stored().name} == set(read_store(path).certificates)


def test_damaged_rows_are_told_and_left_where_they_are(tmp_path: Path) -> None:
    """
    What is sound is given; the daemon sets the rest aside when it starts.
    """
    path = _fill(tmp_path)
    _execute(path, "UPDATE certificate SET issuer = 'other'", "UPDATE history SET consecutive_failures = 'x'")
    before = _seen(tmp_path)
    loaded = read_store(path)
    assert ({}, {}, 2) == (loaded.certificates, loaded.histories, len(loaded.damaged))
    assert loaded.damaged[0].startswith("click.example.com: the stored certificate is damaged")
    assert before == _seen(tmp_path)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("PRAGMA user_version = 99", "a newer sptls wrote it (schema 99)"),
        ("DROP TABLE history", "it is damaged"),
    ],
)
def test_store_that_cannot_be_read_is_refused_with_advice(tmp_path: Path, statement: str, said: str) -> None:
    """
    The sentence says what to do, and nothing is changed.
    """
    path = _fill(tmp_path)
    _execute(path, statement)
    before = _seen(tmp_path)
    with pytest.raises(StoreError) as caught:
        read_store(path)
    assert said in str(caught.value)
    assert before == _seen(tmp_path)


def test_older_schema_without_what_is_read_asks_for_a_start(tmp_path: Path) -> None:
    """
    Only the daemon brings a store up to date.
    """
    path = _fill(tmp_path)
    _execute(path, "DROP TABLE history", f"PRAGMA user_version = {len(schema.MIGRATIONS) - 1}")
    with pytest.raises(StoreError, match="an older sptls wrote it"):
        read_store(path)


def test_garbage_is_said_to_be_damage(tmp_path: Path) -> None:
    """
    Whatever stands in the file.
    """
    path = tmp_path / "store.db"
    path.write_bytes(b"garbage" * 1000)
    with pytest.raises(StoreError, match="damaged"):
        read_store(path)


def test_forbidden_store_says_who_may_read_it() -> None:
    """
    Another user's.
    """
    with open_directory() as directory:
        path = _fill(directory)
        with read_only(directory):
            user = os.geteuid()
            os.seteuid(0)
            path.chmod(0)
            os.seteuid(user)
            with pytest.raises(StoreError, match="root or as the daemon's user"):
                read_store(path)


def test_write_that_was_cut_off_is_left_to_the_daemon(tmp_path: Path) -> None:
    """
    Only a writer can roll it back, and a reader must not.
    """
    path = _fill(tmp_path)
    child = os.fork()
    if child == 0:  # pragma: no cover - killed before it could tell
        connection = sqlite3.connect(path, isolation_level=None)
        connection.execute("PRAGMA cache_size = 1")
        connection.execute("BEGIN IMMEDIATE")
        for number in range(3000):
            connection.execute("INSERT INTO set_aside (at, reason, name) VALUES (1, ?, ?)", ("x" * 500, number))
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    before = _seen(tmp_path)
    with pytest.raises(StoreError, match="start sptls once"):
        read_store(path)
    assert before == _seen(tmp_path)


def test_some_certificates_are_read(tmp_path: Path) -> None:
    """
    Those that are stored, of the names that are asked for; the damaged ones are left out.
    """
    path = _fill(tmp_path)
    assert (stored(),) == read_certificates(path, [DEAD, stored().name])
    assert () == read_certificates(path, [DEAD])
    _execute(path, "UPDATE certificate SET private_key = x'00'")
    assert () == read_certificates(path, [stored().name])


def test_some_certificates_of_no_store_are_an_error(tmp_path: Path) -> None:
    """
    Whoever asks for some knows that there is a store.
    """
    with pytest.raises(StoreError, match=r"store\.db"):
        read_certificates(tmp_path / "store.db", [DEAD])

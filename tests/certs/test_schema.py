from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from sptls.certs import rows, schema
from sptls.errors import StoreError
from tests.certs.authority import NOW
from tests.certs.stored import CLICK, open_directory, order_for, read_only, stored


def value(connection: sqlite3.Connection, query: str) -> object:
    """
    Give the one value that *query* finds.
    """
    return connection.execute(query).fetchone()[0]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_files_are_private(tmp_path: Path, umask: int) -> None:
    """
    The file and its journal have mode 0600 and the directory 0700, whatever the umask.
    """
    path = tmp_path / "state" / "store.db"
    before = os.umask(umask)
    try:
        with closing(schema.connect(path)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO account VALUES ('d', 'u', x'00', x'00')")
            modes = {one.name: one.stat().st_mode & 0o777 for one in [path.parent, *path.parent.iterdir()]}
            connection.execute("COMMIT")
    finally:
        os.umask(before)
    assert {"state": 0o700, "store.db": 0o600, "store.db-journal": 0o600} == modes


def test_lax_mode_is_tightened(tmp_path: Path) -> None:
    """
    A file that a back-up was restored into with mode 0644 is private again.
    """
    path = tmp_path / "store.db"
    path.touch(0o644)
    schema.connect(path).close()
    assert 0o600 == path.stat().st_mode & 0o777


def test_every_write_is_on_the_disk(tmp_path: Path) -> None:
    """
    The journal mode and synchronisation are those that survive a power cut and open on a full disk.
    """
    with closing(schema.connect(tmp_path / "store.db")) as connection:
        assert ("truncate", 2) == (value(connection, "PRAGMA journal_mode"), value(connection, "PRAGMA synchronous"))


def test_schema_is_versioned(tmp_path: Path) -> None:
    """
    A new file has the newest version, and opening it again changes nothing.
    """
    for _ in range(2):
        with closing(schema.connect(tmp_path / "store.db")) as connection:
            assert len(schema.MIGRATIONS) == value(connection, "PRAGMA user_version")


def test_older_schema_is_migrated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A newer sptls adds what it needs to a store that an older one wrote, and keeps what is in it.
    """
    with closing(schema.connect(tmp_path / "store.db")) as connection:
        connection.execute("INSERT INTO account VALUES ('d', 'u', x'00', x'00')")
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, "ALTER TABLE account ADD note TEXT DEFAULT 'new';"))
    with closing(schema.connect(tmp_path / "store.db")) as connection:
        assert ("new", len(schema.MIGRATIONS)) == (
            value(connection, "SELECT note FROM account"),
            value(connection, "PRAGMA user_version"),
        )


def test_failed_migration_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A migration happens whole or not at all.
    """
    path = tmp_path / "store.db"
    schema.connect(path).close()
    before = path.read_bytes()
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, "ALTER TABLE account ADD note; nonsense;"))
    with pytest.raises(sqlite3.OperationalError):
        schema.connect(path)
    assert before == path.read_bytes()


@pytest.mark.parametrize("version", range(1, len(schema.MIGRATIONS)))
def test_every_older_schema_is_brought_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    """
    A store of any version before has the same tables afterwards as a new one, and its rows.
    """
    path, query = tmp_path / "store.db", "SELECT group_concat(sql) FROM (SELECT sql FROM sqlite_schema ORDER BY name)"
    with monkeypatch.context() as older:
        older.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:version])
        with closing(schema.connect(path)) as connection:
            connection.execute("INSERT INTO account VALUES ('d', 'u', x'00', x'00')")
    with closing(schema.connect(path)) as mended, closing(schema.connect(tmp_path / "new.db")) as new:
        assert value(new, query) == value(mended, query)
        assert 1 == value(mended, "SELECT count(*) FROM account")


def test_newer_schema_is_refused(tmp_path: Path) -> None:
    """
    A store that a newer sptls wrote is left alone, and the message says what to start.
    """
    path = tmp_path / "store.db"
    with closing(schema.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    known = len(schema.MIGRATIONS)
    with pytest.raises(StoreError, match=f"its schema is version 99, this sptls knows {known}; start the newer sptls"):
        schema.connect(path)


def test_directory_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    """
    The message names the path, the cause, and what to do.
    """
    (tmp_path / "file").touch()
    with pytest.raises(StoreError) as caught:
        schema.connect(tmp_path / "file" / "store.db")
    assert str(tmp_path / "file" / "store.db") in str(caught.value)
    assert "make its directory writable" in str(caught.value)


def test_something_else_of_that_name_is_said(tmp_path: Path) -> None:
    """
    A directory where the file should be is not opened, and not called damaged.
    """
    (tmp_path / "store.db").mkdir()
    with pytest.raises(StoreError, match="unable to open database file; check that its directory exists"):
        schema.connect(tmp_path / "store.db")


def test_opens_on_a_read_only_disk() -> None:
    """
    What is stored can be read where nothing can be written.
    """
    with open_directory() as directory:
        with closing(schema.connect(directory / "store.db")) as connection:
            connection.execute("INSERT INTO account VALUES ('d', 'u', x'00', x'00')")
        with read_only(directory), closing(schema.connect(directory / "store.db")) as connection:
            assert 1 == value(connection, "SELECT count(*) FROM account")
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                connection.execute("DELETE FROM account")


def test_rescue_copies_what_is_sound(tmp_path: Path) -> None:
    """
    The damaged file is kept under a telling name; its sound rows are in the fresh one, a damaged row is not.
    """
    path = tmp_path / "store.db"
    marks = ", ".join("?" * 12)
    with closing(schema.connect(path)) as connection:
        for name in ("a.example", "b.example"):
            row = rows.certificate_row(stored(name))
            connection.execute(f"INSERT INTO certificate ({rows.CERTIFICATE_COLUMNS}) VALUES ({marks})", row)  # noqa: S608
        connection.execute("UPDATE certificate SET names = 'other' WHERE name = 'b.example'")
        connection.execute("INSERT INTO history VALUES ('b.example', '', 3, NULL, '', 'dead', NULL, '', '')")
        connection.execute("INSERT INTO deployment VALUES ('c.example', '0a', 1, 0, NULL, '')")
        connection.execute("INSERT INTO renewal_information VALUES ('d.example', '0a', 1, 2, 3, '')")
        connection.execute("INSERT INTO warning VALUES ('e.example', '0a', 7, 1, 3)")
        connection.execute(f"INSERT INTO acme_order VALUES ({', '.join('?' * 11)})", rows.order_row(order_for()))  # noqa: S608
        path.with_name("store.db-journal").write_bytes(b"")
    fresh, kept = schema.rescue(path, NOW)
    with closing(fresh):
        assert ("a.example", "b.example", "c.example", "d.example", "e.example", CLICK.text) == (
            value(fresh, "SELECT name FROM certificate"),
            value(fresh, "SELECT name FROM history"),
            value(fresh, "SELECT name FROM deployment"),
            value(fresh, "SELECT name FROM renewal_information"),
            value(fresh, "SELECT name FROM warning"),
            value(fresh, "SELECT name FROM acme_order"),
        )
    assert kept == path.with_name("store.db.damaged-20260801T120000.000000Z")
    assert kept.exists()


def test_rescue_of_garbage_gives_an_empty_store(tmp_path: Path) -> None:
    """
    From a file that is no database nothing can be copied; it is kept all the same.
    """
    path = tmp_path / "store.db"
    path.write_bytes(b"garbage" * 1000)
    with pytest.raises(sqlite3.DatabaseError) as caught:
        schema.connect(path)
    assert schema.is_damage(caught.value)
    fresh, kept = schema.rescue(path, NOW)
    with closing(fresh):
        assert 0 == value(fresh, "SELECT count(*) FROM certificate")
    assert b"garbage" * 1000 == kept.read_bytes()


def test_directory_that_may_not_be_looked_into_is_said(tmp_path: Path) -> None:
    """
    As when the permission is lost while the daemon runs: an error like any other of the store's.
    """
    with read_only(tmp_path), pytest.raises(StoreError, match="Permission denied; make its directory writable"):
        schema.connect(tmp_path / "store.db")


def test_rescue_on_a_read_only_disk_is_said() -> None:
    """
    Where the damaged file can't be moved, the message says to move it.
    """
    with open_directory() as directory:
        (directory / "store.db").write_bytes(b"garbage")
        with read_only(directory), pytest.raises(StoreError, match="it is damaged and can't be put aside"):
            schema.rescue(directory / "store.db", NOW)


def test_full_disk_in_a_rescue_is_said(tmp_path: Path) -> None:
    """
    A rescue that can't write its copy fails as a store error, with the damaged file where it was: the next start finds
    it again, and not an empty one.
    """

    def full(fresh: sqlite3.Connection) -> None:
        fresh.execute("PRAGMA max_page_count = 1")
        fresh.execute("CREATE TABLE filler AS SELECT zeroblob(100000)")

    schema.connect(tmp_path / "store.db").close()
    before = (tmp_path / "store.db").read_bytes()
    with pytest.raises(StoreError, match="free some space"):
        schema.rescue(tmp_path / "store.db", NOW, full)
    assert {"store.db", "store.db-journal"} == {path.name for path in tmp_path.iterdir()}
    assert before == (tmp_path / "store.db").read_bytes()


def test_rescue_that_fails_closes_what_it_made(tmp_path: Path) -> None:
    """
    Whatever ended it.
    """
    made: list[sqlite3.Connection] = []

    def broken(fresh: sqlite3.Connection) -> None:
        made.append(fresh)
        raise ZeroDivisionError

    schema.connect(tmp_path / "store.db").close()
    with pytest.raises(ZeroDivisionError):
        schema.rescue(tmp_path / "store.db", NOW, broken)
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        made[0].execute("SELECT 1")


def test_unknown_error_is_given_as_it_is() -> None:
    """
    An error without advice of ours is still shown.
    """
    assert "the store /s can't be used: odd" == str(schema.store_error(Path("/s"), sqlite3.Error("odd")))

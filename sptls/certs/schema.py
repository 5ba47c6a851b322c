"""
The store's file: how it is made, opened, brought to the newest schema, and rescued when it is damaged.

Decision 3 of the design: SQLite with ``journal_mode=TRUNCATE`` (WAL can't be opened on a read-only or full disk) and
``synchronous=FULL``; the file exists with mode 0600 before SQLite sees it, so that the journal gets the same mode. Runs
in whatever thread it is called in; knows no Twisted.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Final

from sptls.certs import rows
from sptls.errors import StoreError
from sptls.files import make_private_directory, sync_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator
    from datetime import datetime
    from pathlib import Path

# Its name in the state directory.
STORE_FILE: Final = "store.db"

# Another process (a command, a back-up) holds the lock for one transaction: milliseconds. Five seconds is "hangs".
BUSY_SECONDS: Final = 5.0

# One script per version, in order; `PRAGMA user_version` counts those that were applied. Never edit one that was
# released: append.
MIGRATIONS: Final = (
    """
    CREATE TABLE certificate (
        name TEXT PRIMARY KEY, directory TEXT NOT NULL, renew_at INTEGER NOT NULL, names TEXT NOT NULL,
        not_before INTEGER NOT NULL, not_after INTEGER NOT NULL, issuer TEXT NOT NULL, serial TEXT NOT NULL,
        private_key BLOB NOT NULL, end_entity BLOB NOT NULL, issuers BLOB NOT NULL, checksum BLOB NOT NULL
    );
    CREATE TABLE history (
        name TEXT PRIMARY KEY, directory TEXT NOT NULL, consecutive_failures INTEGER NOT NULL,
        next_attempt_at INTEGER, failed_authorizations TEXT NOT NULL, last_error TEXT NOT NULL,
        attempt_started_at INTEGER
    );
    CREATE TABLE account (
        directory TEXT PRIMARY KEY, url TEXT NOT NULL, private_key BLOB NOT NULL, checksum BLOB NOT NULL
    );
    CREATE TABLE set_aside (
        at INTEGER NOT NULL, reason TEXT NOT NULL,
        name, directory, renew_at, names, not_before, not_after, issuer, serial, private_key, end_entity, issuers,
        checksum
    );
    """,
    """
    CREATE TABLE deployment (
        name TEXT PRIMARY KEY, serial TEXT NOT NULL, is_command_owed INTEGER NOT NULL,
        consecutive_failures INTEGER NOT NULL, next_attempt_at INTEGER, last_error TEXT NOT NULL
    );
    """,
    """
    CREATE TABLE acme_order (
        name TEXT PRIMARY KEY, directory TEXT NOT NULL, account_url TEXT NOT NULL, url TEXT NOT NULL,
        created_at INTEGER NOT NULL, expires INTEGER NOT NULL, is_replacement INTEGER NOT NULL,
        private_key BLOB NOT NULL, checksum BLOB NOT NULL
    );
    """,
    """
    ALTER TABLE history ADD COLUMN elsewhere TEXT NOT NULL DEFAULT '';
    CREATE TABLE ca_limit (
        directory TEXT NOT NULL, entry TEXT NOT NULL, moment REAL NOT NULL, PRIMARY KEY (directory, entry)
    );
    CREATE TABLE renewal_information (
        name TEXT PRIMARY KEY, serial TEXT NOT NULL, window_start INTEGER, window_end INTEGER,
        ask_again_at INTEGER NOT NULL, explanation_url TEXT NOT NULL
    );
    """,
    """
    CREATE TABLE warning (
        name TEXT PRIMARY KEY, serial TEXT NOT NULL, days INTEGER NOT NULL, is_failing INTEGER NOT NULL,
        told_at INTEGER NOT NULL
    );
    """,
    """
    ALTER TABLE history ADD COLUMN diagnosis TEXT NOT NULL DEFAULT '';
    """,
    """
    ALTER TABLE acme_order ADD COLUMN failed_types TEXT NOT NULL DEFAULT '';
    ALTER TABLE acme_order ADD COLUMN is_counted INTEGER NOT NULL DEFAULT 0;
    """,
)

# What SQLite says when the file is not what we wrote. Plain SQLITE_ERROR is among them: our statements are constants,
# so "no such column" comes of a damaged schema.
_DAMAGE = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_ERROR", "SQLITE_FORMAT", "SQLITE_MISMATCH")

_ADVICE = {
    "SQLITE_FULL": "free some space; what is stored is intact",
    "SQLITE_READONLY": "make the file, its directory and the file system writable for this user",
    "SQLITE_BUSY": f"another process holds it for over {BUSY_SECONDS:.0f} s; end that process",
    "SQLITE_CANTOPEN": "check that its directory exists and is writable for this user",
    "SQLITE_PERM": "make the file and its directory writable for this user",
    "SQLITE_IOERR": "check the disk and the kernel's log",
}

# A page holds at most about a hundred of our rows; a stretch as long as this is no single damaged page.
_UNREADABLE_AT_THE_END = 1000


def connect(path: Path, busy_seconds: float = BUSY_SECONDS) -> sqlite3.Connection:
    """
    Open the store at *path*, made if there is none, brought to the newest schema.

    Everything done on it waits *busy_seconds* at most for another process that has it locked.

    Raises:
        StoreError: it can't be opened, or a newer sptls wrote it.
        sqlite3.DatabaseError: it is damaged (`is_damage`).
    """
    _make_private_file(path)
    try:
        connection = _open(path, busy_seconds)
        try:
            _migrate(path, connection)
        except BaseException:
            connection.close()
            raise
    except sqlite3.Error as error:
        if is_damage(error):
            raise
        raise store_error(path, error) from None
    return connection


def store_error(path: Path, error: sqlite3.Error | UnicodeDecodeError) -> StoreError:
    """
    Give the `StoreError` that says what *error* means and what to do.
    """
    name = getattr(error, "sqlite_errorname", "")
    advice = next((advice for prefix, advice in _ADVICE.items() if name.startswith(prefix)), "")
    return StoreError(str(path), f"{error}; {advice}" if advice else f"{error}")


def is_damage(error: sqlite3.Error | UnicodeDecodeError) -> bool:
    """
    Tell whether *error* means that the file's content is damaged (and not the disk, a lock or a permission).
    """
    # SQLite quotes a damaged schema in its message, and Python can't decode that.
    return isinstance(error, UnicodeDecodeError) or getattr(error, "sqlite_errorname", "").startswith(_DAMAGE)


def rescue(
    path: Path, now: datetime, fill: Callable[[sqlite3.Connection], None] = lambda _: None
) -> tuple[sqlite3.Connection, Path]:
    """
    Make a fresh file with every row of the damaged one that can still be read, and put it in its place; give both.

    *fill* may add to the fresh one what is found elsewhere. The damaged one is kept beside it. Until the fresh one is
    whole and on the disk, nothing is changed: after a crash or a full disk the next start finds the damaged file again,
    and not an empty one.

    Raises:
        StoreError: no fresh one can be made.
    """
    beside = path.with_name(f"{path.name}.new")
    _remove(beside)
    try:
        fresh = connect(beside)
    except StoreError as error:
        raise StoreError(str(path), f"it is damaged and can't be put aside: {error.reason}") from None
    try:
        with closing(fresh):
            fresh.execute("BEGIN IMMEDIATE")
            copy_rows(path, fresh)
            fill(fresh)
            fresh.execute("COMMIT")
    except sqlite3.Error as error:
        _remove(beside)
        raise store_error(path, error) from None
    kept = _exchange(path, beside, now)
    return connect(path), kept


def copy_rows(source: Path, fresh: sqlite3.Connection, tables: Container[str] | None = None) -> None:
    """
    Copy every sound row of *tables* (None: all) of the database *source* that *fresh* has none in the place of.

    A damaged database gives what can be read of it.

    Raises:
        sqlite3.Error: *fresh* can't be written.
    """
    with closing(sqlite3.connect(source, isolation_level=None)) as damaged:
        # Without this SQLite refuses all of a file that was cut off, with it only what is missing.
        damaged.execute("PRAGMA writable_schema=ON")
        damaged.text_factory = _text
        for table, columns, checked in _tables():
            if tables is None or table in tables:
                _copy_table(damaged, fresh, table, columns, checked)


def _open(path: Path, busy_seconds: float) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=busy_seconds, isolation_level=None)
    # A damaged text must reach its checksum, not break the whole SELECT.
    connection.text_factory = _text
    try:
        connection.execute("PRAGMA journal_mode=TRUNCATE").close()
        connection.execute("PRAGMA synchronous=FULL").close()
    except BaseException:
        connection.close()
        raise
    return connection


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _migrate(path: Path, connection: sqlite3.Connection) -> None:
    if _version(path, connection) == len(MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    # Looked at again under the lock: another process may have been quicker.
    for number in range(_version(path, connection), len(MIGRATIONS)):
        for statement in MIGRATIONS[number].split(";"):
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {number + 1}")
    connection.execute("COMMIT")


def _version(path: Path, connection: sqlite3.Connection) -> int:
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if not 0 <= version <= len(MIGRATIONS):
        reason = (
            f"its schema is version {version}, this sptls knows {len(MIGRATIONS)}; start the newer sptls that wrote it"
        )
        raise StoreError(str(path), reason)
    return version


def _make_private_file(path: Path) -> None:
    """
    Make *path* with mode 0600, and its directory with 0700, whatever the umask; one that exists is made 0600.
    """
    try:
        make_private_directory(path.parent)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        with suppress(OSError):  # where nothing in the directory may be looked at
            if path.exists():  # on a read-only file system; SQLite opens it for reading
                return
        reason = f"{error.strerror}; make its directory writable for this user"
        raise StoreError(str(path), reason) from None
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


def _exchange(path: Path, beside: Path, now: datetime) -> Path:
    """
    Put *beside* in the place of the damaged file, which is kept, and with it a journal that may still mend it.
    """
    kept = path.with_name(f"{path.name}.damaged-{now:%Y%m%dT%H%M%S.%fZ}")
    journal = path.with_name(path.name + "-journal")
    try:
        _link(path, kept)
        if journal.exists():
            journal.rename(kept.with_name(kept.name + "-journal"))
        beside.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        raise StoreError(str(path), f"it is damaged and can't be put aside: {error.strerror}; move it away") from None
    finally:
        _remove(beside)
    return kept


def _link(path: Path, kept: Path) -> None:
    """
    Give the file a second name; on a file system that can't, its only one.
    """
    try:
        os.link(path, kept)
    except OSError:
        path.rename(kept)


def _remove(path: Path) -> None:
    """
    Remove a database that was being made, and its journal.
    """
    for each in (path, path.with_name(path.name + "-journal")):
        with suppress(OSError):
            each.unlink()


def _tables() -> tuple[tuple[str, str, Callable[[rows.Row], object]], ...]:
    """
    Give what is rescued: each table, its columns, and what refuses a damaged row.
    """
    return (
        ("certificate", rows.CERTIFICATE_COLUMNS, rows.CertificateRows().certificate),
        ("history", rows.HISTORY_COLUMNS, rows.history_of),
        ("deployment", rows.DEPLOYMENT_COLUMNS, rows.deployment_of),
        ("renewal_information", rows.ADVICE_COLUMNS, rows.advice_of),
        ("warning", rows.WARNING_COLUMNS, rows.warning_of),
        ("ca_limit", rows.LIMIT_COLUMNS, rows.limit_of),
        ("account", rows.ACCOUNT_COLUMNS, rows.account_of),
        ("acme_order", rows.ORDER_COLUMNS, rows.order_of),
    )


def _copy_table(
    damaged: sqlite3.Connection,
    fresh: sqlite3.Connection,
    table: str,
    columns: str,
    checked: Callable[[rows.Row], object],
) -> None:
    marks = ", ".join("?" * (columns.count(",") + 1))
    query = f"SELECT rowid, {columns} FROM {table} WHERE rowid > ? ORDER BY rowid LIMIT 1"  # noqa: S608 - constants
    for row in _readable_rows(damaged, query):
        try:
            checked(row)
        except rows.DamagedRowError:
            continue
        fresh.execute(f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({marks})", row)  # noqa: S608 - constants


def _readable_rows(connection: sqlite3.Connection, query: str) -> Iterator[rows.Row]:
    """
    Give the rows that *query* finds behind a row number. One by one: a damaged page costs its own rows only.
    """
    number = unreadable = 0
    while unreadable < _UNREADABLE_AT_THE_END:
        try:
            row = connection.execute(query, (number,)).fetchone()
        except sqlite3.Error:
            row = (number,)
        if row is None:
            return
        if row[0] <= number:  # an error, or a damaged tree that leads backwards
            number += 1
            unreadable += 1
            continue
        number, unreadable = row[0], 0
        yield row[1:]

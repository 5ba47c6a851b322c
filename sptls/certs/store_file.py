"""
What the store does with its file: one method a transaction, a damaged file rescued on the way. Blocking.

Used by one thread from the first call on (SQLite's connections belong to the thread that opened them).
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Final, TypeVar

import attrs
from twisted.logger import Logger

from sptls.certs import rows, schema
from sptls.certs.bundle import check
from sptls.certs.records import NO_HISTORY, History, Loaded
from sptls.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sptls.certs.records import AccountRecord, StoredCertificate
    from sptls.clock import WallClock
    from sptls.names import HostName

T = TypeVar("T")

_log = Logger()

_ALL_CERTIFICATES: Final = f"SELECT {rows.CERTIFICATE_COLUMNS}, rowid FROM certificate"  # noqa: S608 - constants
_ALL_HISTORIES: Final = f"SELECT {rows.HISTORY_COLUMNS} FROM history"  # noqa: S608 - constants
_ACCOUNT: Final = f"SELECT {rows.ACCOUNT_COLUMNS} FROM account WHERE directory = ?"  # noqa: S608 - constants
_SET_ASIDE: Final = (
    f"INSERT INTO set_aside (at, reason, {rows.CERTIFICATE_COLUMNS}) "  # noqa: S608 - constants
    f"SELECT ?, ?, {rows.CERTIFICATE_COLUMNS} FROM certificate WHERE rowid = ?"
)


class StoreFile:
    """
    The file at *path*, opened when first needed. Every method may raise `StoreError`; what was stored then still is.
    """

    def __init__(self, path: Path, now: WallClock) -> None:
        self._path, self._now = path, now
        self._connection: sqlite3.Connection | None = None
        self._busy_seconds = schema.BUSY_SECONDS
        self._damaged: tuple[str, ...] = ()

    def open(self) -> None:
        """
        Open the file, or make it.
        """
        self._do(lambda _connection: None)

    def close(self) -> None:
        """
        Close the file; the next call would open it again.
        """
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def hurry(self) -> None:
        """
        Wait for no lock of another process any more, once one was waited for; from any thread.
        """
        self._busy_seconds = 0.0

    def load(self) -> Loaded:
        """
        Read everything; set the damaged certificates aside.
        """
        self._rescue_if_broken()
        loaded, damaged_rows = self._do(_read_all)
        at = rows.microseconds(self._now())
        try:
            # Not by `_write`: after a rescue the numbers would be other rows'.
            if damaged_rows:
                self._attempt(_transaction(lambda connection: _set_rows_aside(connection, damaged_rows, at, "damaged")))
        except sqlite3.Error as error:  # a disk that is full or read-only must not keep the rest from being served
            _log.error("damaged certificates stay where they are: {error}", error=error)
        return attrs.evolve(loaded, damaged=(*self._damaged, *loaded.damaged))

    def put_certificate(self, certificate: StoredCertificate, history: History) -> None:
        """
        Put *certificate* in the place of the name's old one, and *history*.

        Raises:
            BadCertificate: it can't be served for the name now; nothing is changed.
        """
        check(certificate.bundle, certificate.name, self._now())
        row = rows.certificate_row(certificate)

        def put(connection: sqlite3.Connection) -> None:
            _put(connection, "certificate", rows.CERTIFICATE_COLUMNS, row)
            _put_history(connection, certificate.name, history)

        self._write(put)

    def put_history(self, name: HostName, history: History) -> None:
        """
        Put *history* in the place of *name*'s old one.
        """
        self._write(lambda connection: _put_history(connection, name, history))

    def remove(self, name: HostName) -> None:
        """
        Forget *name*: its certificate and its history.
        """

        def remove(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM certificate WHERE name = ?", (name.text,))
            connection.execute("DELETE FROM history WHERE name = ?", (name.text,))

        self._write(remove)

    def set_aside(self, name: HostName, reason: str) -> None:
        """
        Keep *name*'s certificate where it is not loaded from.
        """
        at = rows.microseconds(self._now())

        def set_aside(connection: sqlite3.Connection) -> None:
            found = connection.execute("SELECT rowid FROM certificate WHERE name = ?", (name.text,)).fetchall()
            _set_rows_aside(connection, [number for (number,) in found], at, reason)

        self._write(set_aside)

    def account(self, directory: str) -> AccountRecord | None:
        """
        Give the account at *directory*, or None when there is none that can be read.
        """
        row = self._do(lambda connection: connection.execute(_ACCOUNT, (directory,)).fetchone())
        try:
            return None if row is None else rows.account_of(row)
        except rows.DamagedRowError as error:
            _log.error("the stored account at {directory} is damaged: {error}", directory=directory, error=error)
            return None

    def put_account(self, directory: str, account: AccountRecord) -> None:
        """
        Put *account* in the place of an old one at *directory*.
        """
        row = rows.account_row(directory, account)
        self._write(lambda connection: _put(connection, "account", rows.ACCOUNT_COLUMNS, row))

    def _write(self, work: Callable[[sqlite3.Connection], None]) -> None:
        self._do(_transaction(work))

    def _do(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """
        Do *work* on the open file; when that is damaged, rescue what it holds and do it on the fresh one.
        """
        try:
            try:
                return self._attempt(work)
            except (sqlite3.Error, UnicodeDecodeError) as error:
                if not schema.is_damage(error):
                    raise
                self._rescue(error)
                return self._attempt(work)
        except (sqlite3.Error, UnicodeDecodeError) as error:
            raise schema.store_error(self._path, error) from None

    def _attempt(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._connection is None:
            self._connection = schema.connect(self._path, self._busy_seconds)
        try:
            return work(self._connection)
        except BaseException:
            # Closing rolls back. The next use opens the file as it is then: writable again, or replaced.
            self.close()
            raise

    def _rescue_if_broken(self) -> None:
        """
        Have SQLite look through the file (4 µs a row): broken where nothing is read now, it would refuse writes later.
        """
        found = self._do(lambda connection: connection.execute("PRAGMA integrity_check(1)").fetchone()[0])
        if found != "ok":
            try:
                self._rescue(found)
            except StoreError as error:  # a read-only disk; what can be read is served all the same
                _log.error("{error}", error=error)

    def _rescue(self, fault: object) -> None:
        self.close()
        self._connection, kept = schema.rescue(self._path, self._now())
        damage = f"the store {self._path} was damaged ({fault}); it is kept as {kept}, what could be read was copied"
        self._damaged = (*self._damaged, damage)
        _log.error("{damage}", damage=damage)


def _transaction(work: Callable[[sqlite3.Connection], None]) -> Callable[[sqlite3.Connection], None]:
    """
    Give *work* as one transaction; where it raises, the connection is closed, which rolls back.
    """

    def transaction(connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        work(connection)
        connection.execute("COMMIT")

    return transaction


def _set_rows_aside(connection: sqlite3.Connection, numbers: list[int], at: int, reason: str) -> None:
    for number in numbers:
        connection.execute(_SET_ASIDE, (at, reason, number))
        connection.execute("DELETE FROM certificate WHERE rowid = ?", (number,))


def _read_all(connection: sqlite3.Connection) -> tuple[Loaded, list[int]]:
    """
    Give all that can be read, and the number of every certificate's row that can't.
    """
    certificate_of = rows.CertificateRows().certificate
    certificates, damaged, damaged_rows = {}, [], []
    for row in connection.execute(_ALL_CERTIFICATES):
        try:
            certificate = certificate_of(row[:-1])
        except rows.DamagedRowError as error:
            damaged.append(f"{row[0]}: the stored certificate is damaged ({error}); it is kept in the table set_aside")
            damaged_rows.append(row[-1])
        else:
            certificates[certificate.name] = certificate
    for damage in damaged:
        _log.error("{damage}", damage=damage)
    return Loaded(certificates, _read_histories(connection), tuple(damaged)), damaged_rows


def _read_histories(connection: sqlite3.Connection) -> dict[HostName, History]:
    histories = {}
    for row in connection.execute(_ALL_HISTORIES):
        try:
            name, history = rows.history_of(row)
        except rows.DamagedRowError as error:
            _log.error("the history of {name} is damaged and ignored: {error}", name=row[0], error=error)
        else:
            histories[name] = history
    return histories


def _put_history(connection: sqlite3.Connection, name: HostName, history: History) -> None:
    if attrs.evolve(history, directory="") == NO_HISTORY:
        connection.execute("DELETE FROM history WHERE name = ?", (name.text,))
    else:
        _put(connection, "history", rows.HISTORY_COLUMNS, rows.history_row(name, history))


def _put(connection: sqlite3.Connection, table: str, columns: str, row: rows.Row) -> None:
    """
    Insert *row*, or change the one with the same first column where it stands.
    """
    first, *others = columns.split(", ")
    marks = ", ".join("?" * len(row))
    changes = ", ".join(f"{column} = excluded.{column}" for column in others)
    connection.execute(
        f"INSERT INTO {table} ({columns}) VALUES ({marks}) ON CONFLICT ({first}) DO UPDATE SET {changes}",  # noqa: S608 - constants
        row,
    )

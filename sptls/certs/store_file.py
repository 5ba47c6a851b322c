"""
What the store does with its file: one method a transaction, a damaged file rescued on the way. Blocking.

Used by one thread from the first call on (SQLite's connections belong to the thread that opened them).
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs
from twisted.logger import Logger

from sptls.certs import copies, leftovers, rescue, rows, schema, store_contents
from sptls.certs.bundle import check
from sptls.certs.records import NO_ENTRIES, NO_HISTORY, NOT_WARNED, History
from sptls.errors import SptlsError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from sptls.certs.records import (
        AccountRecord,
        Deployment,
        Loaded,
        OrderRecord,
        RenewalAdvice,
        StoredCertificate,
        Warned,
    )
    from sptls.clock import WallClock
    from sptls.names import HostName

T = TypeVar("T")

_log = Logger()

_CERTIFICATE: Final = f"SELECT {rows.CERTIFICATE_COLUMNS} FROM certificate WHERE name = ?"  # noqa: S608 - constants
_ACCOUNT: Final = f"SELECT {rows.ACCOUNT_COLUMNS} FROM account WHERE directory = ?"  # noqa: S608 - constants
_ORDER: Final = f"SELECT {rows.ORDER_COLUMNS} FROM acme_order WHERE name = ?"  # noqa: S608 - constants
_DELETE_ORDER: Final = "DELETE FROM acme_order WHERE name = ?"
_TABLES_OF_A_NAME: Final = ("certificate", "history", "deployment", "renewal_information", "warning", "acme_order")
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
        self._open_transaction: sqlite3.Connection | None = None
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

    def together(self, works: Sequence[Callable[[], Any]]) -> list[Any]:
        """
        Do *works*, of which several only write, in one transaction; give what each returned or raised.

        What can't be done together is done one by one, so that no work fails by another's fault.
        """
        if len(works) > 1:
            with suppress(Exception):
                return self._attempt(lambda connection: self._in_one(connection, works))
        return [_outcome(work, Exception) for work in works]

    def _in_one(self, connection: sqlite3.Connection, works: Sequence[Callable[[], Any]]) -> list[Any]:
        connection.execute("BEGIN IMMEDIATE")
        self._open_transaction = connection
        try:
            outcomes = [_outcome(work, SptlsError) for work in works]  # nothing is written by one that is refused
        finally:
            self._open_transaction = None
        connection.execute("COMMIT")
        return outcomes

    def load(self) -> Loaded:
        """
        Read everything; set the damaged certificates aside.
        """
        self._rescue_if_broken()
        loaded, damaged_rows = self._do(store_contents.read_all)
        at = rows.microseconds(self._now())
        try:
            # Not by `_write`: after a rescue the numbers would be other rows'.
            if damaged_rows:
                self._attempt(_transaction(lambda connection: self._replace_rows(connection, damaged_rows, at)))
                loaded = attrs.evolve(self._do(store_contents.read_all)[0], damaged=loaded.damaged)
        except sqlite3.Error as error:  # a disk that is full or read-only must not keep the rest from being served
            _log.error("damaged certificates stay where they are: {error}", error=error)
        return attrs.evolve(loaded, damaged=(*self._damaged, *loaded.damaged))

    def _replace_rows(self, connection: sqlite3.Connection, numbers: list[int], at: int) -> None:
        """
        Set damaged certificates aside; those that the daily copy has take their places.
        """
        _set_rows_aside(connection, numbers, at, "damaged")
        brought = copies.fill(connection, self._path)
        if brought:
            _log.info("instead of damaged certificates {brought}", brought=brought)

    def copy_if_due(self) -> None:
        """
        Make the daily copy, if it is a day old, of a file that was looked through; what is broken is rescued first.
        """
        if rescue.is_copy_due(copies.made_at(self._path), self._now()):
            self._rescue_if_broken()
            self._do(lambda connection: copies.make(connection, self._path, self._now()))

    def drop_some(self, place: leftovers.Place, configured: Container[str]) -> leftovers.Looked:
        """
        Look at some rows from *place* on, as `leftovers.drop_some` does.
        """
        return self._do(lambda connection: leftovers.drop_some(connection, place, configured, self._now()))

    def put_certificate(
        self, certificate: StoredCertificate, history: History, limits: Mapping[str, Mapping[str, float]] = NO_ENTRIES
    ) -> None:
        """
        Put *certificate* in the place of the name's old one, and *history* and *limits* as `put_history` does; no order
        is under way any more.

        Raises:
            BadCertificate: it can't be served for the name now; nothing is changed.
        """
        check(certificate.bundle, certificate.name, self._now())
        row, now = rows.certificate_row(certificate), self._now().timestamp()

        def put(connection: sqlite3.Connection) -> None:
            _put(connection, "certificate", rows.CERTIFICATE_COLUMNS, row)
            _put_history(connection, certificate.name, history, limits, now)
            connection.execute(_DELETE_ORDER, (certificate.name.text,))

        self._write(put)

    def put_history(
        self, name: HostName, history: History, limits: Mapping[str, Mapping[str, float]] = NO_ENTRIES
    ) -> None:
        """
        Put *history* in the place of *name*'s old one, and the entries of *limits*, by directory, as `put_limits` does.
        """
        now = self._now().timestamp()
        self._write(lambda connection: _put_history(connection, name, history, limits, now))

    def put_limits(self, directory: str, entries: Mapping[str, float]) -> None:
        """
        Put *entries* of *directory*'s ledger in the place of their old ones; those that say nothing more are dropped.
        """
        now = self._now().timestamp()
        self._write(lambda connection: _put_limits(connection, directory, entries, now))

    def put_deployments(self, deployments: Mapping[HostName, Deployment]) -> None:
        """
        Put *deployments* in the place of their names' old ones.
        """
        wanted = [rows.deployment_row(name, deployment) for name, deployment in deployments.items()]

        def put(connection: sqlite3.Connection) -> None:
            for row in wanted:
                _put(connection, "deployment", rows.DEPLOYMENT_COLUMNS, row)

        self._write(put)

    def put_renewal(self, name: HostName, serial: str, renew_at: datetime, advice: RenewalAdvice) -> None:
        """
        Put *advice* in the place of *name*'s old one, and the moment when its certificate *serial*, if it still is
        the name's, is due.
        """

        def put(connection: sqlite3.Connection) -> None:
            _put(connection, "renewal_information", rows.ADVICE_COLUMNS, rows.advice_row(name, advice))
            _put_due(connection, name, serial, renew_at)

        self._write(put)

    def put_due(self, name: HostName, serial: str, renew_at: datetime) -> None:
        """
        Put the moment when *name*'s certificate *serial*, if it still is the name's, is due.
        """
        self._write(lambda connection: _put_due(connection, name, serial, renew_at))

    def put_warned(self, warned: Mapping[HostName, Warned]) -> None:
        """
        Put what people were *warned* of in the place of their names' old ones; nothing is not kept.
        """
        now = self._now()

        def put(connection: sqlite3.Connection) -> None:
            for name, one in warned.items():
                if one == NOT_WARNED:
                    connection.execute("DELETE FROM warning WHERE name = ?", (name.text,))
                else:
                    _put(connection, "warning", rows.WARNING_COLUMNS, rows.warning_row(name, one, now))

        self._write(put)

    def remove(self, name: HostName) -> None:
        """
        Forget *name* with all that is stored of it.
        """

        def remove(connection: sqlite3.Connection) -> None:
            for table in _TABLES_OF_A_NAME:
                connection.execute(f"DELETE FROM {table} WHERE name = ?", (name.text,))  # noqa: S608 - constants

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

    def order(self, name: HostName) -> OrderRecord | None:
        """
        Give the order that is under way for *name*, or None when there is none that can be read.
        """
        row = self._do(lambda connection: connection.execute(_ORDER, (name.text,)).fetchone())
        try:
            return None if row is None else rows.order_of(row)
        except rows.DamagedRowError as error:
            _log.error("{name}: the stored order is damaged and ignored: {error}", name=name, error=error)
            return None

    def put_order(self, order: OrderRecord) -> None:
        """
        Put *order* in the place of an old one for its name; orders that have expired are dropped.
        """
        row, now = rows.order_row(order), rows.microseconds(self._now())

        def put(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM acme_order WHERE expires < ?", (now,))
            _put(connection, "acme_order", rows.ORDER_COLUMNS, row)

        self._write(put)

    def remove_order(self, name: HostName) -> None:
        """
        Forget the order for *name*.
        """

        def remove(connection: sqlite3.Connection) -> None:
            connection.execute(_DELETE_ORDER, (name.text,))

        self._write(remove)

    def _write(self, work: Callable[[sqlite3.Connection], None]) -> None:
        if self._open_transaction is not None:
            work(self._open_transaction)
        else:
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
            self._connection = self._opened()
        try:
            return work(self._connection)
        except BaseException:
            # Closing rolls back. The next use opens the file as it is then: writable again, or replaced.
            self.close()
            raise

    def _opened(self) -> sqlite3.Connection:
        """
        Open the file; one that is missing or empty is filled from its daily copy.
        """
        is_copy_needed = copies.is_needed(self._path)
        connection = schema.connect(self._path, self._busy_seconds)
        if is_copy_needed:
            try:
                connection.execute("BEGIN IMMEDIATE")
                brought = copies.fill(connection, self._path)
                connection.execute("COMMIT")
            except BaseException:
                connection.close()
                # Or the next start would take it for one that has always been empty.
                self._path.unlink(missing_ok=True)
                raise
            self._say(f"the store {self._path} was missing or empty; {brought}")
        return connection

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
        brought = ""

        def fill(fresh: sqlite3.Connection) -> None:
            nonlocal brought
            brought = copies.fill(fresh, self._path)

        self._connection, kept = schema.rescue(self._path, self._now(), fill)
        what = f"the store {self._path} was damaged ({fault}); it is kept as {kept}, what could be read was copied"
        self._say(f"{what}; {brought}" if brought else what)

    def _say(self, damage: str) -> None:
        self._damaged = (*self._damaged, damage)
        _log.error("{damage}", damage=damage)


def _outcome(work: Callable[[], Any], expected: type[Exception]) -> Any:
    """
    Give what *work* returned, or the *expected* error that it raised.
    """
    try:
        return work()
    except expected as error:
        return error


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


def _put_due(connection: sqlite3.Connection, name: HostName, serial: str, renew_at: datetime) -> None:
    row = connection.execute(_CERTIFICATE, (name.text,)).fetchone()
    with suppress(rows.DamagedRowError):  # the next start sets it aside
        certificate = None if row is None else rows.CertificateRows().certificate(row)
        if certificate is not None and certificate.bundle.serial == serial:
            changed = rows.certificate_row(attrs.evolve(certificate, renew_at=renew_at))
            _put(connection, "certificate", rows.CERTIFICATE_COLUMNS, changed)


def _put_limits(connection: sqlite3.Connection, directory: str, entries: Mapping[str, float], now: float) -> None:
    wanted = [(directory, entry, moment) for entry, moment in entries.items()]
    connection.execute("DELETE FROM ca_limit WHERE moment < ?", (now,))
    connection.executemany("INSERT OR REPLACE INTO ca_limit (directory, entry, moment) VALUES (?, ?, ?)", wanted)


def _put_history(
    connection: sqlite3.Connection,
    name: HostName,
    history: History,
    limits: Mapping[str, Mapping[str, float]],
    now: float,
) -> None:
    for directory, entries in limits.items():
        _put_limits(connection, directory, entries, now)
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

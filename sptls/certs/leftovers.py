"""
What the store holds of names that are no longer configured, and which of it can't matter any more.

A name that comes back must find all that its CA counts still: its failures, its ledger's entries, its valid
certificate. So a row goes a month after the last moment that it tells of; no CA's limit looks back further than a week,
and whoever dropped a name by mistake has a month to see it. Blocking; a few rows at a time, so that nobody waits long
for the store.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import attrs

from sptls.certs import rows

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Container
    from datetime import datetime

# How long a row is kept after the last moment that it tells of.
KEPT: Final = timedelta(days=30)
# A batch takes milliseconds.
ROWS_AT_A_TIME: Final = 500
# Of what this row tells, nothing is over.
_NEVER: Final = 2**63


@attrs.frozen
class Place:
    """
    How far a look through the store has come: which *table*, and behind which of its rows.
    """

    table: int = 0
    number: int = 0


@attrs.frozen
class Looked:
    """
    What came of looking at some rows: how many were *dropped*, and where to go on (None: that was all).
    """

    dropped: int
    next_place: Place | None


def drop_some(connection: sqlite3.Connection, place: Place, configured: Container[str], now: datetime) -> Looked:
    """
    Look at the rows from *place* on, and drop those that can't matter any more of names that are not *configured*.

    What is full again in a ledger, or is an order that has expired, matters to nobody. A row that can't be read stays.

    Raises:
        sqlite3.Error: the rows can't be read, or not be dropped.
    """
    table, columns, last_moment, is_of_a_name = _TABLES[place.table]
    query = f"SELECT rowid, {columns} FROM {table} WHERE rowid > ? ORDER BY rowid LIMIT {ROWS_AT_A_TIME}"  # noqa: S608 - constants
    found = connection.execute(query, (place.number,)).fetchall()
    before = rows.microseconds(now - KEPT if is_of_a_name else now)
    over = [
        (number,)
        for number, *row in found
        if not (is_of_a_name and row[0] in configured) and last_moment(tuple(row)) < before
    ]
    if over:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(f"DELETE FROM {table} WHERE rowid = ?", over)  # noqa: S608 - constants
        connection.execute("COMMIT")
    if len(found) == ROWS_AT_A_TIME:
        return Looked(len(over), Place(place.table, found[-1][0]))
    return Looked(len(over), Place(place.table + 1) if place.table + 1 < len(_TABLES) else None)


def _second(row: rows.Row) -> Any:
    """
    Give the moment that stands beside the name; of a damaged row, one that is never over.
    """
    return row[1] if isinstance(row[1], int) else _NEVER


def _of_history(row: rows.Row) -> int:
    try:
        _, history = rows.history_of(row)
    except rows.DamagedRowError:
        return _NEVER
    moments = [
        moment
        for one in history.each
        for moment in (one.next_attempt_at, one.attempt_started_at, *one.failed_authorizations)
        if moment is not None
    ]
    return max(map(rows.microseconds, moments), default=0)


def _of_limit(row: rows.Row) -> int:
    return int(row[1] * 1_000_000) if isinstance(row[1], float) else _NEVER


# Each table: what is read of its rows (the name first), the last moment that they tell of, whether the name's being
# configured keeps them. Files that were deployed are remembered for as long as the certificate.
_TABLES: Final[tuple[tuple[str, str, Callable[[rows.Row], int], bool], ...]] = (
    ("certificate", "name, not_after", _second, True),
    ("history", rows.HISTORY_COLUMNS, _of_history, True),
    ("renewal_information", "name, ask_again_at", _second, True),
    ("warning", "name, told_at", _second, True),
    (
        "deployment",
        "name, EXISTS (SELECT 1 FROM certificate WHERE certificate.name = deployment.name)",
        lambda row: _NEVER if row[1] else 0,
        True,
    ),
    ("acme_order", "name, expires", _second, False),
    ("ca_limit", "entry, moment", _of_limit, False),
)

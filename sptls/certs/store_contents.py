"""
Reading the whole store: what can be read of it, and which certificates' rows are damaged.

Blocking; changes nothing. What is damaged beside certificates is said and left out: less is lost than if nothing could
be loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from twisted.logger import Logger

from sptls.certs import rows
from sptls.certs.records import Loaded
from sptls.names import HostName

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

T = TypeVar("T")

_log = Logger()

_ALL_CERTIFICATES: Final = f"SELECT {rows.CERTIFICATE_COLUMNS}, rowid FROM certificate"  # noqa: S608 - constants
_ALL_HISTORIES: Final = f"SELECT {rows.HISTORY_COLUMNS} FROM history"  # noqa: S608 - constants
_ALL_DEPLOYMENTS: Final = f"SELECT {rows.DEPLOYMENT_COLUMNS} FROM deployment"  # noqa: S608 - constants
_ALL_ADVICES: Final = f"SELECT {rows.ADVICE_COLUMNS} FROM renewal_information"  # noqa: S608 - constants
_ALL_WARNINGS: Final = f"SELECT {rows.WARNING_COLUMNS} FROM warning"  # noqa: S608 - constants


def read_all(connection: sqlite3.Connection) -> tuple[Loaded, list[int]]:
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
    histories = _read_notes(connection, _ALL_HISTORIES, rows.history_of)
    deployments = _read_notes(connection, _ALL_DEPLOYMENTS, rows.deployment_of)
    loaded = Loaded(
        certificates,
        histories,
        tuple(damaged),
        deployments,
        _read_orders(connection),
        _read_limits(connection),
        advices=_read_notes(connection, _ALL_ADVICES, rows.advice_of),
        warned=_read_notes(connection, _ALL_WARNINGS, rows.warning_of),
    )
    return loaded, damaged_rows


def _read_orders(connection: sqlite3.Connection) -> frozenset[HostName]:
    names = [name for (name,) in connection.execute("SELECT name FROM acme_order")]
    return frozenset(HostName(name) for name in names if isinstance(name, str))


def _read_limits(connection: sqlite3.Connection) -> dict[str, dict[str, float]]:
    limits: dict[str, dict[str, float]] = {}
    for directory, entry, moment in connection.execute("SELECT directory, entry, moment FROM ca_limit"):
        if isinstance(moment, float):  # anything else was damaged, and is no loss
            limits.setdefault(directory, {})[entry] = moment
    return limits


def _read_notes(
    connection: sqlite3.Connection, query: str, note_of: Callable[[rows.Row], tuple[HostName, T]]
) -> dict[HostName, T]:
    """
    Give what *query* finds by name, without what is damaged: less is lost than if nothing could be loaded.
    """
    notes = {}
    for row in connection.execute(query):
        try:
            name, note = note_of(row)
        except rows.DamagedRowError as error:
            _log.error("what is stored of {name} is damaged and ignored: {error}", name=row[0], error=error)
        else:
            notes[name] = note
    return notes

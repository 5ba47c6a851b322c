"""
The store for who only looks: read while a daemon uses it or none does, and never changed, made or mended.

What is damaged is told and left where it is; the daemon sets it aside at its next start. Blocking; knows no Twisted.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from sptls.certs import rows, schema
from sptls.certs.records import Loaded
from sptls.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from sptls.certs.records import History, StoredCertificate
    from sptls.names import HostName

_CERTIFICATES: Final = f"SELECT {rows.CERTIFICATE_COLUMNS} FROM certificate ORDER BY name"  # noqa: S608 - constants
_SOME_CERTIFICATES: Final = f"SELECT {rows.CERTIFICATE_COLUMNS} FROM certificate WHERE name IN (%s)"  # noqa: S608 - so
_HISTORIES: Final = f"SELECT {rows.HISTORY_COLUMNS} FROM history"  # noqa: S608 - constants


def read_store(path: Path) -> Loaded:
    """
    Give what is stored at *path*; nothing where there is no store yet.

    Raises:
        StoreError: it can't be read; says what to do.
    """
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except FileNotFoundError:
        return Loaded()
    except OSError as error:
        advice = "; run this as root or as the daemon's user" if isinstance(error, PermissionError) else ""
        raise StoreError(str(path), f"{error.strerror}{advice}") from None
    try:
        certificates, histories = _rows(path)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise StoreError(str(path), _reason(path, error)) from None
    return _loaded(certificates, histories)


def read_certificates(path: Path, names: Sequence[HostName]) -> tuple[StoredCertificate, ...]:
    """
    Give the certificates of *names*, a few hundred at the most, as far as they are stored and whole.

    Raises:
        StoreError: the store can't be read.
    """
    try:
        with _opened(path) as (connection, _):
            statement = _SOME_CERTIFICATES % ", ".join("?" * len(names))
            found = connection.execute(statement, [name.text for name in names]).fetchall()
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise StoreError(str(path), _reason(path, error)) from None
    return tuple(_loaded(found, []).certificates.values())


def _rows(path: Path) -> tuple[list[rows.Row], list[rows.Row]]:
    """
    Read all rows at once.
    """
    with _opened(path) as (connection, version):
        if version == 0:  # made, and nothing written yet
            return [], []
        try:
            return connection.execute(_CERTIFICATES).fetchall(), connection.execute(_HISTORIES).fetchall()
        except sqlite3.OperationalError:
            if version == len(schema.MIGRATIONS):
                raise
            reason = f"an older sptls wrote it (schema {version}); start this one once, which brings it up to date"
            raise StoreError(str(path), reason) from None


@contextmanager
def _opened(path: Path) -> Iterator[tuple[sqlite3.Connection, int]]:
    """
    Give a connection that only reads, and the schema's version. What a daemon wants to write meanwhile waits for us.
    """
    uri = f"file:{quote(str(path))}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, timeout=schema.BUSY_SECONDS, isolation_level=None)
    try:
        # A damaged text must reach its checksum, not break the whole SELECT.
        connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
        connection.execute("BEGIN")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > len(schema.MIGRATIONS):
            raise StoreError(str(path), f"a newer sptls wrote it (schema {version}); use that one's commands")
        yield connection, version
    finally:
        connection.close()


def _reason(path: Path, error: sqlite3.Error | UnicodeDecodeError) -> str:
    if getattr(error, "sqlite_errorname", "").startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN")):
        return "a process was killed while it wrote, and only a writer can mend that; start sptls once"
    if schema.is_damage(error):
        return f"it is damaged ({error}); start sptls: it keeps the file and copies what can be read"
    return schema.store_error(path, error).reason


def _loaded(certificates: list[rows.Row], histories: list[rows.Row]) -> Loaded:
    certificate_of = rows.CertificateRows().certificate
    damaged: list[str] = []
    read: dict[HostName, StoredCertificate] = {}
    for row in certificates:
        try:
            certificate = certificate_of(row)
        except rows.DamagedRowError as error:
            damaged.append(f"{row[0]}: the stored certificate is damaged ({error})")
        else:
            read[certificate.name] = certificate
    return Loaded(read, _histories(histories, damaged.append), tuple(damaged))


def _histories(found: list[rows.Row], note: Callable[[str], None]) -> dict[HostName, History]:
    histories = {}
    for row in found:
        try:
            name, history = rows.history_of(row)
        except rows.DamagedRowError as error:
            note(f"{row[0]}: what became of the attempts to get a certificate can't be read ({error})")
        else:
            histories[name] = history
    return histories

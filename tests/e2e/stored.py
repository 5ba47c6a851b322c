"""
What a stopped daemon has stored, looked at and tampered with from outside.
"""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any

import attrs

from sptls.certs import rows
from sptls.certs.csr import generate_key, key_der

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sptls.certs.records import StoredCertificate


@contextlib.contextmanager
def opened(state: Path) -> Iterator[sqlite3.Connection]:
    """
    Open the store in *state*; what is changed is there at the end of the block.
    """
    connection = sqlite3.connect(state / "store.db")
    try:
        with connection:
            yield connection
    finally:
        connection.close()


def look(state: Path, query: str, *values: object) -> list[Any]:
    """
    Give the rows that *query* finds.
    """
    with opened(state) as connection:
        return connection.execute(query, values).fetchall()


def forget(state: Path, name: str) -> None:
    """
    Take the certificate of *name* away.
    """
    with opened(state) as connection:
        connection.execute("DELETE FROM certificate WHERE name = ?", (name,))


def flip_bytes(state: Path, name: str) -> None:
    """
    Change the certificate of *name* as a bad disk does: its checksum tells.
    """
    with opened(state) as connection:
        connection.execute("UPDATE certificate SET end_entity = zeroblob(length(end_entity)) WHERE name = ?", (name,))


def break_key(state: Path, name: str) -> None:
    """
    Give *name* a stored certificate that looks sound until it is used: its key is another one's.
    """
    stored = _stored(state, name)
    broken = attrs.evolve(stored.bundle, key=key_der(generate_key("ec-p256")))
    _store(state, attrs.evolve(stored, bundle=broken))


def make_due(state: Path, name: str) -> None:
    """
    Let the certificate of *name* be due for renewal.
    """
    stored = _stored(state, name)
    _store(state, attrs.evolve(stored, renew_at=stored.bundle.not_before))


def _stored(state: Path, name: str) -> StoredCertificate:
    (row,) = look(state, f"SELECT {rows.CERTIFICATE_COLUMNS} FROM certificate WHERE name = ?", name)  # noqa: S608
    return rows.CertificateRows().certificate(row)


def _store(state: Path, certificate: StoredCertificate) -> None:
    row = rows.certificate_row(certificate)
    with opened(state) as connection:
        connection.execute(f"INSERT OR REPLACE INTO certificate VALUES ({', '.join('?' * len(row))})", row)  # noqa: S608

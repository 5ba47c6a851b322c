"""
A store full of certificates that no CA was asked for.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from sptls.certs import rows
from sptls.certs.csr import generate_key
from sptls.certs.internal import Root
from sptls.certs.records import StoredCertificate
from sptls.certs.store import InlineWorker, Store
from sptls.clock import wall_time
from sptls.names import HostName


def fill_store(file: Path, names: Iterable[str], directory: str) -> bytes:
    """
    Store a certificate for each of *names* in *file* as if *directory* had issued it; give the root to trust (PEM).

    All in one transaction: `Store` itself waits for the disk once for each.
    """
    failures: list[Failure] = []
    Deferred.fromCoroutine(_make(file)).addErrback(failures.append)
    for failure in failures:
        failure.raiseException()
    now = wall_time()
    root = Root.create(generate_key("ec-p256"), now)
    with closing(sqlite3.connect(file)) as connection, connection:
        for text in names:
            name = HostName.parse(text)
            bundle = root.issue(name, generate_key("ec-p256"), now)
            row = rows.certificate_row(StoredCertificate(name, bundle, directory, now + timedelta(days=60)))
            marks = ", ".join("?" * len(row))
            connection.execute(f"INSERT INTO certificate ({rows.CERTIFICATE_COLUMNS}) VALUES ({marks})", row)  # noqa: S608
    return root.pem


async def _make(file: Path) -> None:
    store = Store(file, InlineWorker())
    await store.open()
    await store.close()

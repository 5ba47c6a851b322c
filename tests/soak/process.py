"""
What the kernel says of a process's memory, and a store filled without a CA.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from sptls.certs import rows
from sptls.certs.csr import generate_key
from sptls.certs.internal import Root
from sptls.certs.records import StoredCertificate
from sptls.certs.store import InlineWorker, Store
from sptls.names import HostName
from tests.e2e.stored import opened

if TYPE_CHECKING:
    from collections.abc import Iterable


def resident_mb(pid: int) -> float:
    """
    Give the memory that a process holds now, in megabytes.
    """
    return _megabytes(pid, "VmRSS")


def peak_mb(pid: int) -> float:
    """
    Give the most memory that a process held since `forget_peak`, in megabytes.
    """
    return _megabytes(pid, "VmHWM")


def forget_peak(pid: int) -> None:
    """
    Let the peak begin anew (proc(5), clear_refs).
    """
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def cpu_seconds(pid: int) -> float:
    """
    Give the CPU time that a process has used.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _megabytes(pid: int, field: str) -> float:
    found = re.search(rf"{field}:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found, field
    return int(found[1]) / 1000


def fill_store(state: Path, names: Iterable[str], directory: str) -> bytes:
    """
    Store a certificate for each of *names* as if *directory* had issued it; give the root that clients have to trust.
    """
    now = datetime.now(UTC)
    root = Root.create(generate_key("ec-p256"), now)
    store = Store(state / "store.db", InlineWorker())
    for step in (store.open(), store.close()):
        done = Deferred.fromCoroutine(step)
        assert done.called
    with opened(state) as connection:
        for text in names:
            name = HostName.parse(text)
            bundle = root.issue(name, generate_key("ec-p256"), now)
            row = rows.certificate_row(StoredCertificate(name, bundle, directory, now + timedelta(days=60)))
            marks = ", ".join("?" * len(row))
            connection.execute(f"INSERT INTO certificate ({rows.CERTIFICATE_COLUMNS}) VALUES ({marks})", row)  # noqa: S608
    return root.pem

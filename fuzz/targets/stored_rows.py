"""
The store's rows: whatever SQLite gives is read or damaged, and what is read is the same once it was written again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

from fuzz.pieces import cut
from sptls.certs import rows
from sptls.certs.bundle import CertificateBundle
from sptls.certs.diagnosis import Diagnosis, Who
from sptls.certs.records import Deployment, History, RenewalAdvice, StoredCertificate, Warned
from sptls.names import HostName

_MOMENT: Final = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
_NAME: Final = HostName("a.example")
_DIAGNOSIS: Final = Diagnosis("caa", next(iter(Who)), "a record forbids it", "change it")
_HISTORY: Final = History(
    directory="https://ca.example/dir",
    consecutive_failures=2,
    next_attempt_at=_MOMENT,
    failed_authorizations=(_MOMENT, _MOMENT),
    last_error="no",
    attempt_started_at=_MOMENT,
    diagnosis=_DIAGNOSIS,
    elsewhere=(History(directory="https://other.example/", diagnosis=_DIAGNOSIS),),
)

# Each reader, with the number of its columns and what writes the same again.
_READERS: Final[tuple[tuple[int, Callable[[rows.Row], Any], Callable[..., rows.Row]], ...]] = (
    (9, rows.history_of, rows.history_row),
    (6, rows.deployment_of, rows.deployment_row),
    (6, rows.advice_of, rows.advice_row),
    (5, rows.warning_of, lambda name, warned: rows.warning_row(name, warned, _MOMENT)),
    (3, rows.limit_of, lambda *row: row),
)
# Those whose rows have a checksum, which nobody guesses.
_CHECKED: Final[tuple[tuple[int, Callable[[rows.Row], Any]], ...]] = (
    (4, rows.account_of),
    (11, rows.order_of),
    (12, rows.CertificateRows().certificate),
)

SEEDS: Final = (
    json.dumps(rows.history_row(_NAME, _HISTORY)).encode(),
    json.dumps(rows.deployment_row(_NAME, Deployment("0a", True, 1, _MOMENT, "no"))).encode(),
    json.dumps(rows.advice_row(_NAME, RenewalAdvice("0a", _MOMENT, _MOMENT, _MOMENT, "https://x"))).encode(),
    json.dumps(rows.warning_row(_NAME, Warned("0a", 14, True), _MOMENT)).encode(),
    b'["https://ca.example/dir", "orders", 1.5]',
    b'["a.example", 1e400, null, [1, 2], "x", -1, 99999999999999999999999, "", "[[]]"]',
    b'["a.example", "", 0, null, "", "", null, "", "[[1, 2, 3, 4, 5, 6]]"]',
    b"\x03\x30\x01x\x30\x82\x00\x01y\x30\x80\x31\x00",
)


def check(data: bytes) -> None:
    """
    See that every reader takes the row that *data* says or calls it damaged, and that chains of any lengths come back.
    """
    values = _values(data)
    for number, read, write in _READERS:
        with suppress(rows.DamagedRowError):
            found = read((*values, *(None,) * number)[:number])
            assert found == read(write(*found))
    for number, read in _CHECKED:
        try:
            read((*values, *(None,) * number)[:number])
        except rows.DamagedRowError:
            continue
        raise AssertionError("a checksum that fits by chance")
    _check_chain(data)


def _values(data: bytes) -> rows.Row:
    """
    Give what *data*, in JSON, has for SQLite's kinds of values: a list stands for bytes.
    """
    try:
        values = json.loads(data)
    except (ValueError, RecursionError):
        values = [data.decode("utf-8", "replace"), data]
    return tuple(map(_value, values)) if isinstance(values, list) else (_value(values),)


def _value(value: object) -> object:
    if isinstance(value, list | dict):
        return bytes(len(json.dumps(value)) % 7)
    if isinstance(value, int):
        return max(-(2**63), min(value, 2**63 - 1))
    # SQLite stores what is no number as NULL.
    return None if isinstance(value, float) and math.isnan(value) else value


def _check_chain(data: bytes) -> None:
    """
    See that a chain of objects with the sizes of *data*'s pieces is split again, and that a change is seen.
    """
    whole, pieces = cut(data)
    issuers = tuple(b"\x30\x82" + len(piece).to_bytes(2, "big") + piece for piece in pieces[:5])
    bundle = CertificateBundle(whole, (b"\x30\x00", *issuers), (_NAME,), _MOMENT, _MOMENT, "CN=x", "0a")
    certificate = StoredCertificate(_NAME, bundle, "https://ca.example/dir", _MOMENT)
    row = rows.certificate_row(certificate)
    assert certificate == rows.CertificateRows().certificate(row)
    at = len(data) % (len(row) - 1)
    other = f"{row[at]}x" if isinstance(row[at], str) else row[at] + (b"x" if isinstance(row[at], bytes) else 1)
    with suppress(rows.DamagedRowError):
        rows.CertificateRows().certificate((*row[:at], other, *row[at + 1 :]))
        raise AssertionError("a change that nobody saw")
    with suppress(rows.DamagedRowError):
        # Any bytes in the issuers' place, with the checksum of those.
        odd = (*row[:-2], whole)
        rows.CertificateRows().certificate((*odd, rows._checksum(odd, 8)))  # noqa: SLF001 - damage before it was written

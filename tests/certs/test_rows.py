from __future__ import annotations

from datetime import UTC, datetime, timedelta

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptls.certs import rows
from sptls.certs.diagnosis import Diagnosis, Who
from sptls.certs.records import (
    AccountRecord,
    Deployment,
    History,
    RenewalAdvice,
    StoredCertificate,
    Warned,
)
from sptls.names import HostName
from tests.certs.stored import CLICK, order_for, stored

moments = st.datetimes().map(lambda moment: moment.replace(tzinfo=UTC))
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
alone = st.builds(
    History,
    consecutive_failures=st.integers(0, 10**6),
    next_attempt_at=st.none() | moments,
    failed_authorizations=st.lists(moments, max_size=5).map(tuple),
    last_error=texts,
    attempt_started_at=st.none() | moments,
    directory=texts,
    diagnosis=st.none() | st.builds(Diagnosis, texts, st.sampled_from(Who), texts, texts),
)
histories = st.builds(
    lambda history, elsewhere: attrs.evolve(history, elsewhere=elsewhere), alone, st.lists(alone, max_size=2).map(tuple)
)

deployments = st.builds(
    Deployment,
    serial=texts,
    is_command_owed=st.booleans(),
    consecutive_failures=st.integers(0, 10**6),
    next_attempt_at=st.none() | moments,
    last_error=texts,
)


def read(row: rows.Row) -> StoredCertificate:
    """
    Read a certificate's row with fresh memory.
    """
    return rows.CertificateRows().certificate(row)


@given(moments, moments, moments, texts)
def test_certificate_survives(renew_at: datetime, not_before: datetime, not_after: datetime, issuer: str) -> None:
    """
    A certificate comes back from its row as it went in, to the microsecond.
    """
    bundle = attrs.evolve(stored().bundle, not_before=not_before, not_after=not_after, issuer=issuer)
    certificate = attrs.evolve(stored(), bundle=bundle, renew_at=renew_at)
    assert certificate == read(rows.certificate_row(certificate))


@pytest.mark.parametrize("names", [("click.example.com",), ("*.example.com", "example.com"), ("other.example.com",)])
def test_names_survive(names: tuple[str, ...]) -> None:
    """
    The certificate's own names come back, whether they are the stored name or not.
    """
    bundle = attrs.evolve(stored().bundle, names=tuple(map(HostName, names)))
    certificate = attrs.evolve(stored(), bundle=bundle)
    assert certificate == read(rows.certificate_row(certificate))


@pytest.mark.parametrize("sizes", [(), (5,), (127, 128), (255, 256, 70000)])
def test_chain_of_any_length_survives(sizes: tuple[int, ...]) -> None:
    """
    The issuers' certificates are told apart by their own lengths, in every form of one (X.690 §8.1.3).
    """
    issuers = []
    for size in sizes:
        length = size.to_bytes(3, "big").lstrip(b"\0")
        header = bytes([size]) if size < 128 else bytes([0x80 | len(length)]) + length
        issuers.append(b"\x30" + header + b"x" * size)
    bundle = attrs.evolve(stored().bundle, chain=(b"end entity", *issuers))
    certificate = attrs.evolve(stored(), bundle=bundle)
    assert certificate == read(rows.certificate_row(certificate))


def test_issuers_are_shared() -> None:
    """
    Thousands of rows with the same intermediate hold it in memory once.
    """
    reader = rows.CertificateRows()
    first = reader.certificate(rows.certificate_row(stored()))
    second = reader.certificate(rows.certificate_row(stored("other.example.com")))
    assert first.bundle.chain[1] is second.bundle.chain[1]


@given(st.integers(0, 11), st.data())
def test_changed_value_is_damage(column: int, data: st.DataObject) -> None:
    """
    Whatever value of a row changes, and into whatever type, the row is not served.
    """
    row = list(rows.certificate_row(stored()))
    changed = data.draw(st.one_of(st.none(), st.integers(), st.floats(), texts, st.binary(max_size=40)))
    row[column] = changed if changed != row[column] else None
    with pytest.raises(rows.DamagedRowError):
        read(tuple(row))


@pytest.mark.parametrize("joined", [b"\x30", b"\x30\x05abc", b"\x30\x82\xff", b"\x30\x00" + b"\x30\x7f"])
def test_cut_off_chain_is_damage(joined: bytes) -> None:
    """
    A chain that ends in the middle of a certificate was damaged before it was stored.
    """
    certificate = attrs.evolve(stored(), bundle=attrs.evolve(stored().bundle, chain=(b"end entity", joined)))
    with pytest.raises(rows.DamagedRowError, match="cut off"):
        read(rows.certificate_row(certificate))


@given(histories)
def test_history_survives(history: History) -> None:
    """
    A history comes back from its row as it went in.
    """
    assert (CLICK, history) == rows.history_of(rows.history_row(CLICK, history))


values = st.none() | st.integers() | st.floats() | texts | st.binary(max_size=20)


@given(st.lists(values, min_size=5, max_size=9))
def test_any_row_gives_a_history_or_damage(row: list[object]) -> None:
    """
    Nothing that a damaged file can hold raises anything else.
    """
    try:
        name, history = rows.history_of(tuple(row))
    except rows.DamagedRowError:
        return
    assert (HostName, History) == (type(name), type(history))


@given(deployments)
def test_deployment_survives(deployment: Deployment) -> None:
    """
    A deployment comes back from its row as it went in.
    """
    assert (CLICK, deployment) == rows.deployment_of(rows.deployment_row(CLICK, deployment))


@given(st.lists(values, min_size=4, max_size=7))
def test_any_row_gives_a_deployment_or_damage(row: list[object]) -> None:
    """
    Nothing that a damaged file can hold raises anything else.
    """
    try:
        name, deployment = rows.deployment_of(tuple(row))
    except rows.DamagedRowError:
        return
    assert (HostName, Deployment) == (type(name), type(deployment))


@given(st.builds(RenewalAdvice, texts, moments, moments, moments, texts))
def test_renewal_advice_survives(advice: RenewalAdvice) -> None:
    """
    What a CA said comes back from its row as it went in.
    """
    assert (CLICK, advice) == rows.advice_of(rows.advice_row(CLICK, advice))


@given(st.builds(Warned, texts, st.integers(0, 90), st.booleans()), moments)
def test_warnings_survive(warned: Warned, told_at: datetime) -> None:
    """
    What people were warned of comes back from its row as it went in.
    """
    assert (CLICK, warned) == rows.warning_of(rows.warning_row(CLICK, warned, told_at))


@given(st.lists(values, min_size=4, max_size=7))
def test_any_row_gives_advice_and_warnings_or_damage(row: list[object]) -> None:
    """
    Nothing that a damaged file can hold raises anything else.
    """
    for read_row, kind in ((rows.advice_of, RenewalAdvice), (rows.warning_of, Warned)):
        try:
            name, value = read_row(tuple(row))
        except rows.DamagedRowError:
            continue
        assert (HostName, kind) == (type(name), type(value))


def test_account_survives() -> None:
    """
    An account comes back from its row, and a changed one does not.
    """
    account = AccountRecord(b"key", "https://ca/acct/1")
    row = rows.account_row("https://ca/directory", account)
    assert account == rows.account_of(row)
    with pytest.raises(rows.DamagedRowError):
        rows.account_of((row[0], "https://ca/acct/2", *row[2:]))


failed_types = st.sampled_from([(), ("tls-alpn-01",), ("an earlier challenge", "http-01")])


@given(moments, moments, st.booleans(), texts, failed_types)
def test_order_survives(
    created_at: datetime, expires: datetime, is_replacement: bool, url: str, failed_types: tuple[str, ...]
) -> None:
    """
    An order under way comes back from its row as it went in, and a changed one does not.
    """
    order = attrs.evolve(order_for(), created_at=created_at, expires=expires, is_replacement=is_replacement, url=url)
    order = attrs.evolve(order, failed_types=failed_types, is_counted=not is_replacement)
    row = rows.order_row(order)
    assert order == rows.order_of(row)
    with pytest.raises(rows.DamagedRowError):
        rows.order_of((*row[:3], f"{url}2", *row[4:]))


def test_moments_are_exact() -> None:
    """
    Microseconds are integers: no float rounds them, before 1970 and in the year 9999.
    """
    assert -1 == rows.microseconds(datetime(1970, 1, 1, tzinfo=UTC) - timedelta(microseconds=1))
    assert 253402300799999999 == rows.microseconds(datetime.max.replace(tzinfo=UTC))


@pytest.mark.parametrize("row", [("ca", "orders", "x"), ("ca", 1, 2.0), (None, "orders", 2.0)])
def test_damaged_limit_is_told(row: rows.Row) -> None:
    """
    A ledger's entry is two texts and a moment.
    """
    assert ("ca", "orders", 2.0) == rows.limit_of(("ca", "orders", 2.0))
    with pytest.raises(rows.DamagedRowError):
        rows.limit_of(row)

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING

import attrs
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sptls.certs import schema
from sptls.certs.records import (
    NO_HISTORY,
    NOT_WARNED,
    AccountRecord,
    Deployment,
    History,
    Loaded,
    RenewalAdvice,
    Warned,
)
from sptls.certs.store_file import StoreFile
from sptls.errors import BadCertificate, StoreError
from sptls.names import HostName
from tests.certs.authority import NOW
from tests.certs.stored import CA, CLICK, bundle_for, open_directory, order_for, read_only, stored

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FAILING = History(2, NOW + timedelta(minutes=5), (NOW, NOW), "dead", None, CA)
OWED = Deployment("0a", True, 2, NOW + timedelta(minutes=5), "exit status 1")
ACCOUNT = AccountRecord(b"key", "https://ca/acct/1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """
    Where the store of a test is.
    """
    return tmp_path / "store.db"


def opened(path: Path) -> StoreFile:
    """
    Open the store at *path* at the tests' moment.
    """
    store = StoreFile(path, lambda: NOW)
    store.open()
    return store


def filled(path: Path, count: int = 20) -> dict[HostName, object]:
    """
    Make a store with *count* certificates and histories and an account; give the certificates.
    """
    with closing(opened(path)) as store:
        for number in range(count):
            store.put_certificate(stored(f"{number}.example"), NO_HISTORY)
            store.put_history(HostName(f"dead{number}.example"), FAILING)
        store.put_account(CA, ACCOUNT)
        return dict(store.load().certificates)


def fill(store: StoreFile) -> None:
    """
    Store ten more certificates.
    """
    for number in range(10):
        store.put_certificate(stored(f"{number}.example"), NO_HISTORY)


def execute(path: Path, statement: str, *values: object) -> list[tuple[object, ...]]:
    """
    Do one statement behind the store's back.
    """
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(statement, values).fetchall()


def test_everything_comes_back(path: Path) -> None:
    """
    After a restart everything is there: certificates with their keys, histories, the account.
    """
    with closing(opened(path)) as store:
        store.put_certificate(stored(), NO_HISTORY)
        store.put_history(HostName("dead.example"), FAILING)
        store.put_account(CA, ACCOUNT)
    with closing(opened(path)) as store:
        assert Loaded({CLICK: stored()}, {HostName("dead.example"): FAILING}) == store.load()
        assert (ACCOUNT, None) == (store.account(CA), store.account("https://other.example/"))


def test_new_certificate_replaces_the_old_and_the_failures(path: Path) -> None:
    """
    Key, chain and history change together; the row stays the same one.
    """
    renewed = attrs.evolve(stored(), bundle=bundle_for(CLICK))
    with closing(opened(path)) as store:
        store.put_certificate(stored(), FAILING)
        store.put_certificate(renewed, NO_HISTORY)
        assert Loaded({CLICK: renewed}) == store.load()
    assert [(1, 1)] == execute(path, "SELECT count(*), max(rowid) FROM certificate")


def test_bad_certificate_is_not_stored(path: Path) -> None:
    """
    A certificate that can't be served for the name leaves the old one, and its history, in place.
    """
    wrong = attrs.evolve(stored("other.example"), name=CLICK)
    with closing(opened(path)) as store:
        store.put_certificate(stored(), FAILING)
        with pytest.raises(BadCertificate, match=r"not for click\.example\.com"):
            store.put_certificate(wrong, NO_HISTORY)
        assert Loaded({CLICK: stored()}, {CLICK: FAILING}) == store.load()


def test_clean_history_takes_no_row(path: Path) -> None:
    """
    100,000 names without failures take no space.
    """
    with closing(opened(path)) as store:
        store.put_history(CLICK, FAILING)
        store.put_history(CLICK, History(directory=CA))
    assert [] == execute(path, "SELECT * FROM history")


def test_renewal_moment_and_advice_change_together(path: Path) -> None:
    """
    In one transaction; a certificate that was replaced meanwhile keeps its own moment, and a damaged one its damage.
    """
    advice = RenewalAdvice(stored().bundle.serial, NOW, NOW, NOW + timedelta(hours=6), "https://ca.example/why")
    moment = NOW + timedelta(days=3)
    moved = attrs.evolve(stored(), renew_at=moment)
    with closing(opened(path)) as store:
        store.put_renewal(CLICK, advice.serial, moment, advice)
        store.put_certificate(stored(), NO_HISTORY)
        store.put_renewal(CLICK, advice.serial, moment, advice)
        assert Loaded({CLICK: moved}, advices={CLICK: advice}) == store.load()
        store.put_renewal(CLICK, "0b", NOW, advice)
        assert {CLICK: moved} == store.load().certificates
        execute(path, "UPDATE certificate SET issuer = 'damaged'")
        store.put_renewal(CLICK, advice.serial, NOW, advice)
    assert [("damaged",)] == execute(path, "SELECT issuer FROM certificate")


def test_warnings_come_back(path: Path) -> None:
    """
    After a restart nobody is warned of the same thing again; what is over takes no row.
    """
    other, warned = HostName("other.example"), Warned("0a", 7, True)
    with closing(opened(path)) as store:
        store.put_warned({CLICK: warned, other: warned})
        store.put_warned({CLICK: NOT_WARNED, other: Warned("0b")})
    with closing(opened(path)) as store:
        assert {other: Warned("0b")} == store.load().warned
        store.remove(other)
        assert {} == store.load().warned


def test_deployments_come_back(path: Path) -> None:
    """
    After a restart it is known how far each name's files have come; a later word replaces an earlier one.
    """
    other = HostName("other.example")
    with closing(opened(path)) as store:
        store.put_deployments({CLICK: OWED, other: OWED})
        store.put_deployments({CLICK: Deployment("0a")})
    with closing(opened(path)) as store:
        assert {CLICK: Deployment("0a"), other: OWED} == store.load().deployments


def test_damaged_deployment_is_ignored(path: Path) -> None:
    """
    One that makes no sense is forgotten, and the others are loaded.
    """
    with closing(opened(path)) as store:
        store.put_deployments({CLICK: OWED, HostName("other.example"): OWED})
    execute(path, "UPDATE deployment SET next_attempt_at = 'x' WHERE name = 'other.example'")
    with closing(opened(path)) as store:
        assert {CLICK: OWED} == store.load().deployments


def test_limits_come_back_while_they_say_something(path: Path) -> None:
    """
    Each CA's ledger as it was written last, without what is over; a damaged entry is no loss.
    """
    later = NOW.timestamp() + 60
    with closing(opened(path)) as store:
        store.put_limits("ca", {"orders": later, "name a": NOW.timestamp() - 1})
        store.put_limits("other", {"orders": later})
        store.put_limits("ca", {"orders": later + 1})
    execute(path, "INSERT INTO ca_limit VALUES ('ca', 'odd', 'x')")
    with closing(opened(path)) as store:
        assert {"ca": {"orders": later + 1}, "other": {"orders": later}} == store.load().limits


def test_orders_under_way_are_named(path: Path) -> None:
    """
    Whoever starts knows which names have one; what is no name has none.
    """
    with closing(opened(path)) as store:
        store.put_order(order_for())
    execute(path, "UPDATE acme_order SET name = x'00' WHERE name = 'other.example'")
    with closing(opened(path)) as store:
        assert frozenset({CLICK}) == store.load().orders


def test_removed_name_is_forgotten(path: Path) -> None:
    """
    Certificate, history and deployment go together.
    """
    with closing(opened(path)) as store:
        store.put_certificate(stored(), FAILING)
        store.put_deployments({CLICK: OWED})
        store.remove(CLICK)
        assert Loaded() == store.load()


def test_order_under_way_comes_back(path: Path) -> None:
    """
    One for each name, the newest; until it is removed.
    """
    with closing(opened(path)) as store:
        store.put_order(order_for(number=1))
        store.put_order(order_for(number=2))
    with closing(opened(path)) as store:
        assert (order_for(number=2), None) == (store.order(CLICK), store.order(HostName("other.example")))
        store.remove_order(CLICK)
        assert store.order(CLICK) is None


def test_certificate_ends_its_order(path: Path) -> None:
    """
    With the same write: an order that is still there leads to a certificate that is not stored yet.
    """
    other = HostName("other.example")
    with closing(opened(path)) as store:
        store.put_order(order_for())
        store.put_order(order_for(other))
        with pytest.raises(BadCertificate):
            store.put_certificate(attrs.evolve(stored(), name=other), NO_HISTORY)
        store.put_certificate(stored(), NO_HISTORY)
        assert (None, order_for(other)) == (store.order(CLICK), store.order(other))
        store.remove(other)
        assert store.order(other) is None


def test_orders_that_expired_are_dropped(path: Path) -> None:
    """
    By the next one that is put.
    """
    old = HostName("old.example")
    with closing(opened(path)) as store:
        store.put_order(attrs.evolve(order_for(old), expires=NOW - timedelta(seconds=1)))
        store.put_order(order_for())
        assert (None, order_for()) == (store.order(old), store.order(CLICK))


def test_damaged_order_is_none(path: Path) -> None:
    """
    It is not followed, and a new one takes its place.
    """
    with closing(opened(path)) as store:
        store.put_order(order_for())
    execute(path, "UPDATE acme_order SET private_key = x'00'")
    with closing(opened(path)) as store:
        assert store.order(CLICK) is None
        store.put_order(order_for())
        assert order_for() == store.order(CLICK)


def test_certificate_set_aside_is_kept(path: Path) -> None:
    """
    It is not loaded any more, and it is not thrown away.
    """
    with closing(opened(path)) as store:
        store.put_certificate(stored(), NO_HISTORY)
        store.set_aside(CLICK, "no context can be made of it")
        assert Loaded() == store.load()
    query = "SELECT reason, name, private_key FROM set_aside"
    assert [("no context can be made of it", "click.example.com", stored().bundle.key)] == execute(path, query)


@pytest.mark.parametrize("column", ["name", "names", "private_key", "end_entity", "checksum", "not_after"])
def test_damaged_row_is_set_aside(path: Path, column: str) -> None:
    """
    One damaged certificate costs that one; it is reported, kept, and gone at the next start.
    """
    everything = filled(path, 3)
    execute(path, f"UPDATE certificate SET {column} = CAST(x'ff00' AS TEXT) WHERE name = '1.example'")  # noqa: S608 - constants
    with closing(opened(path)) as store:
        loaded = store.load()
        assert ({HostName("0.example"), HostName("2.example")}, 1) == (set(loaded.certificates), len(loaded.damaged))
        assert "is damaged (its checksum is wrong)" in loaded.damaged[0]
        assert () == store.load().damaged
    assert 3 == len(everything)
    assert [(1,)] == execute(path, "SELECT count(*) FROM set_aside")


def test_damaged_history_is_ignored(path: Path) -> None:
    """
    A history that makes no sense does not keep the store from loading.
    """
    filled(path, 2)
    execute(path, "UPDATE history SET failed_authorizations = 'x' WHERE name = 'dead0.example'")
    with closing(opened(path)) as store:
        assert {HostName("dead1.example"): FAILING} == store.load().histories


def test_damaged_account_is_none(path: Path) -> None:
    """
    Of an account that was changed nothing is used: a new one is made.
    """
    filled(path, 1)
    execute(path, "UPDATE account SET private_key = x'00'")
    with closing(opened(path)) as store:
        assert store.account(CA) is None


@pytest.mark.parametrize("content", [b"garbage" * 1000, b"SQLite format 3\0" + b"x" * 5000, b"x" * 512])
def test_garbage_is_put_aside(path: Path, content: bytes) -> None:
    """
    A file that is no database is kept and named, and the store starts empty.
    """
    path.write_bytes(content)
    with closing(opened(path)) as store:
        loaded = store.load()
        store.put_certificate(stored(), NO_HISTORY)
    (kept,) = path.parent.glob("store.db.damaged-*")
    assert (True, {}) == (str(kept) in loaded.damaged[0], loaded.certificates)
    assert content == kept.read_bytes()


def test_truncated_file_gives_what_is_left(path: Path) -> None:
    """
    Of a file that lost its last pages the certificates before them go on being served.
    """
    everything = filled(path)
    content = path.read_bytes()
    path.write_bytes(content[: -2 * 4096])
    with closing(opened(path)) as store:
        loaded = store.load()
    assert 10 <= len(loaded.certificates) < 20
    assert loaded.certificates.items() <= everything.items()
    assert 1 <= len(loaded.damaged)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
@example(seed=9431225)  # SQLite's own message was not UTF-8
def test_flipped_bytes_cost_little(tmp_path: Path, seed: int) -> None:
    """
    Whatever bytes of the file rot, the store loads, and nothing wrong is served.
    """
    chance = random.Random(seed)  # noqa: S311 - a simulation
    path = tmp_path / f"{seed}.db"
    template = tmp_path / "template.db"
    everything = (
        filled(template)
        if not template.exists()
        else {HostName(f"{n}.example"): stored(f"{n}.example") for n in range(20)}
    )
    content = bytearray(template.read_bytes())
    # The version in the header (offset 60) is left out: changed, it says that a newer sptls wrote the file.
    for place in [chance.randrange(64, len(content)) for _ in range(chance.randint(1, 20))]:
        content[place] ^= 1 << chance.randrange(8)
    path.write_bytes(content)
    with closing(opened(path)) as store:
        loaded = store.load()
        assert loaded.certificates.items() <= everything.items()
        store.put_certificate(stored(), NO_HISTORY)
        assert stored() == store.load().certificates[CLICK]


def test_damaged_page_costs_its_own_rows(path: Path) -> None:
    """
    When one page of the file is overwritten, nearly all certificates are rescued.
    """
    everything = filled(path)
    (page,) = execute(path, "SELECT rootpage FROM sqlite_schema WHERE name = 'certificate'")[0]
    assert isinstance(page, int)
    content = path.read_bytes()
    leaf = int.from_bytes(content[(page - 1) * 4096 + 12 + 2 * 2 :][:2], "big")
    child = int.from_bytes(content[(page - 1) * 4096 + leaf :][:4], "big")
    path.write_bytes(content[: (child - 1) * 4096] + b"\xa5" * 4096 + content[child * 4096 :])
    with closing(opened(path)) as store:
        loaded = store.load()
    assert 15 <= len(loaded.certificates) < 20
    assert loaded.certificates.items() <= everything.items()
    assert {f"dead{number}.example" for number in range(20)} == {name.text for name in loaded.histories}


def test_full_disk_keeps_what_is_stored(path: Path) -> None:
    """
    A write that does not fit fails with advice, the old certificate stays, and the next write may fit again.
    """
    with closing(opened(path)) as store:
        store.put_certificate(stored(), FAILING)
        assert store._connection is not None
        (pages,) = store._connection.execute("PRAGMA page_count").fetchone()
        store._connection.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreError, match="full; free some space; what is stored is intact"):
            fill(store)
        assert stored() == store.load().certificates[CLICK]
        fill(store)


def test_read_only_disk_serves() -> None:
    """
    Everything is loaded from a disk that can't be written; a write says what is wrong, and works once it can.
    """
    with open_directory() as directory:
        everything = filled(directory / "store.db", 3)
        store = StoreFile(directory / "store.db", lambda: NOW)
        with read_only(directory):
            assert everything == store.load().certificates
            with pytest.raises(StoreError, match="readonly database; make the file, its directory"):
                store.put_certificate(stored(), NO_HISTORY)
        store.put_certificate(stored(), NO_HISTORY)
        store.close()


def test_damaged_row_on_a_read_only_disk_is_left(path: Path) -> None:
    """
    Where it can't be set aside, the others are served all the same.
    """
    with open_directory() as directory:
        filled(directory / "store.db", 3)
        execute(directory / "store.db", "UPDATE certificate SET names = '' WHERE name = '1.example'")
        with read_only(directory), closing(StoreFile(directory / "store.db", lambda: NOW)) as store:
            assert 2 == len(store.load().certificates)


def test_broken_tree_on_a_read_only_disk_is_read_as_it_is() -> None:
    """
    Where a damaged file can't be put aside, what can be read is served.
    """
    with open_directory() as directory:
        everything = filled(directory / "store.db", 3)
        (page,) = execute(directory / "store.db", "SELECT rootpage FROM sqlite_schema WHERE name = 'set_aside'")[0]
        assert isinstance(page, int)
        content = (directory / "store.db").read_bytes()
        (directory / "store.db").write_bytes(content[: (page - 1) * 4096] + b"\xa5" * 4096 + content[page * 4096 :])
        with read_only(directory), closing(StoreFile(directory / "store.db", lambda: NOW)) as store:
            assert everything == store.load().certificates


def test_error_in_a_write_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A transaction that breaks off in the middle, for whatever reason, is rolled back.
    """
    with closing(opened(path)) as store:
        monkeypatch.setattr("sptls.certs.store_file._put_history", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            store.put_certificate(stored(), FAILING)
        assert Loaded() == store.load()


def test_hurried_file_waits_for_a_lock_only_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    At the end of the process a queue of writes does not wait for another process's lock one after the other.
    """
    waits: list[float] = []
    connect = schema.connect

    def watched(path: Path, busy_seconds: float) -> sqlite3.Connection:
        waits.append(busy_seconds)
        return connect(path, busy_seconds)

    monkeypatch.setattr(schema, "connect", watched)
    monkeypatch.setattr(schema, "BUSY_SECONDS", 0.01)
    file = StoreFile(path, lambda: NOW)
    file.open()
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        file.hurry()
        for _ in range(3):
            with pytest.raises(StoreError, match="another process"):
                file.put_history(CLICK, History(1))
    file.close()
    assert [0.01, 0.0, 0.0] == waits


def test_locked_file_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A lock that another process does not give back ends in an error with advice.
    """
    monkeypatch.setattr("sptls.certs.schema.BUSY_SECONDS", 0.0)
    filled(path, 1)
    with closing(sqlite3.connect(path, isolation_level=None)) as other, closing(opened(path)) as store:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="locked; another process holds it for over 5 s"):
            store.put_history(CLICK, FAILING)


def test_history_takes_the_ledger_along(path: Path) -> None:
    """
    In one transaction.
    """
    with closing(opened(path)) as store:
        later = NOW.timestamp() + 60
        store.put_history(CLICK, FAILING, {CA: {"orders": later}})
        assert Loaded({}, {CLICK: FAILING}, limits={CA: {"orders": later}}) == store.load()


def test_certificate_takes_the_ledger_along(path: Path) -> None:
    """
    In one transaction; one that is refused changes nothing.
    """
    later = NOW.timestamp() + 60
    with closing(opened(path)) as store:
        with pytest.raises(BadCertificate):
            store.put_certificate(
                attrs.evolve(stored(), name=HostName("other.example")), FAILING, {CA: {"orders": later}}
            )
        assert Loaded() == store.load()
        store.put_certificate(stored(), FAILING, {CA: {"orders": later}})
        assert Loaded({CLICK: stored()}, {CLICK: FAILING}, limits={CA: {"orders": later}}) == store.load()


def test_renewal_moment_is_put_by_itself(path: Path) -> None:
    """
    An operator asks for a renewal; a certificate that was replaced meanwhile keeps its own moment.
    """
    with closing(opened(path)) as store:
        store.put_due(CLICK, stored().bundle.serial, NOW)
        store.put_certificate(stored(), NO_HISTORY)
        store.put_due(CLICK, "0b", NOW)
        assert {CLICK: stored()} == store.load().certificates
        store.put_due(CLICK, stored().bundle.serial, NOW)
        assert {CLICK: attrs.evolve(stored(), renew_at=NOW)} == store.load().certificates


def syncs(path: Path, works: list[Callable[[], object]], store: StoreFile) -> tuple[list[object], int]:
    """
    Give what came of *works* that were done together, and how many transactions that took.
    """
    with closing(sqlite3.connect(path)) as watcher:
        (before,) = watcher.execute("PRAGMA data_version").fetchone()
        outcomes = store.together(works)
        (after,) = watcher.execute("PRAGMA data_version").fetchone()
    return outcomes, after - before


def test_writes_are_done_together(path: Path) -> None:
    """
    In one transaction, whatever one of them is refused for; what was written before them is there.
    """
    wrong = attrs.evolve(stored("other.example"), name=CLICK)
    with closing(opened(path)) as store:
        outcomes, transactions = syncs(
            path,
            [
                lambda: store.put_certificate(stored(), NO_HISTORY),
                lambda: store.put_certificate(wrong, FAILING),
                lambda: store.put_account(CA, ACCOUNT),
            ],
            store,
        )
        assert [None, BadCertificate, None] == [one if one is None else type(one) for one in outcomes]
        assert (1, Loaded({CLICK: stored()}), ACCOUNT) == (transactions, store.load(), store.account(CA))


def test_writes_that_can_not_be_done_together_are_done_one_by_one(path: Path) -> None:
    """
    One that the file does not take, or a fault of ours, costs the others nothing; one alone is done as ever.
    """

    def fault() -> None:
        raise ZeroDivisionError

    with closing(opened(path)) as store:
        outcomes = store.together(
            [
                lambda: store.put_history(CLICK, FAILING),
                fault,
                lambda: store.put_account(CA, ACCOUNT),
            ]
        )
        assert [None, ZeroDivisionError, None] == [one if one is None else type(one) for one in outcomes]
        assert ({CLICK: FAILING}, ACCOUNT) == (store.load().histories, store.account(CA))
        assert [ACCOUNT] == store.together([lambda: store.account(CA)])


def test_disk_that_takes_nothing_is_told_to_each_of_those_that_wrote_together() -> None:
    """
    Nothing of them is stored, and what was there is.
    """
    with open_directory() as directory:
        with closing(opened(directory / "store.db")) as store:
            store.put_history(CLICK, FAILING)
        with read_only(directory), closing(StoreFile(directory / "store.db", lambda: NOW)) as store:
            outcomes = store.together([lambda: store.put_history(CLICK, NO_HISTORY)] * 2)
            assert [StoreError] * 2 == [type(one) for one in outcomes]
            assert {CLICK: FAILING} == store.load().histories

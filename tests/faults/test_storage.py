"""
The storage matrix: what happens to the database and to exported files, and that every certificate comes back.

100 certificates are stored, and the daily copy is made. Then something happens to the files. What is damaged is kept
and named; what can be read, or is in the copy, is there again without an order; the next write works.
"""

from __future__ import annotations

import os
import resource
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import attrs
import pytest

from sptls.certs import copies, schema
from sptls.certs.records import NO_HISTORY, AccountRecord, StoredCertificate
from sptls.certs.rescue import rescued
from sptls.certs.store_file import StoreFile
from sptls.errors import StoreError
from sptls.names import HostName
from tests.certs.authority import NOW
from tests.certs.stored import CA, CLICK, bundle_for, open_directory, read_only, stored

COUNT = 100
ACCOUNT = AccountRecord(b"key", "https://ca/acct/1")
PAGE = 4096


def opened(path: Path) -> StoreFile:
    """
    Give the store at *path* as a new process has it.
    """
    return StoreFile(path, lambda: NOW)


@pytest.fixture(scope="module")
def certificates() -> dict[HostName, StoredCertificate]:
    """
    Make the certificates that all tests store: one key, as a hundred would take long.
    """
    one = stored()
    names = [HostName(f"n{number:03}.example") for number in range(COUNT)]
    return {name: attrs.evolve(one, name=name) for name in names}


@pytest.fixture
def path(tmp_path: Path, certificates: dict[HostName, StoredCertificate], template: bytes) -> Path:
    """
    Give a store with all certificates, an account, and its daily copy.
    """
    path = tmp_path / "store.db"
    for each in (path, copies.copy_path(path)):
        each.write_bytes(template)
    return path


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory, certificates: dict[HostName, StoredCertificate]) -> bytes:
    """
    Give the store that all tests begin with.
    """
    path = tmp_path_factory.mktemp("template") / "store.db"
    with closing(opened(path)) as store, pytest.MonkeyPatch.context() as patch:
        # They are all the certificate of one name.
        patch.setattr("sptls.certs.store_file.check", lambda *_: None)
        for certificate in certificates.values():
            store.put_certificate(certificate, NO_HISTORY)
        store.put_account(CA, ACCOUNT)
    return path.read_bytes()


# What may happen to a database


def emptied(path: Path) -> None:
    """
    The file system lost its content.
    """
    path.write_bytes(b"")


def halved(path: Path) -> None:
    """
    The file system lost its second half.
    """
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def garbled(path: Path) -> None:
    """
    It is another file altogether.
    """
    path.write_bytes(b"\x8f\x03garbage!" * 5000)


def beheaded(path: Path) -> None:
    """
    Its first page is gone, where the schema is.
    """
    path.write_bytes(b"\0" * PAGE + path.read_bytes()[PAGE:])


def without_a_page(path: Path) -> None:
    """
    A page in the middle has rotted.
    """
    content = path.read_bytes()
    middle = len(content) // 2 // PAGE * PAGE
    path.write_bytes(content[:middle] + b"\xa5" * PAGE + content[middle + PAGE :])


def removed(path: Path) -> None:
    """
    Somebody cleaned up.
    """
    path.unlink()


def with_wrong_keys(path: Path) -> None:
    """
    The keys are not those that were written.
    """
    execute(path, "UPDATE certificate SET private_key = ?", bundle_for(CLICK).key)


def with_wrong_names(path: Path) -> None:
    """
    The names are not those that were written.
    """
    execute(path, "UPDATE certificate SET names = 'wrong.example'")


def without_a_table(path: Path) -> None:
    """
    A table is gone.
    """
    execute(path, "DROP TABLE history")


DAMAGES = [
    emptied, halved, garbled, beheaded, without_a_page, removed, with_wrong_keys, with_wrong_names, without_a_table
]  # fmt: skip
# After which there is no damaged file to keep.
LOST = (emptied, removed)
# After which the file is sound and its rows are not.
OF_ROWS = (with_wrong_keys, with_wrong_names)


def execute(path: Path, statement: str, *values: object) -> None:
    """
    Do one statement behind the store's back.
    """
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement, values)


def set_aside(path: Path) -> list[Path]:
    """
    Give the damaged files that were kept.
    """
    return [each for each in path.parent.glob("store.db.damaged-*") if not each.name.endswith("-journal")]


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_certificate_comes_back_without_an_order(
    path: Path, certificates: dict[HostName, StoredCertificate], damage: Callable[[Path], None]
) -> None:
    """
    From what can be read and from the daily copy; the account too, so that no new one is made.
    """
    damage(path)
    with closing(opened(path)) as store:
        assert certificates == store.load().certificates
        assert ACCOUNT == store.account(CA)


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_was_damaged_is_kept_and_named(path: Path, damage: Callable[[Path], None]) -> None:
    """
    Once: the next start finds a sound store and says nothing.
    """
    damage(path)
    before = path.read_bytes() if path.exists() else b""
    with closing(opened(path)) as store:
        (first, *_) = store.load().damaged
    if damage in LOST:
        assert f"the store {path} was missing or empty; 100 certificates came from the copy of" in first
    elif damage in OF_ROWS:
        with closing(sqlite3.connect(path)) as connection:
            assert (COUNT,) == connection.execute("SELECT count(*) FROM set_aside").fetchone()
    else:
        (kept,) = set_aside(path)
        assert str(kept) in first
        assert before == kept.read_bytes() or damage is without_a_table
        assert 0o600 == path.stat().st_mode & 0o777
    with closing(opened(path)) as store:
        assert () == store.load().damaged


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_next_write_works(path: Path, damage: Callable[[Path], None]) -> None:
    """
    And is there at the next start.
    """
    damage(path)
    with closing(opened(path)) as store:
        store.put_certificate(stored(), NO_HISTORY)
    with closing(opened(path)) as store:
        assert stored() == store.load().certificates[CLICK]


@pytest.mark.parametrize("damage", DAMAGES)
def test_without_a_copy_nothing_wrong_is_served(
    path: Path, certificates: dict[HostName, StoredCertificate], damage: Callable[[Path], None]
) -> None:
    """
    What can be read comes back; the rest is missing, which means one order each.
    """
    copies.copy_path(path).unlink()
    damage(path)
    with closing(opened(path)) as store:
        loaded = store.load()
        assert loaded.certificates.items() <= certificates.items()
        assert loaded.damaged or damage in LOST
    expected: dict[Callable[[Path], None], int] = {
        halved: COUNT // 10,
        without_a_page: COUNT - 10,
        without_a_table: COUNT,
    }
    assert expected.get(damage, 0) <= len(loaded.certificates)


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_copy_may_be_damaged_too(
    path: Path, certificates: dict[HostName, StoredCertificate], damage: Callable[[Path], None]
) -> None:
    """
    Then each gives what it can.
    """
    damage(copies.copy_path(path))
    damage(path)
    with closing(opened(path)) as store:
        assert store.load().certificates.items() <= certificates.items()
        store.put_certificate(stored(), NO_HISTORY)


@pytest.mark.parametrize("damage", [without_a_page, without_a_table, garbled])
def test_what_was_spent_of_the_ca_s_limits_comes_back(path: Path, damage: Callable[[Path], None]) -> None:
    """
    Or the first hour after a rescue orders what the CA refuses.
    """
    later = (NOW + timedelta(hours=1)).timestamp()
    with closing(opened(path)) as store:
        store.put_limits(CA, {"orders": later})
    copies.copy_path(path).write_bytes(path.read_bytes())
    damage(path)
    with closing(opened(path)) as store:
        assert {CA: {"orders": later}} == store.load().limits


def test_a_copy_is_never_newer_than_the_store(path: Path) -> None:
    """
    A certificate that was renewed after the copy stays when another one's row is damaged.
    """
    newer = attrs.evolve(stored(), bundle=bundle_for(CLICK))
    with closing(opened(path)) as store:
        store.put_certificate(newer, NO_HISTORY)
    execute(path, "UPDATE certificate SET names = '' WHERE name = 'n007.example'")
    with closing(opened(path)) as store:
        loaded = store.load()
        assert (COUNT + 1, newer) == (len(loaded.certificates), loaded.certificates[CLICK])


# Disks that are full


@contextmanager
def full_disk(free_bytes: int, path: Path) -> Iterator[None]:
    """
    Let no file grow more than *free_bytes* over what *path* is now (Python ignores the signal, so writes fail).
    """
    size = path.stat().st_size if path.exists() else 0
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + free_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def fill(store: StoreFile) -> None:
    """
    Store more certificates.
    """
    for number in range(30):
        store.put_certificate(stored(f"more{number}.example"), NO_HISTORY)


@pytest.mark.parametrize("pages", range(6))
def test_a_disk_that_is_full_at_any_write_keeps_what_is_stored(
    path: Path, certificates: dict[HostName, StoredCertificate], pages: int
) -> None:
    """
    However many pages still go through: the write fails with advice, nothing is lost, and the next one may work.
    """
    with closing(opened(path)) as store:
        with full_disk(pages * PAGE, path), pytest.raises(StoreError):
            fill(store)
        assert certificates.items() <= store.load().certificates.items()
        store.put_certificate(stored(), NO_HISTORY)
    with closing(opened(path)) as store:
        loaded = store.load()
        assert ((), stored()) == (loaded.damaged, loaded.certificates[CLICK])


@pytest.mark.parametrize("damage", [garbled, halved, beheaded, emptied, removed])
@pytest.mark.parametrize("pages", [0, 1, 8])
def test_a_disk_that_is_full_in_a_rescue_loses_nothing(
    path: Path, certificates: dict[HostName, StoredCertificate], damage: Callable[[Path], None], pages: int
) -> None:
    """
    The start says so; when there is room again, the next one has everything, from the damaged file and the copy.
    """
    damage(path)
    with full_disk(0, path), pytest.raises(StoreError), limit(pages):
        opened(path).open()
    assert [] == set_aside(path)
    with closing(opened(path)) as store:
        assert certificates == store.load().certificates


@contextmanager
def limit(pages: int) -> Iterator[None]:
    """
    Let no file be larger than so many pages.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (pages * PAGE, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("pages", [0, 1, 20])
def test_a_disk_that_is_full_keeps_the_old_copy(path: Path, pages: int) -> None:
    """
    Half a copy is never in its place.
    """
    before = copies.copy_path(path).read_bytes()
    with closing(opened(path)) as store, closing(schema.connect(path)) as connection:
        store.open()
        with limit(pages), pytest.raises(StoreError):
            copies.make(connection, path, NOW + timedelta(days=2))
    assert before == copies.copy_path(path).read_bytes()
    assert {"store.db", "store.db.daily", "store.db-journal"} >= {each.name for each in path.parent.iterdir()}


# File systems that are read-only, permissions that are lost


@pytest.fixture
def shared_path(template: bytes) -> Iterator[Path]:
    """
    Give a store with its copy in a directory that other users can enter.
    """
    with open_directory() as directory:
        path = directory / "store.db"
        for each in (path, copies.copy_path(path)):
            each.write_bytes(template)
        yield path


def test_a_read_only_file_system_serves(shared_path: Path, certificates: dict[HostName, StoredCertificate]) -> None:
    """
    All certificates are loaded; writes and copies say what is wrong; afterwards everything works.
    """
    with closing(StoreFile(shared_path, lambda: NOW + timedelta(days=400))) as store:
        with read_only(shared_path.parent):
            assert certificates == store.load().certificates
            with pytest.raises(StoreError, match="make the file, its directory and the file system writable"):
                store.put_account(CA, ACCOUNT)
            with pytest.raises(StoreError, match="the copy of the store before is kept"):
                store.copy_if_due()
        store.put_account(CA, ACCOUNT)


@pytest.mark.parametrize("damage", [with_wrong_keys, without_a_page])
def test_damage_on_a_read_only_file_system_costs_what_is_damaged(
    shared_path: Path, certificates: dict[HostName, StoredCertificate], damage: Callable[[Path], None]
) -> None:
    """
    What can be read is served, nothing wrong is; when the disk can be written again, everything comes back.
    """
    damage(shared_path)
    with read_only(shared_path.parent), closing(opened(shared_path)) as store:
        try:
            assert store.load().certificates.items() <= certificates.items()
        except StoreError as error:
            assert "it is damaged and can't be put aside" in str(error)  # noqa: PT017 - either is right
    with closing(opened(shared_path)) as store:
        assert certificates == store.load().certificates


def test_a_permission_that_is_lost_is_said(shared_path: Path, certificates: dict[HostName, StoredCertificate]) -> None:
    """
    A store that can't be read is no empty one: nothing is changed, and it is read once it can be.
    """
    with read_only(shared_path.parent), closing(opened(shared_path)) as store:
        pass
    shared_path.chmod(0)
    with as_nobody(), closing(opened(shared_path)) as store, pytest.raises(StoreError, match="writable for this user"):
        store.load()
    shared_path.chmod(0o600)
    with closing(opened(shared_path)) as store:
        loaded = store.load()
        assert (certificates, ()) == (loaded.certificates, loaded.damaged)


def test_a_permission_that_is_lost_while_running_costs_nothing(
    shared_path: Path, certificates: dict[HostName, StoredCertificate]
) -> None:
    """
    The file is open, and goes on being used.
    """
    with closing(opened(shared_path)) as store:
        store.open()
        shared_path.chmod(0)
        store.put_account(CA, ACCOUNT)
        assert certificates == store.load().certificates


@contextmanager
def as_nobody() -> Iterator[None]:
    """
    Be somebody who is not root.
    """
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


# Exported files

CHAIN, KEY = "fullchain.pem", "privkey.pem"


def exports(directory: Path) -> dict[HostName, tuple[Path, Path]]:
    """
    Export a certificate for each of three names.
    """
    files = {}
    for name in (CLICK, HostName("b.example"), HostName("c.example")):
        folder = directory / name.text
        folder.mkdir()
        bundle = bundle_for(name)
        (folder / CHAIN).write_bytes(bundle.chain_pem())
        (folder / KEY).write_bytes(bundle.key_pem())
        files[name] = folder / CHAIN, folder / KEY
    return files


def overwrite(file: str, content: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    """
    Give what changes one file of a folder.
    """

    def change(folder: Path) -> None:
        (folder / file).write_bytes(content((folder / file).read_bytes()))

    return change


SPOILT_EXPORTS: dict[str, Callable[[Path], None]] = {
    "empty chain": overwrite(CHAIN, lambda _: b""),
    "empty key": overwrite(KEY, lambda _: b""),
    "half a chain": overwrite(CHAIN, lambda content: content[: len(content) // 3]),
    "half a key": overwrite(KEY, lambda content: content[: len(content) // 2]),
    "garbage": overwrite(CHAIN, lambda _: b"\x8f\x03garbage!" * 500),
    "wrong key": overwrite(KEY, lambda _: bundle_for(CLICK).key_pem()),
    "wrong name": overwrite(CHAIN, lambda _: stored("other.example.com").bundle.chain_pem()),
    "missing chain": lambda folder: (folder / CHAIN).unlink(),
    "missing key": lambda folder: (folder / KEY).unlink(),
}


@pytest.mark.parametrize("how", SPOILT_EXPORTS)
def test_exported_files_come_back_where_they_are_sound(tmp_path: Path, how: str) -> None:
    """
    When the store and its copy are lost: what is damaged is ordered, the rest is not.
    """
    files = exports(tmp_path)
    SPOILT_EXPORTS[how](tmp_path / CLICK.text)
    found = rescued(files, copies.exported(files), NOW, directory=CA, fraction=0.5)
    assert ["b.example", "c.example"] == [certificate.name.text for certificate in found]
    with closing(opened(tmp_path / "store.db")) as store:
        for certificate in found:
            store.put_certificate(certificate, NO_HISTORY)
        assert set(files) - {CLICK} == set(store.load().certificates)

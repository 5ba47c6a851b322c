from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from datetime import timedelta
from queue import Queue
from typing import TYPE_CHECKING, Any

import pem
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from zope.interface import implementer
from zope.interface.verify import verifyObject

from sptls.certs.pem_objects import of_bundle
from sptls.certs.records import AccountRecord, Deployment, History, Loaded, RenewalAdvice, Warned
from sptls.certs.store import InlineWorker, Store, WorkerThread
from sptls.errors import BadCertificate, StoreError
from sptls.interfaces import IOrders
from tests.certs.authority import NOW
from tests.certs.stored import CA, CLICK, order_for, outcome, stored

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

FAILING = History(2, NOW + timedelta(minutes=5), (NOW,), "dead", None, CA)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """
    An open store that works in the test's own thread.
    """
    store = Store(tmp_path / "store.db", InlineWorker(), lambda: NOW, CA)
    outcome(store.open())
    yield store
    outcome(store.close())


@implementer(IReactorFromThreads)
class TestReactor:
    """
    Runs in the test's thread what other threads want to be run, until a Deferred fires.
    """

    __test__ = False

    def __init__(self) -> None:
        self._calls: Queue[Callable[[], object]] = Queue()

    def callFromThread(  # noqa: N802 - Twisted's name
        self,
        callable: Callable[..., Any],  # noqa: A002 - Twisted's name
        *args: object,
        **kwargs: object,
    ) -> None:
        """
        Have *callable* called in the test's thread.
        """
        self._calls.put(lambda: callable(*args, **kwargs))

    def run(self, coroutine: Coroutine[Deferred[Any], Any, Any]) -> None:
        """
        Run *coroutine* to its end.
        """
        done: list[object] = []
        running = Deferred.fromCoroutine(coroutine)
        running.addCallback(done.append)
        while not running.called or running.paused:
            self._calls.get(timeout=30)()
        assert [None] == done, running.result


def test_records_survive(store: Store) -> None:
    """
    What is put is loaded again.
    """
    outcome(store.put_certificate(stored(), FAILING))
    outcome(store.put_account(CA, AccountRecord(b"key", "https://ca/acct/1")))
    outcome(store.put_deployments({CLICK: Deployment("0a")}))
    assert Loaded({CLICK: stored()}, {CLICK: FAILING}, (), {CLICK: Deployment("0a")}) == outcome(store.load())
    assert AccountRecord(b"key", "https://ca/acct/1") == outcome(store.account(CA))


def test_renewal_advice_and_warnings_survive(store: Store) -> None:
    """
    What is put is loaded again.
    """
    advice = RenewalAdvice("0a", NOW, NOW + timedelta(days=1), NOW)
    outcome(store.put_renewal(CLICK, "0a", NOW, advice))
    outcome(store.put_warned({CLICK: Warned("0a", 7)}))
    loaded = outcome(store.load())
    assert ({CLICK: advice}, {CLICK: Warned("0a", 7)}) == (loaded.advices, loaded.warned)


def test_orders_under_way_survive(store: Store) -> None:
    """
    They are given until they are removed.
    """
    assert verifyObject(IOrders, store)
    outcome(store.put_order(order_for()))
    assert order_for() == outcome(store.order(CLICK))
    outcome(store.remove_order(CLICK))
    assert outcome(store.order(CLICK)) is None


def test_certificate_alone_resets_the_failures(store: Store) -> None:
    """
    A success is the end of the failures before it.
    """
    outcome(store.put_history(CLICK, FAILING))
    outcome(store.put_certificate(stored()))
    assert {} == outcome(store.load()).histories


def test_names_are_removed_and_set_aside(store: Store) -> None:
    """
    Neither is loaded again.
    """
    outcome(store.put_certificate(stored()))
    outcome(store.put_certificate(stored("other.example.com")))
    outcome(store.remove(CLICK))
    outcome(store.set_aside(stored("other.example.com").name, "odd"))
    assert Loaded() == outcome(store.load())


def test_work_is_done_in_one_thread_of_its_own(tmp_path: Path) -> None:
    """
    The reactor's thread never touches the file, and no thread is left when the store is closed.
    """
    reactor = TestReactor()
    verifyObject(IReactorFromThreads, reactor)
    threads: list[str] = []

    def now() -> Any:
        threads.append(threading.current_thread().name)
        return NOW

    store = Store(tmp_path / "store.db", WorkerThread(reactor), now)

    async def use() -> None:
        await store.open()
        await store.put_certificate(stored())
        await store.set_aside(CLICK, "odd")
        assert Loaded() == await store.load()
        await store.close()

    before = threading.active_count()
    reactor.run(use())
    assert 1 == len(set(threads))
    assert threads[0].startswith("PoolThread-store")
    assert before == threading.active_count()


def test_what_is_left_at_the_close_waits_for_no_lock(store: Store, tmp_path: Path) -> None:
    """
    What is still to be written when the process ends finds another's lock at once.
    """
    outcome(store.close())
    with closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="another process"):
            outcome(store.remove(CLICK))
    assert 0.0 == store._file._busy_seconds


def test_failed_open_leaves_no_thread(tmp_path: Path) -> None:
    """
    A store that can't be opened ends its thread and says why.
    """
    (tmp_path / "store.db").mkdir()
    reactor = TestReactor()

    async def use() -> None:
        with pytest.raises(StoreError, match="unable to open"):
            await Store(tmp_path / "store.db", WorkerThread(reactor)).open()

    before = threading.active_count()
    reactor.run(use())
    assert before == threading.active_count()


def test_txacme_store_survives(store: Store) -> None:
    """
    What txacme's code stores it gets again, one name or all, and it is due like any other certificate.
    """
    objects = of_bundle(stored().bundle)
    outcome(_awaited(store.store("Click.example.com.", objects)))
    assert objects == outcome(_awaited(store.get("click.example.com")))
    assert {"click.example.com": objects} == outcome(_awaited(store.as_dict()))
    certificate = outcome(store.load()).certificates[CLICK]
    assert (CA, NOW + timedelta(days=79) * 2 / 3) == (certificate.directory, certificate.renew_at)


def test_txacme_get_misses_with_a_key_error(store: Store) -> None:
    """
    A name that is not there is a KeyError, as the interface says.
    """
    with pytest.raises(KeyError):
        outcome(_awaited(store.get("nobody.example.com")))


def test_txacme_store_checks(store: Store) -> None:
    """
    What can't be served for the name is refused, whoever brings it.
    """
    with pytest.raises(BadCertificate):
        outcome(_awaited(store.store("other.example.com", of_bundle(stored().bundle))))
    with pytest.raises(BadCertificate):
        outcome(_awaited(store.store("click.example.com", [pem.Certificate("nothing")])))


async def _awaited(deferred: Deferred[Any]) -> Any:
    return await deferred

"""
The store: certificates with their keys, each name's history and order under way, the accounts; on SQLite, in a thread
of its own.

Whoever awaits a method gets the outcome of a transaction that is on the disk, and the reactor never waits for a disk.
A damaged row or file is put aside (kept, named in the log), and what can still be read stays. The store says what
happened; it decides nothing about orders. It also offers the calls of txacme's ``ICertificateStore``.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, TypeVar

from twisted.internet.defer import Deferred, execute
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from sptls.certs import schedule
from sptls.certs.batches import Batches
from sptls.certs.records import NO_ENTRIES, NO_HISTORY, History, Loaded, StoredCertificate
from sptls.certs.store_file import StoreFile
from sptls.clock import wall_time
from sptls.interfaces import IAcmeRecords
from sptls.names import HostName

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping
    from datetime import datetime
    from pathlib import Path

    from pem import AbstractPEMObject
    from twisted.internet.interfaces import IReactorFromThreads

    from sptls.certs.batches import Worker
    from sptls.certs.leftovers import Looked, Place
    from sptls.certs.records import AccountRecord, Deployment, OrderRecord, RenewalAdvice, Warned
    from sptls.clock import WallClock

T = TypeVar("T")


class WorkerThread:
    """
    A thread of the store's own: Twisted's shared ones may all be busy with look-ups that hang.
    """

    def __init__(self, reactor: IReactorFromThreads) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(minthreads=1, maxthreads=1, name="store")

    def start(self) -> None:
        """
        Start the thread; after the last fork.
        """
        self._pool.start()

    def run(self, work: Callable[[], T]) -> Deferred[T]:
        """
        Do *work* in the thread; cancelling ends the waiting, not the work.
        """
        return deferToThreadPool(self._reactor, self._pool, work)

    def stop(self) -> None:
        """
        Wait for the thread's end.
        """
        self._pool.stop()


class InlineWorker:
    """
    The caller's own thread: for commands that end when the work is done, and for tests.
    """

    def start(self) -> None:
        """
        Do nothing.
        """

    def run(self, work: Callable[[], T]) -> Deferred[T]:
        """
        Do *work* at once.
        """
        return execute(work)

    def stop(self) -> None:
        """
        Do nothing.
        """


@implementer(IAcmeRecords)
class Store:
    """
    The store at *path*. Every method may raise `StoreError`; what was stored before then still is.

    *directory* is the CA that certificates count as coming from which are put in by txacme's calls.
    """

    def __init__(self, path: Path, worker: Worker, now: WallClock = wall_time, directory: str = "") -> None:
        self._file, self._worker, self._directory = StoreFile(path, now), worker, directory
        self._works = Batches(worker, self._file.together)

    async def open(self) -> None:
        """
        Open the file, or make it; after the last fork and change of user.
        """
        self._worker.start()
        try:
            await self._works.run(self._file.open)
        except BaseException:
            self._worker.stop()
            raise

    async def close(self) -> None:
        """
        Finish what was begun and close the file.

        While another process has it locked, that takes as long as one try, however many writes are left.
        """
        self._file.hurry()
        try:
            await self._works.run(self._file.close)
        finally:
            self._worker.stop()

    async def load(self) -> Loaded:
        """
        Give everything that is stored. A damaged certificate is set aside, and its name is without.
        """
        return await self._works.run(self._file.load)

    async def copy_if_due(self) -> None:
        """
        Copy the whole store to a file beside it, once a day: where a store that is lost is filled from.
        """
        await self._works.run(self._file.copy_if_due)

    async def drop_some(self, place: Place, configured: Container[str]) -> Looked:
        """
        Look at some rows from *place* on, and drop what can't matter any more of names that are not *configured*.
        """
        return await self._works.run(partial(self._file.drop_some, place, configured))

    async def put_certificate(
        self,
        certificate: StoredCertificate,
        history: History = NO_HISTORY,
        limits: Mapping[str, Mapping[str, float]] = NO_ENTRIES,
    ) -> None:
        """
        Store *certificate* in the place of the name's old one, and *history*, and forget its order: in one transaction.

        *limits* are as for `put_history`.

        Raises:
            BadCertificate: it can't be served for the name now; nothing is changed.
        """
        await self._works.write(partial(self._file.put_certificate, certificate, history, _copied(limits)))

    async def put_history(
        self, name: HostName, history: History, limits: Mapping[str, Mapping[str, float]] = NO_ENTRIES
    ) -> None:
        """
        Store what became of the attempts for *name*: one begun, failed, or nothing worth remembering.

        *limits* are the entries of ledgers that changed with it, by directory; in the same transaction.
        """
        await self._works.write(partial(self._file.put_history, name, history, _copied(limits)))

    async def put_limits(self, directory: str, entries: Mapping[str, float]) -> None:
        """
        Store some entries (key → epoch seconds) of the ledger of *directory*'s CA; those that are over are dropped.
        """
        await self._works.write(partial(self._file.put_limits, directory, dict(entries)))

    async def put_deployments(self, deployments: Mapping[HostName, Deployment]) -> None:
        """
        Store how far the certificates of some names have come, in one transaction.
        """
        await self._works.write(partial(self._file.put_deployments, dict(deployments)))

    async def put_renewal(self, name: HostName, serial: str, renew_at: datetime, advice: RenewalAdvice) -> None:
        """
        Store *advice* on *name*'s certificate *serial*, and when that one is due, in one transaction.
        """
        await self._works.write(partial(self._file.put_renewal, name, serial, renew_at, advice))

    async def put_due(self, name: HostName, serial: str, renew_at: datetime) -> None:
        """
        Store when *name*'s certificate *serial*, if it still is the name's, is due.
        """
        await self._works.write(partial(self._file.put_due, name, serial, renew_at))

    async def put_warned(self, warned: Mapping[HostName, Warned]) -> None:
        """
        Store what people have been warned of about some names, in one transaction.
        """
        await self._works.write(partial(self._file.put_warned, dict(warned)))

    async def remove(self, name: HostName) -> None:
        """
        Forget *name* with all that is stored of it.
        """
        await self._works.write(partial(self._file.remove, name))

    async def set_aside(self, name: HostName, reason: str) -> None:
        """
        Keep *name*'s certificate, because of *reason*, where it is not loaded from.
        """
        await self._works.write(partial(self._file.set_aside, name, reason))

    async def account(self, directory: str) -> AccountRecord | None:
        """
        Give the account at *directory*, or None when there is none that can be read.
        """
        return await self._works.run(partial(self._file.account, directory))

    async def put_account(self, directory: str, record: AccountRecord) -> None:
        """
        Store the account at *directory*, in the place of an old one.
        """
        await self._works.write(partial(self._file.put_account, directory, record))

    async def order(self, name: HostName) -> OrderRecord | None:
        """
        Give the order under way for *name*, or None when there is none that can be read.
        """
        return await self._works.run(partial(self._file.order, name))

    async def put_order(self, record: OrderRecord) -> None:
        """
        Store the order under way for a name, in the place of an old one.
        """
        await self._works.write(partial(self._file.put_order, record))

    async def remove_order(self, name: HostName) -> None:
        """
        Forget the order under way for *name*.
        """
        await self._works.write(partial(self._file.remove_order, name))

    # The calls of txacme.interfaces.ICertificateStore

    def get(self, server_name: str) -> Deferred[list[AbstractPEMObject]]:
        """
        Give the PEM objects of *server_name*: the key, then the chain.

        Raises:
            KeyError: there are none.
        """
        return Deferred.fromCoroutine(self._get(server_name))

    def store(self, server_name: str, pem_objects: Iterable[AbstractPEMObject]) -> Deferred[None]:
        """
        Store a key and a chain for *server_name*; it is due for renewal at the usual part of its lifetime.

        Raises:
            BadCertificate: they can't be served for the name now.
        """
        return Deferred.fromCoroutine(self._store(server_name, pem_objects))

    def as_dict(self) -> Deferred[dict[str, list[AbstractPEMObject]]]:
        """
        Give the PEM objects of every name.
        """
        return Deferred.fromCoroutine(self._as_dict())

    async def _get(self, server_name: str) -> list[AbstractPEMObject]:
        from sptls.certs.pem_objects import of_bundle

        loaded = await self.load()
        return of_bundle(loaded.certificates[HostName.parse(server_name)].bundle)

    async def _store(self, server_name: str, objects: Iterable[AbstractPEMObject]) -> None:
        from sptls.certs.pem_objects import to_bundle

        bundle = to_bundle(objects)
        renew_at = schedule.renewal_moment(bundle.not_before, bundle.not_after, bundle.not_before, 1.0)
        await self.put_certificate(StoredCertificate(HostName.parse(server_name), bundle, self._directory, renew_at))

    async def _as_dict(self) -> dict[str, list[AbstractPEMObject]]:
        from sptls.certs.pem_objects import of_bundle

        loaded = await self.load()
        return {name.text: of_bundle(one.bundle) for name, one in loaded.certificates.items()}


def _copied(limits: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """
    Give what the thread can read while the ledgers go on.
    """
    return {directory: dict(entries) for directory, entries in limits.items()}

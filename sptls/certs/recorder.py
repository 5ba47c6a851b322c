"""
What the renewer wants remembered, written to the store; kept and written again when the disk did not take it.

A full disk must neither lose a certificate that was paid for nor end the loop: what could not be written stays in
memory, is tried again every minute and once more at the end, and the log says it once.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from sptls.certs.records import NO_ENTRIES
from sptls.errors import BadCertificate, StoreError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping
    from datetime import datetime

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from sptls.certs.records import History, Loaded, StoredCertificate
    from sptls.names import HostName

_log = Logger()

# A disk that was full is tried again this often.
SAVE_AGAIN_SECONDS: Final = 60.0


class RecordStore(Protocol):
    """
    What is needed of `sptls.certs.store.Store`.
    """

    async def load(self) -> Loaded:
        """
        Give everything that is stored.
        """

    async def put_certificate(
        self, certificate: StoredCertificate, history: History, limits: Mapping[str, Mapping[str, float]] = NO_ENTRIES
    ) -> None:
        """
        Check and store a certificate, its name's history, and some entries of CAs' ledgers in one transaction.
        """

    async def put_history(
        self, name: HostName, history: History, limits: Mapping[str, Mapping[str, float]] = NO_ENTRIES
    ) -> None:
        """
        Store a name's history, and some entries of CAs' ledgers, in one transaction.
        """

    async def put_due(self, name: HostName, serial: str, renew_at: datetime) -> None:
        """
        Store when a name's certificate *serial* is due.
        """

    async def put_limits(self, directory: str, entries: Mapping[str, float]) -> None:
        """
        Store some entries of a CA's ledger.
        """

    async def set_aside(self, name: HostName, reason: str) -> None:
        """
        Put a name's certificate where it is not loaded from.
        """


@attrs.frozen
class _Unsaved:
    certificate: StoredCertificate | None
    history: History


class Recorder:
    """
    Writes to *store*; remembers what it did not take.
    """

    def __init__(self, store: RecordStore, clock: IReactorTime) -> None:
        self._store, self._clock = store, clock
        self._unsaved: dict[HostName, _Unsaved] = {}
        self._unsaved_limits: dict[str, dict[str, float]] = {}
        self._chores: set[Deferred[None]] = set()
        self._call: IDelayedCall | None = None
        self._is_failing = False
        self._is_stopping = False

    async def certificate(
        self, certificate: StoredCertificate, history: History, limits: Mapping[str, Mapping[str, float]] = NO_ENTRIES
    ) -> None:
        """
        Write a new certificate and its name's history, now or later, and *limits* with them as `history` does.

        Raises:
            BadCertificate: it can't be served; nothing is changed, and *limits* go with what is written next.
        """
        limits = self._with_unsaved(limits)
        try:
            await self._store.put_certificate(certificate, history, limits)
        except StoreError as error:
            self._keep_limits(limits)
            self._keep(certificate.name, _Unsaved(certificate, history), error)
        except BadCertificate:
            self._keep_limits(limits)
            raise
        else:
            self._unsaved.pop(certificate.name, None)

    async def history(
        self, name: HostName, history: History, limits: Mapping[str, Mapping[str, float]] = NO_ENTRIES
    ) -> StoreError | None:
        """
        Write *name*'s history, now or later; give the error when it is not on the disk yet.

        What changed in the ledgers with it (*limits*, by directory) is written in the same transaction, so that a
        restart finds an attempt and what it spent, or neither.
        """
        unsaved = self._unsaved.get(name)
        certificate = None if unsaved is None else unsaved.certificate
        limits = self._with_unsaved(limits)
        try:
            await self._put(name, _Unsaved(certificate, history), limits)
        except StoreError as error:
            self._keep_limits(limits)
            self._keep(name, _Unsaved(certificate, history), error)
            return error
        if self._unsaved.get(name) is unsaved:
            self._unsaved.pop(name, None)
        return None

    def limits(self, directory: str, entries: Mapping[str, float]) -> None:
        """
        Have what changed in the ledger of *directory*'s CA written, in the background; what fails goes with the next.
        """
        if entries:
            self._unsaved_limits.setdefault(directory, {}).update(entries)
            self._do(self._put_limits(directory))

    async def _put_limits(self, directory: str) -> None:
        entries = self._unsaved_limits.pop(directory, {})
        try:
            await self._store.put_limits(directory, entries)
        except StoreError:  # the same disk says so for the name's history
            self._keep_limits({directory: entries})

    def _with_unsaved(self, limits: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float]]:
        """
        Take out what of the same ledgers is not written yet, and give it with *limits*.
        """
        return {
            directory: {**self._unsaved_limits.pop(directory, {}), **entries} for directory, entries in limits.items()
        }

    def _keep_limits(self, limits: Mapping[str, Mapping[str, float]]) -> None:
        for directory, entries in limits.items():
            self._unsaved_limits[directory] = {**entries, **self._unsaved_limits.get(directory, {})}

    def corrected(self, name: HostName, history: History, limits: Mapping[str, Mapping[str, float]]) -> None:
        """
        Have *name*'s history and *limits* written as `history` does, in the background.
        """
        self._do(self._correct(name, history, limits))

    async def _correct(self, name: HostName, history: History, limits: Mapping[str, Mapping[str, float]]) -> None:
        await self.history(name, history, limits)

    def due(self, certificate: StoredCertificate) -> None:
        """
        Have the moment when *certificate* is due written, in the background.
        """
        self._do(self._put_due(certificate))

    async def _put_due(self, certificate: StoredCertificate) -> None:
        try:
            await self._store.put_due(certificate.name, certificate.bundle.serial, certificate.renew_at)
        except StoreError as error:
            _log.warn(
                "{error}; a restart would not remember that {name} is to be renewed now",
                error=error,
                name=certificate.name,
            )

    def set_aside(self, name: HostName, reason: str, history: History) -> None:
        """
        Have *name*'s certificate set aside and its *history* written, in the background.
        """
        self._unsaved.pop(name, None)
        self._do(self._set_aside(name, reason, history))

    def forget(self, name: HostName) -> None:
        """
        Write nothing more of *name* that was not written.
        """
        self._unsaved.pop(name, None)

    def finish(self) -> list[Deferred[None]]:
        """
        Try a last time to write what is not written; give everything that is still to end.
        """
        self._is_stopping = True
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._unsaved:
            self._do(self._save_unsaved())
        for directory in list(self._unsaved_limits):
            self._do(self._put_limits(directory))
        return list(self._chores)

    async def _put(
        self, name: HostName, unsaved: _Unsaved, limits: Mapping[str, Mapping[str, float]] = NO_ENTRIES
    ) -> None:
        if unsaved.certificate is not None:
            with suppress(BadCertificate):  # it may have expired before it could be stored
                await self._store.put_certificate(unsaved.certificate, unsaved.history, limits)
                return
        await self._store.put_history(name, unsaved.history, limits)

    def _keep(self, name: HostName, unsaved: _Unsaved, error: StoreError) -> None:
        self._unsaved[name] = unsaved
        if not self._is_failing:
            self._is_failing = True
            _log.error("{error}; new certificates are served from memory until then", error=error)
        if self._call is None and not self._is_stopping:
            self._call = self._clock.callLater(SAVE_AGAIN_SECONDS, self._save_again)

    def _save_again(self) -> None:
        self._call = None
        self._do(self._save_unsaved())

    async def _save_unsaved(self) -> None:
        for name, unsaved in list(self._unsaved.items()):
            limits, self._unsaved_limits = self._unsaved_limits, {}
            try:
                await self._put(name, unsaved, limits)
            except StoreError as error:
                self._keep_limits(limits)
                self._keep(name, self._unsaved.get(name, unsaved), error)
                return
            if self._unsaved.get(name) is unsaved:
                del self._unsaved[name]
        self._is_failing = False
        _log.info("the store can be written again")

    async def _set_aside(self, name: HostName, reason: str, history: History) -> None:
        try:
            await self._store.set_aside(name, reason)
        except StoreError as error:
            _log.error("{name}: its damaged certificate stays in the store: {error}", name=name, error=error)
        await self.history(name, history)

    def _do(self, chore: Coroutine[Deferred[object], object, None]) -> None:
        """
        Run *chore* in the background, owned here until it ends.
        """
        doing = Deferred.fromCoroutine(chore)
        self._chores.add(doing)

        def ended(result: object) -> None:
            self._chores.discard(doing)
            if isinstance(result, Failure) and not self._is_stopping:
                _log.failure("a write to the store broke off", result)

        doing.addBoth(ended)

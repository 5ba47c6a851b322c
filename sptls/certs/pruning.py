"""
Has the store forget, once a day, what can't matter any more of names that are no longer configured.

`leftovers` says what that is. A look goes through the store a few rows at a time, with a pause after each: whoever
waits for a certificate to be stored comes first.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from sptls.certs.leftovers import Place
from sptls.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from twisted.internet.interfaces import IReactorTime

    from sptls.certs.leftovers import Looked
    from sptls.names import HostName

_log = Logger()

# The start is over by then.
FIRST_LOOK_SECONDS: Final = 120.0
LOOK_AGAIN_SECONDS: Final = 86400.0
PAUSE_SECONDS: Final = 0.1


class PrunedStore(Protocol):
    """
    What is needed of `sptls.certs.store.Store`.
    """

    async def drop_some(self, place: Place, configured: Container[str]) -> Looked:
        """
        Drop some rows from *place* on that can't matter any more, of names that are not *configured*.
        """


class Pruning:
    """
    Looks through *store* while the daemon runs.
    """

    def __init__(self, store: PrunedStore, clock: IReactorTime) -> None:
        self._store, self._clock = store, clock
        self._names: tuple[HostName, ...] = ()
        self._looking: Deferred[None] | None = None

    def start(self, names: Iterable[HostName]) -> None:
        """
        Look in two minutes, and every day from then on; all of *names* stays.
        """
        self.set_names(names)
        self._looking = Deferred.fromCoroutine(self._look_on())

    def set_names(self, names: Iterable[HostName]) -> None:
        """
        Have exactly *names* stay from the next look on.
        """
        self._names = tuple(names)

    async def stop(self) -> None:
        """
        Look no more; what is being dropped is finished with the store.
        """
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()
            with suppress(CancelledError):
                await looking

    async def _look_on(self) -> None:
        await deferLater(self._clock, FIRST_LOOK_SECONDS)
        while True:
            await self._look()
            await deferLater(self._clock, LOOK_AGAIN_SECONDS)

    async def _look(self) -> None:
        dropped, place, configured = 0, Place(), frozenset(name.text for name in self._names)
        try:
            while True:
                looked = await self._store.drop_some(place, configured)
                dropped += looked.dropped
                if looked.next_place is None:
                    break
                place = looked.next_place
                await deferLater(self._clock, PAUSE_SECONDS)
        except CancelledError:
            raise
        except StoreError as error:
            _log.warn("{error}; what is stored of names that were dropped stays until tomorrow", error=error)
        except Exception:  # noqa: BLE001 - the next look may succeed, and no other loop does this
            _log.failure("the store could not be looked through")
        if dropped:
            _log.info("{count} rows of the store that mattered to nobody any more were dropped", count=dropped)

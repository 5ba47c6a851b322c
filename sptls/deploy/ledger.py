"""
How far each name has come, in memory and in the store: what the disk did not take is kept and written again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from twisted.logger import Logger

from sptls.certs.records import NOT_DEPLOYED, Deployment
from sptls.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from twisted.internet.interfaces import IReactorTime

    from sptls.names import HostName

_log = Logger()

# A disk that was full is tried again this often.
SAVE_AGAIN_SECONDS: Final = 60.0


class DeploymentStore(Protocol):
    """
    What is needed of `sptls.certs.store.Store`.
    """

    async def put_deployments(self, deployments: Mapping[HostName, Deployment]) -> None:
        """
        Store how far some names have come, in one transaction.
        """


class Ledger:
    """
    The deployments of all names, written to *store* by `save`.
    """

    def __init__(self, store: DeploymentStore, clock: IReactorTime) -> None:
        self._store, self._clock = store, clock
        self._deployments: dict[HostName, Deployment] = {}
        self._unsaved: set[HostName] = set()
        self._save_at = 0.0
        self._is_failing = False

    def load(self, deployments: Mapping[HostName, Deployment]) -> None:
        """
        Begin with what was stored.
        """
        self._deployments = dict(deployments)

    def get(self, name: HostName) -> Deployment:
        """
        Tell how far *name* has come.
        """
        return self._deployments.get(name, NOT_DEPLOYED)

    def put(self, name: HostName, deployment: Deployment) -> None:
        """
        Note how far *name* has come, to be stored at the next `save`.
        """
        if deployment != self.get(name):
            self._deployments[name] = deployment
            self._unsaved.add(name)

    async def save(self) -> None:
        """
        Store what is not stored; what the store does not take now is for a later call.
        """
        saving = {name: self._deployments[name] for name in self._unsaved}
        if not saving:
            return
        try:
            await self._store.put_deployments(saving)
        except StoreError as error:
            self._save_at = self._clock.seconds() + SAVE_AGAIN_SECONDS
            if not self._is_failing:
                self._is_failing = True
                _log.error("{error}; until then a restart may run the deploy command once more", error=error)
        else:
            self._is_failing = False
            # Some may have come further meanwhile.
            self._unsaved = {name for name in self._unsaved if self._deployments[name] is not saving.get(name)}

    def seconds_to_save(self) -> float | None:
        """
        Tell in how many seconds `save` is to be called, or None when everything is stored.
        """
        return max(0.0, self._save_at - self._clock.seconds()) if self._unsaved else None

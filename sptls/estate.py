"""
What a daemon hands over to the process that takes over from it, and how it goes on if that comes to nothing.

`successor` decides when; here is what that means for the parts, the lock, the sockets and the configuration's readings.
"""

from __future__ import annotations

import gc
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from sptls.certs.schema import STORE_FILE
from sptls.certs.store_reader import read_certificates
from sptls.errors import StoreError
from sptls.keeping import ordered_names
from sptls.serving import DRAIN_SECONDS
from sptls.threads import daemon_thread

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from sptls.certs.lock import StateLock
    from sptls.parts import Parts
    from sptls.reloading import Reloading
    from sptls.startup import Bound


_log = Logger()

# As soon as a client that waits would like, and seldom enough for a disk.
_LOOK_SECONDS: Final = 0.5
# Whoever has more names without a certificate will not get them all while one process drains.
_MOST_LOOKED_FOR: Final = 500


class DaemonEstate:
    """
    `Estate` of the daemon that has these.
    """

    def __init__(self, reactor: Any, parts: Parts, lock: StateLock, bound: Bound, reloading: Reloading | None) -> None:
        self._reactor, self._parts, self._lock, self._bound, self._reloading = reactor, parts, lock, bound, reloading
        self._handed: tuple[socket.socket, ...] = ()
        self._in_thread = daemon_thread(reactor, "look at the store")
        self._looking: Deferred[None] | None = None

    def why_not(self) -> str:
        """
        Tell why nothing is handed over: it is no daemon. One whose workers are all down is just the one to be replaced.
        """
        if self._reloading is None:
            return "it is the demo, or a command that ends by itself; stop it, or wait"
        return ""

    async def pause(self) -> None:
        """
        End what keeps certificates, and remember readings of the configuration that are asked for.
        """
        if self._reloading is not None:
            self._reloading.pause()
        await self._parts.pause()

    def hand_over(self) -> Sequence[tuple[int, bool]]:
        """
        Give the sockets that are open; another process has them too, from now on.
        """
        self._handed = tuple(one for one in self._bound.sockets if one.fileno() != -1)
        self._bound.share(frozenset(self._handed))
        return [(one.fileno(), one in self._bound.kept) for one in self._handed]

    def lock_descriptor(self) -> int:
        """
        Give the lock's descriptor; it is another process's too, from now on.
        """
        self._lock.is_shared = True
        return self._lock.fileno()

    async def go_on(self) -> None:
        """
        Be the only one that has all this, and keep certificates again.
        """
        self._lock.is_shared = False
        self._lock.write_pid()
        self._bound.share(frozenset())
        await self._parts.go_on()
        if self._reloading is not None:
            self._reloading.go_on()
        # What was ended is garbage, though the start took it for what lives for ever.
        gc.unfreeze()
        gc.collect()
        gc.freeze()

    def give_way(self, taken: frozenset[int]) -> None:
        """
        Leave lock, commands, and who waits at the sockets in *taken* to the other process, and end.
        """
        self._bound.share(frozenset(one for number, one in enumerate(self._handed) if number in taken))
        if self._parts.control_socket is not None:
            self._parts.control_socket.leave()
        self._parts.leave_admin()
        self._looking = Deferred.fromCoroutine(self._serve_what_is_stored())
        self._reactor.stop()

    async def _serve_what_is_stored(self) -> None:
        """
        Serve, while we drain, what the other process obtains: clients of ours may wait for it.
        """
        served, config = self._parts.keeping.served, self._parts.config
        missing = [name for name in ordered_names(config) if served.bundle_for(name) is None][:_MOST_LOOKED_FOR]
        for _ in range(int(DRAIN_SECONDS / _LOOK_SECONDS)):
            if not missing:
                return
            await deferLater(self._reactor, _LOOK_SECONDS)
            try:
                found = await self._in_thread(partial(read_certificates, config.state_dir / STORE_FILE, missing))
            except StoreError as error:
                _log.warn("what the other process stores can't be read: {error}", error=str(error))
                return
            for certificate in found:
                served.replace(certificate.name, certificate.bundle)
                missing.remove(certificate.name)

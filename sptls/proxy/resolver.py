"""
The addresses of upstreams: looked up again every 20 seconds, at once where none can be reached, and kept while look-ups
fail.

A tracking service moves without notice, so an address is never for ever; a broken DNS must not stop clicks, so the
last good addresses never expire either. Look-ups block, so they have threads of their own: Twisted's ten shared ones
would all be waiting for a dead name server together.
"""

from __future__ import annotations

import socket
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from sptls.addresses import is_address
from sptls.errors import UpstreamError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from twisted.internet.interfaces import IDelayedCall, IReactorFromThreads, IReactorTime

Addresses = tuple[str, ...]

_log = Logger()

# A service that moved is followed within 30 s, of which a look-up may take 10. Its own advice for nginx is 10 s.
REFRESH_SECONDS: Final = 20.0
# Between two look-ups of one host, however many requests find that nothing answers there.
_AGAIN_SECONDS: Final = 2.0
# Few upstreams, each looked up once in 20 s: a dead name server holds a thread for 10-30 s, and one must be left over.
_THREADS: Final = 4


class _DaemonThread(Thread):
    """
    A thread that doesn't keep the process alive.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs, daemon=True)


class _DaemonThreadPool(ThreadPool):
    """
    A pool of those: a look-up can't be interrupted.
    """

    threadFactory = _DaemonThread  # noqa: N815 - Twisted's name


class SystemLookUp:
    """
    Look-ups by the system's own rules (getaddrinfo: hosts file, resolv.conf, RFC 6724's order of addresses).
    """

    def __init__(self, reactor: IReactorFromThreads) -> None:
        self._reactor = reactor
        self._threads = _DaemonThreadPool(0, _THREADS, "look-up")

    def start(self) -> None:
        """
        Be ready; call it after fork.
        """
        self._threads.start()

    def stop(self) -> None:
        """
        End the threads, but for those in the middle of a look-up, which end with the process.
        """
        if not self._threads.working:
            self._threads.stop()

    async def __call__(self, host: str) -> Addresses:
        """
        Give the addresses of *host*, best first.

        Raises:
            OSError: the look-up failed.
        """
        return await deferToThreadPool(self._reactor, self._threads, _getaddrinfo, host)


def _getaddrinfo(host: str) -> Addresses:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


class _Host:
    """
    One host: what is known of it, and who waits for that.
    """

    __slots__ = ("addresses", "begun_seconds", "failing", "look_up", "waiting", "watchers")

    def __init__(self) -> None:
        self.addresses: Addresses = ()
        self.begun_seconds, self.failing = 0.0, False
        self.look_up: Deferred[None] | None = None
        self.waiting: list[Deferred[None]] = []
        self.watchers: list[Callable[[Addresses], None]] = []


class Resolver:
    """
    The addresses of all watched hosts; *look_up* finds those of one, or raises OSError.
    """

    def __init__(self, clock: IReactorTime, look_up: Callable[[str], Awaitable[Addresses]]) -> None:
        self._clock, self._look_up = clock, look_up
        self._hosts: dict[str, _Host] = {}
        self._call: IDelayedCall | None = None

    def start(self) -> None:
        """
        Look all watched hosts up, now and every `REFRESH_SECONDS`.
        """
        self._call = self._clock.callLater(REFRESH_SECONDS, self._refresh)
        for host in list(self._hosts):
            self._begin(host)

    def stop(self) -> None:
        """
        Look up no more; whoever waits for addresses gets an error.
        """
        if self._call is not None:
            self._call.cancel()
            self._call = None
        for known in self._hosts.values():
            if known.look_up is not None:
                known.look_up.cancel()

    def watch(self, host: str, changed: Callable[[Addresses], None]) -> None:
        """
        Keep *host*'s addresses up to date until `forget`; *changed* is told them whenever they are others than before.
        """
        if not is_address(host):
            self._hosts.setdefault(host, _Host()).watchers.append(changed)
            if self._call is not None:
                self._begin(host)

    def forget(self, host: str, changed: Callable[[Addresses], None]) -> None:
        """
        Undo `watch`.
        """
        known = self._hosts.get(host)
        if known is not None:
            known.watchers.remove(changed)
            if not known.watchers:
                del self._hosts[host]
                if known.look_up is not None:
                    known.look_up.cancel()

    def look_again(self, host: str) -> None:
        """
        Look *host* up now: nothing answers at its addresses, and it may have moved. Bounded, so it may be said often.
        """
        known = self._hosts.get(host)
        if known is not None and self._clock.seconds() >= known.begun_seconds + _AGAIN_SECONDS:
            self._begin(host)

    async def addresses(self, host: str) -> Addresses:
        """
        Give the addresses of *host*, which is watched or an address itself; waits only where none were ever found.

        Raises:
            UpstreamError: there are none; 502.
        """
        if is_address(host):
            return (host,)
        known = self._hosts.get(host)
        if known is not None and not known.addresses:
            self._begin(host)
            if known.look_up is not None:
                waiting: Deferred[None] = Deferred()
                known.waiting.append(waiting)
                await waiting
        if known is None or not known.addresses:
            raise UpstreamError(502, "the upstream's name can't be resolved")
        return known.addresses

    def _refresh(self) -> None:
        self._call = self._clock.callLater(REFRESH_SECONDS, self._refresh)
        for host in list(self._hosts):
            self._begin(host)

    def _begin(self, host: str) -> None:
        """
        Look *host* up, unless that is under way: a look-up that hangs isn't joined by others.
        """
        known = self._hosts[host]
        if known.look_up is None:
            known.begun_seconds = self._clock.seconds()
            look_up = known.look_up = Deferred.fromCoroutine(self._learn(host, known))
            if look_up.called:
                known.look_up = None

    async def _learn(self, host: str, known: _Host) -> None:
        try:
            self._found(host, known, await self._look_up(host))
        except CancelledError:
            pass
        except Exception as error:  # noqa: BLE001 - whatever the look-up raised, the last addresses stay in use
            if not known.failing:
                known.failing = True
                _log.error(
                    "{host} can't be looked up: {error}; {count} addresses found before stay in use",
                    host=host,
                    error=error,
                    count=len(known.addresses),
                )
        finally:
            known.look_up = None
            waiting, known.waiting = known.waiting, []
            for waiter in waiting:
                if not waiter.called:
                    waiter.callback(None)

    def _found(self, host: str, known: _Host, addresses: Addresses) -> None:
        if not addresses:
            raise OSError("the answer has no address")
        if known.failing:
            known.failing = False
            _log.info("{host} can be looked up again", host=host)
        if set(addresses) != set(known.addresses):
            # Not worth an operator's attention: a large service gives others of its addresses every minute.
            _log.debug("{host} is at {addresses}", host=host, addresses=", ".join(addresses))
            known.addresses = addresses
            for changed in known.watchers:
                changed(addresses)
        known.addresses = addresses

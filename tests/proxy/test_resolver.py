from __future__ import annotations

import queue
import socket
import threading
from typing import TYPE_CHECKING

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.task import Clock
from zope.interface import implementer

from sptls.proxy.resolver import REFRESH_SECONDS, Resolver, SystemLookUp
from tests.proxy.wire import logged

if TYPE_CHECKING:
    from collections.abc import Callable

    from sptls.errors import UpstreamError
    from sptls.proxy.resolver import Addresses

HOST = "spgo.test"


@implementer(IReactorFromThreads)
class _ThreadedReactor:
    """
    A reactor that only runs what threads hand to it, one at a time.
    """

    def __init__(self) -> None:
        self._calls: queue.Queue[tuple[Callable[..., object], tuple[object, ...]]] = queue.Queue()

    def callFromThread(self, callable: Callable[..., object], *args: object, **_: object) -> None:  # noqa: A002, N802
        """
        Keep the call.
        """
        self._calls.put((callable, args))

    def run_one(self) -> None:
        """
        Wait for the next call, and make it.
        """
        call, args = self._calls.get(timeout=10)
        call(*args)


class _Dns:
    """
    A resolver with look-ups that the test answers.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.asked: list[Deferred[Addresses]] = []
        self.changes: list[Addresses] = []
        self.resolver = Resolver(self.clock, self._look_up)
        self.resolver.start()

    async def _look_up(self, host: str) -> Addresses:
        assert host == HOST
        asked: Deferred[Addresses] = Deferred()
        self.asked.append(asked)
        return await asked

    def wait(self) -> tuple[list[Addresses], list[UpstreamError]]:
        """
        Begin to wait for addresses; give what came of it, later.
        """
        found: list[Addresses] = []
        failed: list[UpstreamError] = []
        waiting = Deferred.fromCoroutine(self.resolver.addresses(HOST))
        waiting.addCallbacks(found.append, lambda failure: failed.append(failure.value))
        return found, failed


@pytest.fixture
def dns() -> _Dns:
    """
    Give a resolver that watches one host.
    """
    dns = _Dns()
    dns.resolver.watch(HOST, dns.changes.append)
    return dns


def test_watched_host_is_looked_up_ahead(dns: _Dns) -> None:
    """
    The first request need not wait for a look-up.
    """
    dns.asked[0].callback(("192.0.2.1", "2001:db8::1"))
    assert [("192.0.2.1", "2001:db8::1")] == dns.wait()[0] == dns.changes
    assert 1 == len(dns.asked)


def test_hosts_watched_before_the_start_are_looked_up_at_the_start() -> None:
    """
    Nothing happens before the reactor runs.
    """
    dns = _Dns()
    early = Resolver(dns.clock, dns._look_up)
    early.watch(HOST, dns.changes.append)
    assert [] == dns.asked
    early.start()
    assert 1 == len(dns.asked)


def test_all_who_wait_share_one_look_up(dns: _Dns) -> None:
    """
    A hundred first requests are one look-up.
    """
    waiting = [dns.wait() for _ in range(100)]
    dns.asked[0].callback(("192.0.2.1",))
    assert [[("192.0.2.1",)]] * 100 == [found for found, _ in waiting]
    assert 1 == len(dns.asked)


def test_addresses_are_looked_up_again(dns: _Dns) -> None:
    """
    A service that moved is found within the time, and only news are told.
    """
    dns.asked[0].callback(("192.0.2.1",))
    dns.clock.advance(REFRESH_SECONDS)
    dns.asked[1].callback(("192.0.2.1",))
    dns.clock.advance(REFRESH_SECONDS)
    dns.asked[2].callback(("192.0.2.2",))
    assert [("192.0.2.1",), ("192.0.2.2",)] == dns.changes
    assert [("192.0.2.2",)] == dns.wait()[0]


def test_order_of_addresses_follows_the_look_up_without_news(dns: _Dns) -> None:
    """
    The name server's rotation is kept; no connection is closed for it.
    """
    dns.asked[0].callback(("192.0.2.1", "192.0.2.2"))
    dns.clock.advance(REFRESH_SECONDS)
    dns.asked[1].callback(("192.0.2.2", "192.0.2.1"))
    assert 1 == len(dns.changes)
    assert [("192.0.2.2", "192.0.2.1")] == dns.wait()[0]


@pytest.mark.parametrize("failure", [OSError("no server"), RuntimeError("a surprise"), None])
def test_last_addresses_stay_while_look_ups_fail(dns: _Dns, failure: Exception | None) -> None:
    """
    A broken DNS stops no click; it is logged when it breaks and when it is well, not in between.
    """
    dns.asked[0].callback(("192.0.2.1",))
    with logged() as events:
        for _ in range(5):
            dns.clock.advance(REFRESH_SECONDS)
            if failure is None:
                dns.asked[-1].callback(())
            else:
                dns.asked[-1].errback(failure)
            assert [("192.0.2.1",)] == dns.wait()[0]
        assert ["error"] == [level for level, _ in events]
        dns.clock.advance(REFRESH_SECONDS)
        dns.asked[-1].callback(("192.0.2.1",))
    assert ["error", "info"] == [level for level, _ in events]


def test_host_at_whose_addresses_nothing_answers_is_looked_up_at_once(dns: _Dns) -> None:
    """
    It may have moved. Every two seconds at most, however many requests say so, and never two at a time.
    """
    dns.asked[0].callback(("192.0.2.1",))
    dns.resolver.look_again(HOST)
    assert 1 == len(dns.asked)
    dns.clock.advance(2)
    for _ in range(100):
        dns.resolver.look_again(HOST)
        dns.clock.advance(0.1)
    assert 2 == len(dns.asked)
    dns.asked[1].callback(("192.0.2.2",))
    assert [("192.0.2.2",)] == dns.wait()[0]
    dns.resolver.look_again("192.0.2.1")
    assert 2 == len(dns.asked)


def test_look_up_that_hangs_is_not_joined_by_others(dns: _Dns) -> None:
    """
    A dead name server holds one thread for each host, not one more each half minute.
    """
    for _ in range(10):
        dns.clock.advance(REFRESH_SECONDS)
    assert 1 == len(dns.asked)


def test_host_that_was_never_found_is_a_bad_gateway(dns: _Dns) -> None:
    """
    Who waits is told, and the next request tries again at once.
    """
    found, failed = dns.wait()
    dns.asked[0].errback(OSError("no such host"))
    assert ([], [502]) == (found, [error.status for error in failed])
    found, failed = dns.wait()
    dns.asked[1].callback(("192.0.2.1",))
    assert ([("192.0.2.1",)], []) == (found, failed)


def test_waiting_may_be_given_up(dns: _Dns) -> None:
    """
    Who gives up leaves the look-up to the others.
    """
    given_up = Deferred.fromCoroutine(dns.resolver.addresses(HOST))
    given_up.addErrback(lambda _: None)
    found, _ = dns.wait()
    given_up.cancel()
    dns.asked[0].callback(("192.0.2.1",))
    assert [("192.0.2.1",)] == found


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_address_needs_no_look_up(dns: _Dns, address: str) -> None:
    """
    An upstream may be given by its address.
    """
    dns.resolver.watch(address, dns.changes.append)
    found: list[Addresses] = []
    Deferred.fromCoroutine(dns.resolver.addresses(address)).addCallback(found.append)
    dns.resolver.forget(address, dns.changes.append)
    assert [(address,)] == found
    assert 1 == len(dns.asked)


def test_forgotten_host_is_looked_up_no_more() -> None:
    """
    When nobody watches any more, nothing is asked and nothing is known.
    """
    dns = _Dns()
    others: list[Addresses] = []
    first, second = dns.changes.append, others.append
    dns.resolver.watch(HOST, first)
    dns.resolver.watch(HOST, second)
    dns.resolver.forget(HOST, first)
    dns.asked[0].callback(("192.0.2.1",))
    assert [] == dns.changes
    dns.resolver.forget(HOST, second)
    dns.clock.advance(REFRESH_SECONDS)
    assert 1 == len(dns.asked)
    assert [502] == [error.status for error in dns.wait()[1]]


def test_forgetting_ends_the_look_up_under_way() -> None:
    """
    Nothing is waited for on behalf of nobody.
    """
    dns = _Dns()
    changed = dns.changes.append
    dns.resolver.watch(HOST, changed)
    _, failed = dns.wait()
    dns.resolver.forget(HOST, changed)
    assert [502] == [error.status for error in failed]


def test_stop_leaves_nothing_behind(dns: _Dns) -> None:
    """
    No timer, no look-up, and nobody waiting.
    """
    _, failed = dns.wait()
    dns.resolver.stop()
    dns.resolver.stop()
    assert ([], [502]) == (dns.clock.getDelayedCalls(), [error.status for error in failed])


def test_system_look_up_asks_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Getaddrinfo's order is kept, each address once, in a thread of its own that keeps no process alive.
    """
    threads: list[threading.Thread] = []

    def getaddrinfo(host: str, _: None, type: int) -> list[tuple[object, ...]]:  # noqa: A002 - the function's own name
        threads.append(threading.current_thread())
        return [(0, type, 6, "", (address, 0)) for address in ("::1", "127.0.0.1", "::1")]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    reactor = _ThreadedReactor()
    look_up = SystemLookUp(reactor)
    look_up.start()
    looking = Deferred.fromCoroutine(look_up("localhost"))
    found: list[Addresses] = []
    looking.addCallback(found.append)
    reactor.run_one()
    look_up.stop()
    assert [("::1", "127.0.0.1")] == found
    assert (True, False) == (threads[0].daemon, threads[0].is_alive())


def test_look_up_that_hangs_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Stopping doesn't wait for a dead name server.
    """
    begun, over = threading.Event(), threading.Event()

    def getaddrinfo(*_: object, **__: object) -> list[tuple[object, ...]]:
        begun.set()
        over.wait(10)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    reactor = _ThreadedReactor()
    look_up = SystemLookUp(reactor)
    look_up.start()
    looking = Deferred.fromCoroutine(look_up("localhost"))
    assert begun.wait(10)
    look_up.stop()
    over.set()
    reactor.run_one()
    assert looking.called
    look_up.stop()

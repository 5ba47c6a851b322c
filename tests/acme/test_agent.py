from __future__ import annotations

from importlib import metadata

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.ssl import platformTrust
from twisted.internet.testing import MemoryReactorClock
from twisted.web.iweb import IAgent
from zope.interface.verify import verifyObject

from sptls.acme.agent import CLOSE_SECONDS, CONNECT_SECONDS, CaAgent, make_agent, user_agent


def test_is_an_agent_that_can_be_closed() -> None:
    """
    It fits Twisted's interface, and closing what was never opened is done at once.
    """
    agent = make_agent(MemoryReactorClock(), platformTrust())
    assert isinstance(agent, CaAgent)
    assert verifyObject(IAgent, agent)
    closed: list[object] = []
    agent.close().addCallback(closed.append)
    assert 1 == len(closed)


def test_connects_to_the_host_of_the_url_and_not_for_ever() -> None:
    """
    A request opens a connection, with a deadline of its own.
    """
    reactor = MemoryReactorClock()
    request = make_agent(reactor, platformTrust()).request(b"GET", b"https://127.0.0.1:14000/dir")
    (connection,) = reactor.tcpClients
    assert ("127.0.0.1", 14000, CONNECT_SECONDS) == (connection[0], connection[1], connection[3])
    request.addErrback(lambda _: None)
    request.cancel()


def test_a_tree_that_was_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Running from a checkout is no fault.
    """

    def not_installed(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", not_installed)
    assert "sptls" == user_agent()


def test_tells_the_ca_who_asks() -> None:
    """
    RFC 8555 §6.1 wants a User-Agent that names the client.
    """
    assert user_agent().startswith("sptls")


class Kept:
    """
    A kept connection whose other end never says close_notify.
    """

    def __init__(self) -> None:
        self.transport: Kept | None = self
        self.aborted: Deferred[None] = Deferred()

    def abort(self) -> Deferred[None]:
        """
        Close in good order, as Twisted's web client has it: wait for the other end.
        """
        return self.aborted

    def abortConnection(self) -> None:  # noqa: N802 - Twisted's name
        """
        Close without further ado.
        """
        self.aborted.callback(None)


@pytest.mark.parametrize("hangs", [True, False])
def test_close_waits_for_nobody_for_long(*, hangs: bool) -> None:
    """
    A CA that hangs holds nothing up; one that closes its end in time is not cut off.
    """
    reactor, closed = MemoryReactorClock(), list[object]()
    agent, kept, lost = make_agent(reactor, platformTrust()), Kept(), Kept()
    lost.transport = None
    agent._pool._connections = {"ca": [kept, lost]}
    agent.close().addCallback(closed.append)
    lost.aborted.callback(None)
    if not hangs:
        kept.aborted.callback(None)
        assert [] == reactor.getDelayedCalls()
    reactor.advance(CLOSE_SECONDS)
    assert 1 == len(closed)

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING

from twisted.internet.ssl import platformTrust
from twisted.internet.testing import MemoryReactorClock
from twisted.web.iweb import IAgent
from zope.interface.verify import verifyObject

from sptls.acme.agent import CONNECT_SECONDS, CaAgent, make_agent, user_agent

if TYPE_CHECKING:
    import pytest


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

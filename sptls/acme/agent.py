"""
The HTTPS connections to the CA: which roots are trusted, how many are kept, how long a connect may take.

Decides nothing about requests; `transport` makes them. TLS contexts are built once for each host of the CA's, since
building one reads every system root.
"""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.web.client import (
    Agent,
    BrowserLikePolicyForHTTPS,
    HostnameCachingHTTPSPolicy,
    HTTPConnectionPool,
)
from twisted.web.iweb import IAgent
from zope.interface import implementer

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.web.http_headers import Headers
    from twisted.web.iweb import IBodyProducer, IResponse

T = TypeVar("T")

# As many as parallel orders, so that none makes a TLS handshake for each of its requests.
MAX_KEPT_CONNECTIONS = 32
# Boulder's front ends close idle connections after a minute; ours go first, or a POST meets a closed one.
KEEP_SECONDS = 20
CONNECT_SECONDS = 10.0
CLOSE_SECONDS = 2.0
# A CA has one host for the API, and some have another for the nonces or the chains.
MAX_HOSTS = 8


@implementer(IAgent)
class CaAgent:
    """
    An HTTP agent with kept connections that can be closed.
    """

    def __init__(self, reactor: IReactorTime, trust: object) -> None:
        # Twisted's web client has no annotations.
        self._reactor = reactor
        self._pool = HTTPConnectionPool(reactor)
        self._pool.maxPersistentPerHost = MAX_KEPT_CONNECTIONS
        self._pool.cachedConnectionTimeout = KEEP_SECONDS
        browser_like = BrowserLikePolicyForHTTPS(trust)
        policy = HostnameCachingHTTPSPolicy(browser_like, MAX_HOSTS)
        self._agent: IAgent = Agent(reactor, policy, connectTimeout=CONNECT_SECONDS, pool=self._pool)

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,  # noqa: N803 - Twisted's name
    ) -> Deferred[IResponse]:
        """
        Make a request, as `IAgent` says.
        """
        return self._agent.request(method, uri, headers, bodyProducer)

    def close(self) -> Deferred[object]:
        """
        Close the kept connections; fires when they are closed, after `CLOSE_SECONDS` at the latest.
        """
        kept = [one for connections in self._pool._connections.values() for one in connections]  # noqa: SLF001
        closed: Deferred[object] = self._pool.closeCachedConnections()
        # Over TLS each waits for the CA's close_notify, which does not come from one that hangs.
        late = self._reactor.callLater(CLOSE_SECONDS, _abort, kept)
        return closed.addBoth(_forget, late)


def _abort(connections: list[Any]) -> None:
    for connection in connections:
        if connection.transport is not None:
            connection.transport.abortConnection()


def _forget(result: T, call: IDelayedCall) -> T:
    if call.active():
        call.cancel()
    return result


def make_agent(reactor: IReactorTime, trust: object) -> CaAgent:
    """
    Make the agent for one CA, whose HTTPS must be certified by *trust* (`tls.contexts.client_trust`).
    """
    return CaAgent(reactor, trust)


def user_agent() -> str:
    """
    Give the User-Agent that we send to CAs, which want one (RFC 8555 §6.1).
    """
    try:
        return f"sptls/{metadata.version('sptls')}"
    except metadata.PackageNotFoundError:
        return "sptls"

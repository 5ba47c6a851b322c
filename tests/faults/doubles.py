"""
Stand-ins round the real issuer: an agent that is watched, stores in memory, port 80 of every name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import Deferred
from twisted.web.iweb import IAgent
from twisted.web.resource import Resource
from zope.interface import implementer

from sptls.interfaces import IAccounts, IOrders
from sptls.names import HostName
from sptls.proxy.http01 import Http01Responder

if TYPE_CHECKING:
    from twisted.web.http_headers import Headers
    from twisted.web.iweb import IBodyProducer, IResponse
    from twisted.web.server import Request

    from sptls.acme.agent import CaAgent
    from sptls.certs.records import AccountRecord, OrderRecord


@implementer(IAgent)
class WatchedAgent:
    """
    An agent of which is known how many of its requests are under way.
    """

    def __init__(self, agent: CaAgent) -> None:
        self._agent = agent
        self.under_way = 0

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
        self.under_way += 1

        def over(result: Any) -> Any:
            self.under_way -= 1
            return result

        return self._agent.request(method, uri, headers, bodyProducer).addBoth(over)


@implementer(IAccounts)
@attrs.define
class AccountsInMemory:
    """
    Keeps accounts for one test.
    """

    records: dict[str, AccountRecord] = attrs.field(factory=dict)

    async def account(self, directory: str) -> AccountRecord | None:
        """
        Give what is kept.
        """
        return self.records.get(directory)

    async def put_account(self, directory: str, record: AccountRecord) -> None:
        """
        Keep it.
        """
        self.records[directory] = record


@implementer(IOrders)
@attrs.define
class OrdersInMemory:
    """
    Keeps orders under way for one test.
    """

    records: dict[HostName, OrderRecord] = attrs.field(factory=dict)

    async def order(self, name: HostName) -> OrderRecord | None:
        """
        Give what is kept.
        """
        return self.records.get(name)

    async def put_order(self, record: OrderRecord) -> None:
        """
        Keep it.
        """
        self.records[record.name] = record

    async def remove_order(self, name: HostName) -> None:
        """
        Forget it.
        """
        self.records.pop(name, None)


class Tokens(Resource):
    """
    Port 80 of every name: answers the open http-01 challenges of the *responder* that is set, but for *dead* names.
    """

    isLeaf = True  # noqa: N815 - Twisted's name

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.responder: Http01Responder | None = None
        self.dead: set[HostName] = set()

    def render_GET(self, request: Request) -> bytes:  # noqa: N802 - Twisted's name
        """
        Give the key authorization of the token at the path's end.
        """
        tokens = self.responder.tokens if self.responder is not None else {}
        token = request.path.rsplit(b"/", 1)[-1].decode()
        host = (request.getHeader("host") or "").partition(":")[0]
        if token not in tokens or HostName(host) in self.dead:
            request.setResponseCode(404)
            return b""
        return tokens[token].encode()


class UnservedResponder(Http01Responder):
    """
    A challenge type that nobody answers: the CA's connection to port 443 is refused.
    """

    challenge_type = "tls-alpn-01"

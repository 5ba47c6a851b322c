"""
One POST of JSON, with the libraries that it takes; imported late (`webhook`).

Redirects are not followed: a POST would become a GET. The connection is closed with the head of the answer, whose
content nobody reads.
"""

from __future__ import annotations

from typing import Any, Final

from treq.client import HTTPClient
from twisted.internet.protocol import Protocol
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS

from sptls import asking

CONNECT_SECONDS: Final = 10.0


async def post(reactor: Any, url: str, trust: Any, content: bytes) -> int:
    """
    POST *content* to *url*, whose host must be certified by *trust*; gives the status of the answer.

    Raises:
        Exception: none came, in the ways of the libraries.
    """
    agent = Agent(reactor, BrowserLikePolicyForHTTPS(trust), connectTimeout=CONNECT_SECONDS)
    fields: dict[str | bytes, str | bytes] = {"Content-Type": "application/json", "User-Agent": "sptls"}
    response = await HTTPClient(agent, data_to_body_producer=asking.Content).request(
        "POST",
        url,
        headers=fields,
        data=content,
        allow_redirects=False,
        unbuffered=True,
        reactor=reactor,
    )
    response.deliverBody(_Unread())
    return int(response.code)


class _Unread(Protocol):
    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        if self.transport is not None:
            self.transport.loseConnection()

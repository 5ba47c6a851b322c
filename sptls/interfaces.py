"""
The seams: small zope interfaces, each a contract that its production class and its double are both verified against.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from collections.abc import Callable

    from sptls.certs.bundle import CertificateBundle
    from sptls.certs.records import AccountRecord
    from sptls.errors import UpstreamError
    from sptls.names import HostName
    from sptls.proxy.head import ResponseHead
    from sptls.tls.contexts import ServerContext


class IIssuer(Interface):
    """
    Something that makes certificates: an ACME CA, or the internal one.
    """

    directory: str = Attribute("the ACME directory's URL, or 'internal'; stored beside each certificate")

    async def issue(name: HostName) -> CertificateBundle:
        """
        Get a checked certificate for *name* with a new key.

        May take minutes; never more than its own deadline. Cancelling withdraws open challenges.

        Raises:
            IssuanceFailed: no certificate came of it; says why and what it cost at the CA.
            CancelledError: it was cancelled when it could have cost something already (before: `OrderCancelled`).
        """


class IAccounts(Interface):
    """
    Where our account at a CA is kept; a restart must not forget it (RFC 8555 §7.3).
    """

    async def account(directory: str) -> AccountRecord | None:
        """
        Give the account at the CA with this directory URL, or None when there is none yet.
        """

    async def put_account(directory: str, record: AccountRecord) -> None:
        """
        Keep *record* instead of what was there; it is on disk when this returns.
        """


@attrs.frozen
class Hold:
    """
    The answer to a hello whose certificate is on its way: wait for it.
    """

    name: HostName


@attrs.frozen
class Refuse:
    """
    The answer to a hello that gets no handshake: this TLS alert (RFC 8446 §6), then the end.
    """

    alert: int


class IServerContexts(Interface):
    """
    What a hello gets; asked by the listener for every connection, so it is a look-up in memory.
    """

    def answer(server_name: bytes | None) -> ServerContext | Hold | Refuse:
        """
        Tell what a hello with *server_name* (as it came off the wire) gets, now.
        """

    def want(name: HostName) -> None:
        """
        Say that a client is waiting for *name*'s certificate; it goes to the head of the queue.
        """

    def watch(settled: Callable[[HostName], None]) -> None:
        """
        Have *settled* called whenever a name's answer may have changed (issued, failed); once per process.
        """


class IAlpnChallenges(Interface):
    """
    Where tls-alpn-01 answers come from (RFC 8737).
    """

    def alpn_context(server_name: bytes | None) -> ServerContext | None:
        """
        Give the context that answers the open challenge for *server_name*, or None when none is open.
        """


class IDownstream(Interface):
    """
    The client's side of one exchange, as the upstream sees it; called from the reactor's thread.

    In this order: `response_head` once, `response_data` any number of times, `response_end` once; or
    `response_failed` instead at any moment, once, and nothing after it. What it took it may hold back until
    `response_flush` or `response_end`, so that a small response is written in one piece.
    """

    def response_head(head: ResponseHead) -> None:
        """
        Take the final response's head.
        """

    def response_data(data: bytes) -> None:
        """
        Take a piece of the content, transfer codings removed.
        """

    def response_flush() -> None:
        """
        Pass on what came so far: nothing more of the response is there right now (not called before `response_end`).
        """

    def response_end() -> None:
        """
        Take note that the response is complete.
        """

    def response_failed(error: UpstreamError) -> None:
        """
        Take note that no (complete) response will come; before the head, *error* has the status to answer with.
        """

    def pause_request() -> None:
        """
        Send no more content for now: the upstream is not taking it.
        """

    def resume_request() -> None:
        """
        Send content again.
        """


class IUpstreamExchange(Interface):
    """
    The upstream's side of one exchange, as the client's side sees it.
    """

    def send_data(data: bytes) -> None:
        """
        Send a piece of the request's content; framed here as the request's head announced.
        """

    def send_end() -> None:
        """
        Say that the request's content is complete.
        """

    def pause_response() -> None:
        """
        Read no more of the response for now: the client is not taking it.
        """

    def resume_response() -> None:
        """
        Read on.
        """

    def abandon() -> None:
        """
        The client left: nothing more is wanted, nothing more will be called.
        """

"""
The seams: small zope interfaces, each a contract that its production class and its double are both verified against.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IProtocol, ITransport

    from sptls.certs.bundle import CertificateBundle
    from sptls.certs.records import AccountRecord, OrderRecord, RenewalInfo
    from sptls.config import PassthroughConfig
    from sptls.errors import UpstreamError
    from sptls.names import HostName
    from sptls.proxy.fields import Fields
    from sptls.proxy.head import ResponseHead
    from sptls.tls.contexts import ServerContext


@attrs.frozen
class Issued:
    """
    A new certificate, and what it cost at the CA.

    *failed_authorizations* are those of challenge types that failed before one worked; *orders* the new orders that
    were made, less those that no limit counts: 0 for one that an earlier attempt had begun. *is_replacement* tells that
    the CA took it as the successor of the one it replaces (RFC 9773 §5).
    """

    bundle: CertificateBundle
    failed_authorizations: int = 0
    orders: int = 0
    is_replacement: bool = False


class IIssuer(Interface):
    """
    Something that makes certificates: an ACME CA, or the internal one.
    """

    directory: str = Attribute("the ACME directory's URL, or 'internal'; stored beside each certificate")

    async def obtain(
        name: HostName, *, replaces: CertificateBundle | None = None, challenge_types: int | None = None
    ) -> Issued:
        """
        Get a checked certificate for *name* with a new key; one order at a time for each name.

        *replaces* is the certificate that it is to succeed, which must have come from this CA. Of so many
        *challenge_types* authorizations may fail (None: of all), since the CA counts each. An order of an earlier
        attempt is taken up where it still stands, with what it has cost. May take minutes; never more than its own
        deadline. Cancelling withdraws open challenges.

        Raises:
            IssuanceFailed: no certificate came of it; says why and what it cost at the CA.
            CancelledError: it was cancelled when it could have cost something already (before: `OrderCancelled`).
        """

    async def renewal_info(bundle: CertificateBundle) -> RenewalInfo | None:
        """
        Ask the CA, from which *bundle* must have come, when it wants it renewed (RFC 9773); takes 30 s at most.

        None when there is nothing to go by: the CA has no such service, did not answer, or answered nonsense. Raises
        nothing but CancelledError.
        """

    async def revoke(bundle: CertificateBundle, reason: int = 0) -> None:
        """
        Have *bundle*'s certificate revoked (RFC 8555 §7.6) for *reason* (RFC 5280 §5.3.1); fine if it is already.

        Raises:
            SptlsError: the CA refused, could not be asked, or can't revoke at all.
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


class IOrders(Interface):
    """
    Where orders are kept that are under way, so that a restart takes them up instead of ordering anew.

    One for each name. Whoever stores a name's certificate removes its order with the same write: before that moment
    the order still leads to the certificate, afterwards it must not be followed again.
    """

    async def order(name: HostName) -> OrderRecord | None:
        """
        Give the order that is under way for *name*, or None.
        """

    async def put_order(record: OrderRecord) -> None:
        """
        Keep *record* instead of what was there for its name; it is on disk when this returns.
        """

    async def remove_order(name: HostName) -> None:
        """
        Forget the order for *name*, if there is one.
        """


class IAcmeRecords(IAccounts, IOrders):
    """
    Where what an ACME client has begun is kept, all in one place.
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

    def answer(server_name: bytes | None) -> ServerContext | Hold | Refuse | PassthroughConfig:
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

    In this order: `response_head` once, `response_data` any number of times, `response_trailers` at most once and
    right before the end, `response_end` once; or `response_failed` instead at any moment, once, and nothing after it.
    What it took it may hold back until `response_flush` or `response_end`, so that a small response is written in one
    piece.
    """

    seconds_left: float = Attribute("how long the client takes for what is held for it, if it goes on as it does")

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

    def response_trailers(fields: Fields) -> None:
        """
        Take the fields behind the content as they came, and pass on those that may be.
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

    held_bytes: int = Attribute("how much of the request's content no connection has taken yet")

    def send_data(data: bytes) -> None:
        """
        Send a piece of the request's content; framed here as the request's head announced.
        """

    def send_trailers(fields: Fields) -> None:
        """
        Take the fields behind the content as they came, right before `send_end`, and pass on those that may be.
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

    def read_little(little: bool) -> None:
        """
        Read a little of the response at a time from now on, or as usual again: much waits for the client already.
        """

    def abandon() -> None:
        """
        The client left: nothing more is wanted, nothing more will be called.
        """


class IUpstreamConnector(Interface):
    """
    How connections to one upstream are made: over TCP, or over TLS that is verified against the upstream's own name.
    """

    async def connect(address: str, protocol: IProtocol) -> None:
        """
        Connect *protocol* to the upstream's IP *address*; its `makeConnection` was called when this returns.

        Waits for as long as it takes: the caller has the deadline. Cancelling closes what is half open.

        Raises:
            UpstreamError: it can't be had, says why; *protocol* hears nothing.
        """

    def remember(transport: ITransport) -> None:
        """
        Keep of *transport*, which *protocol* got an answer on, what makes the next connection cheaper.
        """

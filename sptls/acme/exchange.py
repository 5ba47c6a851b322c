"""
One HTTP request to the CA and its answer, bounded in time and size.

Decides nothing about what an answer means. Redirects are not followed: ACME has none, and a signature names its URL.
Whatever keeps an answer from coming is `AcmeUnreachable`, except being cancelled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import attrs
from treq.client import HTTPClient
from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss

from sptls import asking
from sptls.acme import retry
from sptls.errors import AcmeError, AcmeProtocolError, AcmeUnreachable

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure
    from twisted.web.iweb import IAgent, IResponse

    from sptls.clock import WallClock

# Boulder answers within its own 20-second limit; a request that takes longer is lost.
REQUEST_SECONDS = 30.0
# A chain of four RSA-4096 certificates in PEM is 10 KiB, a directory 1 KiB.
MAX_CONTENT_BYTES = 262_144

# What OpenSSL says of a certificate that doesn't chain to a trusted root, and what the operator can do about it.
_UNTRUSTED = "certificate verify failed"
_TRUST_ADVICE = "; a CA whose own HTTPS has a private root needs that root in the file that acme.trust names"


@attrs.frozen
class Answer:
    """
    What the CA answered.
    """

    status: int
    content: bytes = attrs.field(repr=False)
    content_type: str = ""
    location: str = ""
    links: tuple[str, ...] = ()
    retry_after_seconds: float | None = None
    nonce: str | None = None


class _Content(Protocol):
    """
    Collects a response's content; `whole` fails once it is over the limit, and closes the connection when cancelled.
    """

    def __init__(self, operation: str) -> None:
        self._operation, self._received = operation, bytearray()
        self.whole: Deferred[bytes] = Deferred(lambda _: self._stop())

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        if self.whole.called:
            return
        self._received += data
        if len(self._received) > MAX_CONTENT_BYTES:
            self.whole.errback(AcmeProtocolError(self._operation, f"it is over {MAX_CONTENT_BYTES} bytes"))
            self._stop()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802 - Twisted's name
        if self.whole.called:
            return
        if isinstance(reason.value, ResponseDone | PotentialDataLoss):
            self.whole.callback(bytes(self._received))
        else:
            self.whole.errback(reason)

    def _stop(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()


@attrs.frozen
class Exchanges:
    """
    Makes requests over *agent*.
    """

    agent: IAgent
    clock: IReactorTime
    wall_clock: WallClock
    user_agent: str

    async def exchange(self, method: str, operation: str, url: str, content: bytes | None, until: float) -> Answer:
        """
        Make one request, whose answer must be complete by *until* (and within `REQUEST_SECONDS`).

        Cancelling closes its connection.

        Raises:
            AcmeUnreachable: no complete answer came.
            AcmeProtocolError: the answer is too large.
        """
        seconds = min(REQUEST_SECONDS, until - self.clock.seconds())
        if seconds <= 0:
            raise AcmeUnreachable(operation, "the order's deadline has passed")
        request = Deferred.fromCoroutine(self._request(method, operation, url, content))
        try:
            return await asking.abandonable(request).addTimeout(seconds, self.clock)
        except defer.TimeoutError:
            raise AcmeUnreachable(operation, f"no answer within {seconds:.0f} seconds") from None

    async def _request(self, method: str, operation: str, url: str, content: bytes | None) -> Answer:
        http = HTTPClient(self.agent, data_to_body_producer=asking.Content)
        fields: dict[str | bytes, str | bytes] = {"User-Agent": self.user_agent, "Accept-Language": "en"}
        if content is not None:
            fields["Content-Type"] = "application/jose+json"
        try:
            # With no reactor given, treq imports the global one.
            response = await http.request(
                method,
                url,
                headers=fields,
                data=content,
                allow_redirects=False,
                unbuffered=True,
                reactor=cast("Any", self.clock),
            )
            collector = _Content(operation)
            response.deliverBody(collector)
            received = await collector.whole
        except (AcmeError, CancelledError):
            raise
        except Exception as error:
            # Sockets, TLS, DNS and HTTP parsing each fail in their own ways.
            raise AcmeUnreachable(operation, reason(error)) from error
        return self._answer(response, received)

    def _answer(self, response: IResponse, content: bytes) -> Answer:
        return Answer(
            status=response.code,
            content=content,
            content_type=(_field(response, "content-type") or "").split(";")[0].strip().lower(),
            location=_field(response, "location") or "",
            links=tuple(response.headers.getRawHeaders("link", [])),
            retry_after_seconds=retry.retry_after(
                _field(response, "retry-after"), self.wall_clock(), _field(response, "date")
            ),
            nonce=_field(response, "replay-nonce"),
        )


def _field(response: IResponse, name: str) -> str | None:
    values = response.headers.getRawHeaders(name)
    return cast("str", values[0]) if values else None


def reason(error: BaseException) -> str:
    """
    Say in one line why a request failed, and what to do where the CA's own certificate is not trusted.
    """
    said = asking.reason(error)
    return f"{said}{_TRUST_ADVICE}" if _UNTRUSTED in said else said

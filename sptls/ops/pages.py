"""
What the admin listener and the control socket are made of: a site that logs nothing, and pages that answer in pieces.

The site's connections are few, and each wait of theirs has an end: they must not take the file descriptors of clients.

A status of 100,000 domains takes over a second to write. It is written a few milliseconds at a time, as fast as it is
read, so that no handshake waits for it. Decides nothing about what is answered.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.logger import Logger
from twisted.web.http import HTTPChannel
from twisted.web.pages import notFound
from twisted.web.resource import IResource, Resource
from twisted.web.server import NOT_DONE_YET, Site
from zope.interface import implementer

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping

    from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime, ITCPTransport
    from twisted.python.failure import Failure
    from twisted.web.http import Request
    from twisted.web.http_headers import Headers
    from twisted.web.iweb import IRequest

_log = Logger()

# How long the reactor is kept at a stretch: less than a handshake takes.
SLICE_SECONDS: Final = 0.005
# A reader that takes nothing for so long is gone; what it asked for must not be kept for ever.
STALLED_SECONDS: Final = 60
# Until it has taken what was written before its connection is closed.
LEAVING_SECONDS: Final = 15
# Monitors, commands, and a person with a browser; each is a file descriptor.
MOST_CONNECTIONS: Final = 64


@attrs.frozen
class Answer:
    """
    What a page answers: *content* is bytes, or pieces of text each of which is made in a moment.
    """

    content: bytes | Iterator[str]
    status: int = 200
    content_type: bytes = b"application/json"


class Page(Resource):
    """
    One page: *give* answers each request whose method is one of *methods*; *refusal* says why no other is.
    """

    isLeaf = True  # noqa: N815 - Twisted's name

    def __init__(
        self, clock: IReactorTime, methods: tuple[bytes, ...], refusal: bytes, give: Callable[[Request], Answer]
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._clock, self._methods, self._refusal, self._give = clock, methods, refusal, give

    def render(self, request: Request) -> bytes | int:
        """
        Answer with what is so now.
        """
        request.setHeader(b"cache-control", b"no-store")
        if request.method in self._methods:
            answer = self._give(request)
        else:
            answer = Answer(self._refusal, 405, b"text/plain")
            request.setHeader(b"allow", b", ".join(self._methods))
        request.setResponseCode(answer.status)
        request.setHeader(b"content-type", answer.content_type)
        if isinstance(answer.content, bytes):
            request.setHeader(b"content-length", b"%d" % len(answer.content))
            return b"" if request.method == b"HEAD" else answer.content
        if request.method == b"HEAD":
            return b""
        _Slices(self._clock, request, answer.content).start()
        return NOT_DONE_YET


class LatePage(Resource):
    """
    A page whose answer takes a while: *give* answers each POST, by a deadline of its own.

    What was begun goes on when whoever asked for it leaves: a revocation must still be followed by a new certificate.
    """

    isLeaf = True  # noqa: N815 - Twisted's name

    def __init__(self, give: Callable[[Request], Coroutine[Deferred[Any], Any, Answer]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._give = give

    def render_POST(self, request: Request) -> int:  # noqa: N802 - Twisted's name
        """
        Answer when there is an answer; it has no pieces.
        """
        request.setHeader(b"cache-control", b"no-store")
        is_gone: list[bool] = []
        request.notifyFinish().addErrback(lambda _: is_gone.append(True))
        giving = Deferred.fromCoroutine(self._give(request))
        giving.addCallback(lambda answer: None if is_gone else _finish(request, answer))
        giving.addErrback(partial(_break_off, request, is_gone))
        return NOT_DONE_YET


def _finish(request: Request, answer: Answer) -> None:
    request.setResponseCode(answer.status)
    request.setHeader(b"content-type", answer.content_type)
    request.write(b"".join([answer.content] if isinstance(answer.content, bytes) else map(str.encode, answer.content)))
    request.finish()


def _break_off(request: Request, is_gone: list[bool], failure: Failure) -> None:
    _log.failure("a request could not be answered", failure)
    if not is_gone:
        request.loseConnection()


@implementer(IPushProducer)
class _Slices:
    """
    Writes *pieces* to *request*, for `SLICE_SECONDS` at a time, and no faster than they are read.
    """

    def __init__(self, clock: IReactorTime, request: Request, pieces: Iterator[str]) -> None:
        self._clock, self._request, self._pieces = clock, request, pieces
        self._next: IDelayedCall | None = None

    def start(self) -> None:
        """
        Write the first slice now.
        """
        self._request.registerProducer(self, streaming=True)
        self._write_slice()

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        """
        Go on at the reactor's next turn.
        """
        self._call(0, self._write_slice)

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        """
        Write no more until what is written has been read.
        """
        self._call(STALLED_SECONDS, self._request.loseConnection)

    def stopProducing(self) -> None:  # noqa: N802 - Twisted's name
        """
        Forget the rest: the reader is gone.
        """
        self._call(None)
        self._pieces = iter(())

    def _call(self, seconds: float | None, what: Callable[[], object] = lambda: None) -> None:
        """
        Do *what* next, after *seconds*, in place of what was to be next; nothing where that is None.
        """
        if self._next is not None and self._next.active():
            self._next.cancel()
        self._next = None if seconds is None else self._clock.callLater(seconds, what)

    def _write_slice(self) -> None:
        # Before the write, which may pause us.
        self._call(0, self._write_slice)
        until, written, is_end = self._clock.seconds() + SLICE_SECONDS, [], True
        try:
            for piece in self._pieces:
                written.append(piece)
                if self._clock.seconds() >= until:
                    is_end = False
                    break
        except Exception:  # noqa: BLE001 - the reader must see that the end is missing, and the daemon goes on
            _log.failure("a status could not be written")
            self.stopProducing()
            self._request.unregisterProducer()
            self._request.loseConnection()
            return
        self._request.write("".join(written).encode())
        if is_end:
            self.stopProducing()
            self._request.unregisterProducer()
            self._request.finish()


class Pages(Resource):
    """
    Several pages by their paths; what is not one of them is not found (Twisted's own answer for that is deprecated).
    """

    def __init__(self, pages: Mapping[bytes, Resource]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        for path, page in pages.items():
            self.putChild(path, page)

    def getChild(self, path: bytes, request: IRequest) -> IResource:  # noqa: N802 - Twisted's name
        """
        Give the page for a path that isn't there.
        """
        return notFound()


@implementer(IHalfCloseableProtocol)
class Channel(HTTPChannel):
    """
    A connection that answers a client which has said all (``nc -N``), and gives a slow one no more than its time.

    The site's *timeout* is for a whole request, from the connection's begin or from the answer before it.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.is_answering = self._is_leaving = self._has_said_all = False

    def resetTimeout(self) -> None:  # noqa: N802 - Twisted's name
        """
        Do nothing: who sends a byte now and then has no more time for that.
        """

    def timeoutConnection(self) -> None:  # noqa: N802 - Twisted's name
        """
        Close the connection, at once if that has been tried; Twisted's own says so in the log each time.
        """
        if self._is_leaving:
            self.abort()
        else:
            self.loseConnection()

    def abort(self) -> None:
        """
        Close the connection now, whatever has not been read.
        """
        cast("ITCPTransport", self.transport).abortConnection()  # as Unix sockets have it too

    def allContentReceived(self) -> None:  # noqa: N802 - Twisted's name
        """
        Begin to answer.
        """
        self.is_answering = True
        super().allContentReceived()  # type: ignore[no-untyped-call]

    def requestDone(self, request: Request) -> None:  # noqa: N802 - Twisted's name
        """
        Go on with the next request, if it came already.
        """
        self.is_answering = False
        self.factory.rested(self)
        super().requestDone(request)  # type: ignore[no-untyped-call]
        if self._has_said_all and not self.is_answering:
            self.loseConnection()

    def readConnectionLost(self) -> None:  # noqa: N802 - Twisted's name
        """
        Close the connection once what was asked is answered.
        """
        self._has_said_all = True
        if not self.is_answering:
            self.loseConnection()

    def writeConnectionLost(self) -> None:  # noqa: N802 - Twisted's name
        """
        Do nothing: nothing here ends its own direction alone.
        """

    def loseConnection(self) -> None:  # noqa: N802 - Twisted's name
        """
        Close the connection when all is read that was written, and in any case.
        """
        if not self._is_leaving:
            self._is_leaving = True
            self.setTimeout(LEAVING_SECONDS)  # type: ignore[no-untyped-call]
            super().loseConnection()  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override] # noqa: N802 - Twisted's name
        """
        Make room.
        """
        super().connectionLost(reason)  # type: ignore[no-untyped-call]
        self.factory.left(self)

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Headers) -> None:  # noqa: N802
        """
        Write an answer's head, which names no software.
        """
        headers.removeHeader(b"server")
        super().writeHeaders(version, code, reason, headers)  # type: ignore[no-untyped-call]


class QuietSite(Site):
    """
    A site that logs no request: health checks come every few seconds, and tracking paths hold personal data.

    One connection more than `MOST_CONNECTIONS` takes the place of the one that has not asked for longest.
    """

    noisy = False
    protocol = Channel  # type: ignore[assignment] # HTTP/1 alone needs no wrapper that chooses

    def __init__(self, resource: Resource, **more: Any) -> None:
        super().__init__(resource, **more)  # type: ignore[no-untyped-call]
        # In the order of their last answers, or of their beginnings.
        self._channels: dict[Channel, None] = {}

    def buildProtocol(self, addr: IAddress | None) -> Channel | None:  # type: ignore[override] # noqa: N802
        """
        Make a connection's protocol; None where all others are being answered.
        """
        if len(self._channels) >= MOST_CONNECTIONS:
            resting = next((channel for channel in self._channels if not channel.is_answering), None)
            if resting is None:
                return None
            self.left(resting)
            resting.abort()
        channel: Channel = super().buildProtocol(addr)  # type: ignore[no-untyped-call]
        self._channels[channel] = None
        return channel

    def rested(self, channel: Channel) -> None:
        """
        Take note that *channel* has answered.
        """
        if channel in self._channels:
            del self._channels[channel]
            self._channels[channel] = None

    def left(self, channel: Channel) -> None:
        """
        Take note that *channel* is no more.
        """
        self._channels.pop(channel, None)

    def log(self, request: Request) -> None:
        """
        Log nothing.
        """

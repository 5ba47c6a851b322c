"""
The front's door: the listener whose connections can meet other things than a TLS server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.policies import WrappingFactory
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.web.resource import Resource
from twisted.web.server import Site
from zope.interface import implementer

if TYPE_CHECKING:
    from pathlib import Path

    from twisted.internet.interfaces import IAddress

    from tests.acme_front.reactor import SkippingReactor

# What a captive portal, or a server on the wrong port, says to a ClientHello.
GARBAGE = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"


@implementer(IOpenSSLServerConnectionCreator)
class Context:
    """
    A server's TLS with one certificate; the context is made once, which costs more than a handshake.
    """

    def __init__(self, chain: Path, key: Path) -> None:
        self._context = SSL.Context(SSL.TLS_SERVER_METHOD)
        self._context.use_certificate_chain_file(str(chain))
        self._context.use_privatekey_file(str(key))

    def serverConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:  # noqa: N802, N803 - Twisted's names
        """
        Make a connection's TLS.
        """
        return SSL.Connection(self._context, None)


class QuietSite(Site):
    """
    An HTTP server without timers, which would keep time from being skipped, and without a log.
    """

    noisy = False

    def __init__(self, resource: Resource, reactor: SkippingReactor) -> None:
        super().__init__(resource, reactor=reactor)  # type: ignore[no-untyped-call]
        self.timeOut = None

    def startFactory(self) -> None:  # noqa: N802 - Twisted's name
        """
        Start no clock for a log.
        """

    def stopFactory(self) -> None:  # noqa: N802 - Twisted's name
        """
        Stop nothing.
        """


class _Silent(Protocol):
    """
    Takes everything and says nothing.
    """


class _Garbage(Protocol):
    """
    Speaks another language.
    """

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """
        Answer whatever came.
        """
        assert self.transport is not None
        self.transport.write(GARBAGE)
        self.transport.loseConnection()


class Door(Factory):
    """
    Accepts connections for *server*, TLS by *context*; `how` says what the next ones meet, "" for the server.
    """

    def __init__(self, reactor: SkippingReactor, server: QuietSite, context: Context, untrusted: Context) -> None:
        self.how = ""
        self._reactor = reactor
        self._wrapping = WrappingFactory(self)
        self._tls = TLSMemoryBIOFactory(context, False, server, reactor)
        self._untrusted = TLSMemoryBIOFactory(untrusted, False, server, reactor)
        self._server = server
        self._listening: Any = None
        self.port: int = 0

    def doStart(self) -> None:  # noqa: N802 - Twisted's name
        """
        Start without a line in the log.
        """

    def doStop(self) -> None:  # noqa: N802 - Twisted's name
        """
        Stop without a line in the log.
        """

    def buildProtocol(self, addr: IAddress | None) -> Any:  # noqa: N802 - Twisted's name
        """
        Give what a new connection meets.
        """
        match self.how:
            case "silent":
                return _Silent()
            case "garbage":
                return _Garbage()
            case "untrusted":
                return self._untrusted.buildProtocol(addr)
            case _:
                return self._tls.buildProtocol(addr)

    def open(self) -> None:
        """
        Listen; on the same port as before.
        """
        if self._listening is None:
            self._listening = self._reactor.listenTCP(self.port, self._wrapping, interface="127.0.0.1")
            self.port = self._listening.getHost().port

    def close(self) -> None:
        """
        Listen no more: connections are refused.
        """
        if self._listening is not None:
            self._listening.stopListening()
            self._listening = None

    def reset(self) -> None:
        """
        Reset every connection that there is.
        """
        wrappers: list[Any] = list(self._wrapping.protocols)
        for wrapper in wrappers:
            wrapper.transport.abortConnection()

    @property
    def is_served(self) -> bool:
        """
        Tell whether a connection meets somebody whose answer is worth waiting for.
        """
        return self._listening is not None and self.how != "silent"

"""
What is asked of a connection's transport: Twisted's TCP connections have it, and `tls.transport.TlsTransport`.
"""
# ruff: noqa: N802 - Twisted's names

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IPushProducer


class ReadsSized(Protocol):
    """
    Twisted's TCP connections, which read so much at a time. TLS reads a record (RFC 8446 §5.1), never more than 16 KiB.
    """

    bufferSize: int  # noqa: N815 - Twisted's name


class StreamTransport(Protocol):
    """
    ITCPTransport, IConsumer and IPushProducer in one, as far as they are used here.
    """

    disconnecting: bool

    def getPeer(self) -> IAddress:
        """
        Give the other end's address.
        """

    def setTcpNoDelay(self, enabled: bool) -> None:
        """
        Have small segments leave at once, or not.
        """

    def write(self, data: bytes) -> None:
        """
        Send *data*.
        """

    def loseConnection(self) -> None:
        """
        Close when all is sent.
        """

    def loseWriteConnection(self) -> None:
        """
        Close our side when all is sent, and go on reading.
        """

    def abortConnection(self) -> None:
        """
        Close now.
        """

    def pauseProducing(self) -> None:
        """
        Stop reading.
        """

    def resumeProducing(self) -> None:
        """
        Read again.
        """

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        """
        Tell *producer* when too much is waiting to be sent.
        """

    def unregisterProducer(self) -> None:
        """
        Tell it no more.
        """

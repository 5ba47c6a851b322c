"""
A DNS server in the test's process and a reactor to turn by hand, for what asks over real sockets of this machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import DatagramProtocol, Factory
from twisted.names import dns
from twisted.python.failure import Failure

TRUNCATED = -1


class Zone(DatagramProtocol):
    """
    A DNS server over UDP: *records* by name and type; a number is a response code, None no answer at all.
    """

    def __init__(self) -> None:
        self.records: dict[tuple[str, int], list[Any] | int | None] = {}
        self.asked: list[tuple[str, int]] = []

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:  # noqa: N802 - Twisted's name
        """
        Answer.
        """
        content = self.answer(datagram)
        if content is not None:
            transport: Any = self.transport
            transport.write(content, addr)

    def answer(self, datagram: bytes, *, is_whole: bool = False) -> bytes | None:
        """
        Give the answer to a question; with *is_whole* one that is never truncated.
        """
        message = dns.Message()
        message.fromStr(datagram)
        (query,) = message.queries
        key = (str(query.name), query.type)
        self.asked.append(key)
        found = self.records.get(key, [])
        if found is None:
            return None
        message.answer, message.rCode = 1, found if isinstance(found, int) and found != TRUNCATED else dns.OK
        message.trunc = found == TRUNCATED and not is_whole
        if found == TRUNCATED and is_whole:
            found = [dns.Record_A("192.0.2.1")]
        for payload in found if isinstance(found, list) else ():
            kind = getattr(payload, "TYPE", None) or 257
            message.answers.append(dns.RRHeader(str(query.name), kind, payload=payload))
        return message.toStr()


class OverTcp(dns.DNSProtocol):
    """
    The same server over TCP.
    """

    def __init__(self, zone: Zone) -> None:
        super().__init__(None)  # type: ignore[no-untyped-call]
        self._zone = zone

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """
        Answer the question, which comes in one piece here.
        """
        content = self._zone.answer(data[2:], is_whole=True)
        assert content is not None
        transport: Any = self.transport
        transport.write(len(content).to_bytes(2, "big") + content)


@attrs.define
class Turning:
    """
    A reactor that a test turns.
    """

    reactor: Any = attrs.field(factory=EPollReactor)

    def begin(self, coroutine: Coroutine[Any, Any, Any]) -> tuple[Deferred[Any], list[Any]]:
        """
        Begin *coroutine*; what it comes to is put into the list.
        """
        ended: list[Any] = []
        running = Deferred.fromCoroutine(coroutine)
        running.addBoth(ended.append)
        return running, ended

    def turn(self, until: Callable[[], object]) -> None:
        """
        Turn the reactor.
        """
        end = time.monotonic() + 20
        while not until():
            assert time.monotonic() < end
            self.reactor.iterate(0.01)

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """
        Give what *coroutine* comes to.
        """
        _, ended = self.begin(coroutine)
        self.turn(lambda: ended)
        return ended[0]

    def serve(self, zone: Zone) -> int:
        """
        Answer from *zone* over UDP and TCP; gives the port.
        """
        factory: Any = Factory()
        factory.buildProtocol = lambda _: OverTcp(zone)
        port: int = self.reactor.listenTCP(0, factory, interface="127.0.0.1").getHost().port
        self.reactor.listenUDP(port, zone, interface="127.0.0.1")
        return port


@contextmanager
def turning() -> Iterator[Turning]:
    """
    Give a reactor, and close all it has at the end of the block.
    """
    made = Turning()
    yield made
    reactor = made.reactor
    for _ in range(3):  # ports that were closed are, a turn later
        reactor.iterate(0)
    for selectable in reactor.removeAll():
        selectable.connectionLost(Failure(ConnectionDone()))
    for call in reactor.getDelayedCalls():
        call.cancel()
    reactor._poller.close()

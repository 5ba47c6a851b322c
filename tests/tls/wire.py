"""
Doubles for tests over real sockets: a reactor turned by hand, a TLS client, protocols that remember.
"""
# ruff: noqa: N802 - Twisted's names

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import trustme
from OpenSSL import SSL
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IReactorFDSet,
    IReadDescriptor,
    IWriteDescriptor,
)
from twisted.internet.main import CONNECTION_LOST
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer, provider

from sptls.deadlines import Deadlines
from sptls.tls.lingering import Lingering
from sptls.tls.openssl import TlsConnection
from sptls.tls.transport import TlsTransport, TransportObserver, TransportSurroundings

# Loopback delivers at once; a wait is only ever for the kernel's other half.
_TURN_MILLISECONDS = 20
_TURNS = 2000
HANDSHAKE_SECONDS = 10.0
SelectAlpn = Callable[[SSL.Connection, list[bytes]], bytes]


@implementer(IReactorFDSet)
class Pump(Clock):
    """
    A reactor turned by hand: real readiness of real sockets, and a clock that only `advance` moves.
    """

    def __init__(self) -> None:
        super().__init__()
        self.readers: dict[IReadDescriptor, int] = {}
        self.writers: dict[IWriteDescriptor, int] = {}

    def addReader(self, reader: IReadDescriptor) -> None:
        """
        Watch it.
        """
        self.readers[reader] = reader.fileno()

    def addWriter(self, writer: IWriteDescriptor) -> None:
        """
        Watch it.
        """
        self.writers[writer] = writer.fileno()

    def removeReader(self, reader: IReadDescriptor) -> None:
        """
        Watch it no more.
        """
        self.readers.pop(reader, None)

    def removeWriter(self, writer: IWriteDescriptor) -> None:
        """
        Watch it no more.
        """
        self.writers.pop(writer, None)

    def removeAll(self) -> list[IReadDescriptor | IWriteDescriptor]:
        """
        Watch nothing.
        """
        raise NotImplementedError

    def getReaders(self) -> list[IReadDescriptor]:
        """
        List what is watched.
        """
        return list(self.readers)

    def getWriters(self) -> list[IWriteDescriptor]:
        """
        List what is watched.
        """
        return list(self.writers)

    def ready(self, milliseconds: int = _TURN_MILLISECONDS) -> list[tuple[Any, int]]:
        """
        List what is watched and ready, with its events.
        """
        events: dict[int, int] = {}
        owners: dict[int, Any] = {}
        for watched, event in ((self.readers, select.POLLIN), (self.writers, select.POLLOUT)):
            for descriptor, number in watched.items():
                events[number] = events.get(number, 0) | event
                owners[number] = descriptor
        poll = select.poll()
        for number, event in events.items():
            poll.register(number, event)
        return [(owners[number], event) for number, event in poll.poll(milliseconds)]

    def run_due(self) -> None:
        """
        Run what is due now; what that schedules waits for the next turn, as in a real reactor.
        """
        for call in [call for call in self.calls if call.getTime() <= self.seconds()]:
            if call.active():
                self.calls.remove(call)
                call.called = 1
                call.func(*call.args, **call.kw)

    def turn(self, milliseconds: int = _TURN_MILLISECONDS) -> None:
        """
        Run what is due, then everything that is ready, as Twisted's epoll reactor does.
        """
        self.run_due()
        for descriptor, event in self.ready(milliseconds):
            if event & (select.POLLHUP | select.POLLERR) and not event & select.POLLIN:
                self.removeReader(descriptor)
                self.removeWriter(descriptor)
                descriptor.connectionLost(Failure(CONNECTION_LOST))
                continue
            if event & select.POLLIN and descriptor in self.readers:
                descriptor.doRead()
            if event & select.POLLOUT and descriptor in self.writers:
                descriptor.doWrite()

    def run(self, until: Callable[[], object], *steps: Callable[[], object]) -> None:
        """
        Turn, with the other side's *steps* in between, until *until* holds.
        """
        for _ in range(_TURNS):
            for step in steps:
                step()
            if until():
                return
            self.turn(0 if steps else _TURN_MILLISECONDS)
            if steps and not self.ready(0):
                self.turn(1)
        raise AssertionError("what was waited for never came")

    def settle(self, *steps: Callable[[], object]) -> None:
        """
        Turn until nothing is ready any more.
        """
        for _ in range(_TURNS):
            for step in steps:
                step()
            self.run_due()
            if not self.ready():
                return
            self.turn(0)
        raise AssertionError("it never became quiet")


class Recorder(Protocol):
    """
    A protocol that remembers what it was told; *reply* is what it does with data.
    """

    def __init__(self, reply: Callable[[Recorder, bytes], None] | None = None) -> None:
        self.received: bytes | bytearray = bytearray()
        self.pieces: list[int] = []
        self.lost: list[Failure] = []
        self.tls: TlsTransport
        self._reply = reply

    def connectionMade(self) -> None:
        """
        Keep the transport under its own type.
        """
        assert isinstance(self.transport, TlsTransport)
        self.tls = self.transport

    def dataReceived(self, data: bytes) -> None:
        """
        Remember and answer.
        """
        self.received += data
        self.pieces.append(len(data))
        if self._reply is not None:
            self._reply(self, data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Remember why.
        """
        self.lost.append(reason)

    @property
    def why(self) -> type[BaseException] | None:
        """
        Give the kind of end, None while there was none; fails when there were two.
        """
        assert len(self.lost) <= 1
        return self.lost[0].type if self.lost else None


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Recorder):
    """
    A protocol that is told of each direction's end.
    """

    def __init__(self, reply: Callable[[Recorder, bytes], None] | None = None) -> None:
        super().__init__(reply)
        self.ends: list[str] = []

    def readConnectionLost(self) -> None:
        """
        Remember it.
        """
        self.ends.append("read")

    def writeConnectionLost(self) -> None:
        """
        Remember it.
        """
        self.ends.append("write")


class TlsClient:
    """
    The other side: OpenSSL on a socket of its own, one `step` at a time.
    """

    def __init__(
        self,
        sock: socket.socket,
        *,
        alpn: tuple[bytes, ...] = (),
        server_name: bytes | None = None,
        version: int | None = None,
        accept: SSL.Context | None = None,
    ) -> None:
        context = SSL.Context(SSL.TLS_METHOD) if accept is None else accept
        if version is not None:
            context.set_min_proto_version(version)
            context.set_max_proto_version(version)
        if alpn:
            context.set_alpn_protos(list(alpn))
        sock.setblocking(False)
        self.sock = sock
        self.tls = SSL.Connection(context, sock)
        if accept is None:
            self.tls.set_connect_state()
        else:
            self.tls.set_accept_state()
        if server_name is not None:
            self.tls.set_tlsext_host_name(server_name)
        self.shaken = False
        self.reading = True
        self.received: bytes | bytearray = bytearray()
        self.unsent = bytearray()
        self.end = ""
        self.failure: SSL.Error | None = None

    def step(self) -> None:
        """
        Do what can be done without waiting.
        """
        if self.failure is not None:
            return
        try:
            self._step()
        except (SSL.WantReadError, SSL.WantWriteError):
            pass
        except SSL.ZeroReturnError:
            self.end = "close_notify"
        except SSL.Error as error:
            self.failure = error
            self.end = str(error.args[-1])

    def _step(self) -> None:
        if not self.shaken:
            self.tls.do_handshake()
            self.shaken = True
        self._write()
        while self.reading and not self.end:
            self.received += self.tls.recv(65536)

    def _write(self) -> None:
        try:
            while self.unsent:
                del self.unsent[: self.tls.send(bytes(self.unsent))]
        except SSL.WantWriteError:
            pass

    def close(self) -> None:
        """
        Let go of the socket.
        """
        self.sock.close()


class Loopback:
    """
    A connected pair of TCP sockets and everything that a transport needs at one end of it.
    """

    def __init__(
        self,
        authority: trustme.CA,
        *,
        version: int | None = None,
        send_buffer: int | None = None,
        receive_buffer: int | None = None,
        connect: bool = False,
        alpn: tuple[bytes, ...] = (),
        select: SelectAlpn | None = None,
        ignores_eof: bool = False,
    ) -> None:
        self.pump = Pump()
        self.deadlines = Deadlines(self.pump)
        self.deadlines.start()
        self.closed = 0
        self.lingering = Lingering(self.pump, self.deadlines, self._closed)
        self.surroundings = TransportSurroundings.make(self.pump, self.deadlines, self.lingering, HANDSHAKE_SECONDS)
        near, far = tcp_pair(send_buffer, receive_buffer)
        self.near = near
        server = server_ssl(authority, select)
        if ignores_eof:  # as `contexts.server_context` does
            server.set_options(SSL.OP_IGNORE_UNEXPECTED_EOF)
        if connect:
            connection = TlsConnection(SSL.Context(SSL.TLS_METHOD), near)
            connection.set_connect_state()
            self.client = TlsClient(far, accept=server)
        else:
            connection = TlsConnection(server, near)
            connection.set_accept_state()
            self.client = TlsClient(far, version=version, alpn=alpn)
        self.connection = connection
        self.asked: list[bytes] = []

    def _closed(self) -> None:
        self.closed += 1

    def serve(self, protocol: Protocol | None, observer: TransportObserver | None = None) -> TlsTransport:
        """
        Start a transport that runs *protocol*.
        """

        def protocol_for(alpn: bytes) -> Protocol | None:
            self.asked.append(alpn)
            return protocol

        transport = TlsTransport(self.surroundings, self.near, self.connection, protocol_for, observer=observer)
        transport.start()
        return transport

    def open(self, protocol: Protocol) -> TlsTransport:
        """
        Start a transport and shake hands.
        """
        transport = self.serve(protocol)
        self.run(lambda: self.client.shaken and protocol.transport is not None)
        self.settle()
        return transport

    def run(self, until: Callable[[], object]) -> None:
        """
        Let both sides work until *until* holds.
        """
        self.pump.run(until, self.client.step)

    def settle(self) -> None:
        """
        Let both sides work until nothing is left to do.
        """
        self.pump.settle(self.client.step)

    def pass_seconds(self, seconds: float) -> None:
        """
        Move the clock, with the deadlines looked through.
        """
        for _ in range(int(seconds * 4) + 2):
            self.pump.advance(0.25)

    def close(self) -> None:
        """
        Let go of both sockets.
        """
        self.deadlines.stop()
        self.client.close()
        self.near.close()


@contextmanager
def logged() -> Iterator[list[LogEvent]]:
    """
    Collect what is logged meanwhile.
    """
    events: list[LogEvent] = []

    @provider(ILogObserver)
    def observe(event: LogEvent) -> None:
        events.append(event)

    globalLogPublisher.addObserver(observe)
    try:
        yield events
    finally:
        globalLogPublisher.removeObserver(observe)


def tcp_pair(send_buffer: int | None = None, receive_buffer: int | None = None) -> tuple[socket.socket, socket.socket]:
    """
    Give the accepted (non-blocking) and the connecting end of a connection over loopback.
    """
    with socket.create_server(("127.0.0.1", 0)) as listening:
        far = socket.socket()
        if receive_buffer is not None:
            far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        far.connect(listening.getsockname())
        near, _ = listening.accept()
    near.setblocking(False)
    for end in (near, far):  # Nagle and delayed acknowledgements would make every test wait
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if send_buffer is not None:
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    return near, far


def server_ssl(authority: trustme.CA, select: SelectAlpn | None = None) -> SSL.Context:
    """
    Make a server's context as `contexts` does where it matters here.
    """
    context = SSL.Context(SSL.TLS_METHOD)
    authority.issue_cert("click.example.com", key_type=trustme.KeyType.ECDSA).configure_cert(context)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_alpn_select_callback(select or _first_offered)
    return context


def _first_offered(connection: SSL.Connection, offered: list[bytes]) -> bytes:
    return offered[0]


def fill(sock: socket.socket) -> int:
    """
    Leave no room in *sock* for a byte; tell how many it took.
    """
    filled = 0
    with suppress(BlockingIOError):
        while True:
            filled += sock.send(b"f" * (1 << 20 if not filled else 1))
    return filled


def drain(sock: socket.socket, size: int, turn: Callable[[], None] = lambda: None) -> None:
    """
    Read *size* bytes off *sock*, and no more.
    """
    while size:
        with suppress(BlockingIOError):
            size -= len(sock.recv(size))
        turn()

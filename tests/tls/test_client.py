from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
import trustme
from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.verify import verifyObject

from sptls.deadlines import Deadlines
from sptls.errors import UpstreamError
from sptls.interfaces import IUpstreamConnector
from sptls.tls import client as client_module
from sptls.tls.client import TlsClient, TlsConnector
from sptls.tls.transport import TlsTransport
from tests.tls.services import Service, service_context, serving, trusting
from tests.tls.wire import Pump, Recorder, logged

HOST = "spgo.test"
HANDSHAKE_SECONDS = 5.0


@attrs.define
class _Stage:
    """
    A TLS client of ours, a service, and the reactor between them.
    """

    pump: Pump
    deadlines: Deadlines
    client: TlsClient
    service: Service
    connector: TlsConnector

    def dial(self, address: str = "127.0.0.1") -> tuple[Recorder, list[Failure | None]]:
        """
        Begin to connect; the list gets how it ended.
        """
        protocol, ends = Recorder(), list[Failure | None]()
        self.connecting = Deferred.fromCoroutine(self.connector.connect(address, protocol))
        self.connecting.addBoth(ends.append)
        return protocol, ends

    def connect(self, address: str = "127.0.0.1") -> Recorder:
        """
        Connect, and let the tickets come.
        """
        protocol, ends = self.dial(address)
        self.run(lambda: ends)
        assert [None] == ends
        self.settle()
        return protocol

    def refusal(self) -> UpstreamError:
        """
        Give why there is no connection.
        """
        protocol, ends = self.dial()
        self.run(lambda: ends)
        (end,) = ends
        assert isinstance(end, Failure)
        assert protocol.transport is None
        assert isinstance(end.value, UpstreamError)
        return end.value

    connecting: Deferred[None] = attrs.field(factory=Deferred)

    def run(self, until: Any) -> None:
        """
        Let both sides work until *until* holds.
        """
        self.pump.run(until, self.service.step)

    def settle(self) -> None:
        """
        Let both sides work until nothing is left to do.
        """
        self.pump.settle(self.service.step)


@contextmanager
def _stage(
    authority: trustme.CA,
    context: SSL.Context | None,
    host: str = HOST,
    receive_buffer: int | None = None,
    listen: str = "127.0.0.1",
) -> Iterator[_Stage]:
    pump = Pump()
    deadlines = Deadlines(pump)
    deadlines.start()
    client = TlsClient(pump, deadlines, HANDSHAKE_SECONDS)
    with serving(context, listen, receive_buffer) as service:
        try:
            yield _Stage(pump, deadlines, client, service, client.connector(host, service.port, trusting(authority)))
        finally:
            for descriptor in {*pump.readers, *pump.writers}:
                descriptor.connectionLost(Failure(ConnectionLost()))
            client.stop()


def test_is_a_connector(authority: trustme.CA) -> None:
    """
    The proxy takes it as such.
    """
    with _stage(authority, None) as stage:
        assert verifyObject(IUpstreamConnector, stage.connector)


def test_protocol_runs_on_a_verified_connection(authority: trustme.CA) -> None:
    """
    The server name is the upstream's own, and bytes go both ways.
    """
    with _stage(authority, service_context(authority, HOST)) as stage:
        protocol = stage.connect()
        (connection,) = stage.service.connections
        protocol.tls.write(b"request")
        connection.unsent += b"answer"
        stage.settle()
        assert HOST.encode() == connection.tls.get_servername()
        assert (b"request", b"answer") == (connection.received, protocol.received)
        assert protocol.tls.getTcpNoDelay()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_upstream_that_is_an_address_is_verified_as_one(authority: trustme.CA, address: str) -> None:
    """
    It gets no server name (RFC 6066 §3), and its certificate must have the address.
    """
    if address == "::1" and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    with _stage(authority, service_context(authority, address), address, listen=address) as stage:
        stage.connect(address)
        assert stage.service.connections[0].tls.get_servername() is None
    with _stage(authority, service_context(authority, HOST), "127.0.0.1") as stage:
        assert "its certificate is not for 127.0.0.1" == stage.refusal().reason


@pytest.mark.parametrize(
    ("names", "is_trusted", "not_after", "cause"),
    [
        (["other.test"], True, None, "is not for spgo.test"),
        (["127.0.0.1"], True, None, "is not for spgo.test"),
        ([HOST], False, None, "is from no CA that is trusted here; `upstream.trust` names a file of more roots"),
        ([HOST], True, datetime.now(UTC) - timedelta(days=1), "has expired"),
    ],
)
def test_upstream_that_is_not_who_it_should_be_hears_nothing(
    authority: trustme.CA, names: list[str], is_trusted: bool, not_after: datetime | None, cause: str
) -> None:
    """
    The handshake ends with an alert, which names the certificate, and the error says what is wrong with it.
    """
    issuer = authority if is_trusted else trustme.CA()
    with _stage(authority, service_context(issuer, *names, not_after=not_after)) as stage:
        error = stage.refusal()
        assert (502, f"its certificate {cause}") == (error.status, error.reason)
        stage.settle()
        (connection,) = stage.service.connections
        assert b"" == connection.received
        assert connection.failure is not None
        assert "alert" in str(connection.failure)


def test_fault_of_the_chain_is_never_taken_for_a_good_one(authority: trustme.CA) -> None:
    """
    What OpenSSL has no words of ours for is refused all the same.
    """
    with _stage(authority, None) as stage:
        handshake = client_module._Handshake(stage.connector)
        anything: Any = None
        assert not handshake.verify(anything, 99, 1, False)


@pytest.mark.parametrize("version", [SSL.TLS1_3_VERSION, SSL.TLS1_2_VERSION])
def test_next_connection_resumes_the_session(
    authority: trustme.CA, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    After an answer the next handshake has no certificates in it; a server that forgot makes it a full one.
    """
    depths: list[int] = []

    def counting(connection: SSL.Connection, certificate: Any, error: int, depth: int, ok: int) -> bool:
        depths.append(depth)
        return verify(connection, certificate, error, depth, ok)

    verify = client_module._verify
    monkeypatch.setattr(client_module, "_verify", counting)
    with _stage(authority, service_context(authority, HOST, version=version)) as stage:
        asked = []
        for is_remembered in (False, True, True):
            protocol = stage.connect()
            asked.append(len(depths))
            if is_remembered:
                stage.connector.remember(protocol.tls)
        full = asked[0]
        assert [full, 2 * full, 2 * full] == asked
        stage.service.context = service_context(authority, HOST, version=version)
        stage.connect()
        assert 3 * full == len(depths)


def test_failed_handshake_makes_the_next_one_a_full_one(authority: trustme.CA) -> None:
    """
    A server that chokes on a session is not offered it for ever.
    """
    with _stage(authority, service_context(authority, HOST)) as stage:
        stage.connector.remember(stage.connect().tls)
        assert stage.connector._session is not None
        stage.service.context = service_context(authority, "other.test")
        stage.refusal()
        assert stage.connector._session is None


def test_ended_connection_has_no_session_to_remember(authority: trustme.CA) -> None:
    """
    What is remembered already stays.
    """
    with _stage(authority, service_context(authority, HOST)) as stage:
        protocol = stage.connect()
        stage.connector.remember(protocol.tls)
        session = stage.connector._session
        protocol.tls.abortConnection()
        stage.connector.remember(protocol.tls)
        assert session is stage.connector._session


def test_connectors_share_a_context_by_trust(authority: trustme.CA) -> None:
    """
    A thousand upstreams do not read the system's roots a thousand times.
    """
    with _stage(authority, None) as stage:
        trust = trusting(authority)
        one, other = (stage.client.connector(host, 443, trust) for host in ("a.test", "b.test"))
        assert one._context is other._context
        assert one._context is not stage.client.connector("a.test", 443, trusting(trustme.CA()))._context


def test_refused_connection_says_so(authority: trustme.CA) -> None:
    """
    With the address and the port that were tried.
    """
    with _stage(authority, None) as stage:
        port = stage.service.port
        stage.service.close()
        assert f"no connection to 127.0.0.1:{port}: Connection refused" == stage.refusal().reason


def test_service_that_closes_in_the_handshake_is_told_from_one_that_refuses(authority: trustme.CA) -> None:
    """
    A balancer without a backend does that.
    """
    with _stage(authority, None) as stage:
        protocol, ends = stage.dial()
        stage.run(lambda: stage.service.sockets and stage.pump.readers)
        _read_hello(stage.service.sockets[0])
        stage.service.sockets[0].close()
        stage.run(lambda: ends)
        assert "it closed the connection in the TLS handshake" == _reason(ends)
        assert protocol.transport is None


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (b"\x15\x03\x03\x00\x02\x02\x28", "the TLS handshake failed (TLS: "),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "the TLS handshake failed (TLS: "),
    ],
)
def test_service_that_refuses_tls_is_quoted(authority: trustme.CA, answer: bytes, cause: str) -> None:
    """
    An alert, or no TLS at all: OpenSSL's words are in the error.
    """
    with _stage(authority, None) as stage:
        _, ends = stage.dial()
        stage.run(lambda: stage.service.sockets and stage.pump.readers)
        stage.service.sockets[0].sendall(answer)
        stage.run(lambda: ends)
        assert _reason(ends).startswith(cause)


def test_silent_service_ends_with_the_handshakes_time(authority: trustme.CA) -> None:
    """
    Also if nobody else had a deadline.
    """
    with _stage(authority, None) as stage:
        _, ends = stage.dial()
        stage.run(lambda: stage.service.sockets and stage.pump.readers)
        for _ in range(int(HANDSHAKE_SECONDS * 4) + 2):
            stage.pump.advance(0.25)
        assert "the TLS handshake did not end in time" == _reason(ends)
        assert {} == stage.pump.readers


@pytest.mark.parametrize("is_connected", [False, True])
def test_cancelling_closes_what_is_half_open(authority: trustme.CA, is_connected: bool) -> None:
    """
    Before and after TCP is connected; the protocol hears of nothing.
    """
    with _stage(authority, None) as stage:
        protocol, ends = stage.dial()
        if is_connected:
            stage.run(lambda: stage.service.sockets and stage.pump.readers)
        stage.connecting.cancel()
        stage.settle()
        (end,) = ends
        assert isinstance(end, Failure)
        assert end.check(CancelledError)
        assert ({}, {}, None) == (stage.pump.readers, stage.pump.writers, protocol.transport)


def test_fault_of_our_own_in_the_check_fails_the_handshake(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Nobody is trusted because a check broke.
    """

    def broken(certificate: object, host: str) -> None:
        raise RuntimeError

    monkeypatch.setattr(client_module, "verify_certificate_hostname", broken)
    with logged() as events, _stage(authority, service_context(authority, HOST)) as stage:
        stage.refusal()
    assert 1 == len(events)


def test_stream_without_close_notify_is_told_from_a_whole_one(authority: trustme.CA) -> None:
    """
    Anybody on the way can cut a TCP stream short (RFC 8446 §6.1).
    """
    with _stage(authority, service_context(authority, HOST)) as stage:
        whole, cut = stage.connect(), stage.connect()
        first, second = stage.service.connections
        first.unsent += b"some"
        second.unsent += b"some"
        stage.settle()
        first.tls.shutdown()
        second.sock.close()
        stage.run(lambda: whole.lost and cut.lost)
        assert (b"some", b"some") == (whole.received, cut.received)
        assert (ConnectionDone, ConnectionLost) == (whole.why, cut.why)


def test_our_half_close_leaves_the_answer_readable(authority: trustme.CA) -> None:
    """
    The upstream sees the end of the request, and may still answer.
    """
    with _stage(authority, service_context(authority, HOST)) as stage:
        protocol = stage.connect()
        (connection,) = stage.service.connections
        protocol.tls.write(b"all")
        protocol.tls.loseWriteConnection()
        stage.run(lambda: connection.end)
        connection.end = ""
        connection.unsent += b"answer"
        connection.reading = False
        stage.run(lambda: protocol.received)
        assert (b"all", b"answer") == (connection.received, protocol.received)


def test_megabytes_both_ways_wait_for_who_reads(authority: trustme.CA) -> None:
    """
    A service that does not read stops the producer, a protocol that is paused stops the service.
    """
    content = b"x" * 65536
    with _stage(authority, service_context(authority, HOST), receive_buffer=16384) as stage:
        protocol = stage.connect()
        (connection,) = stage.service.connections
        producer = _Producer(protocol.tls, content, 64)
        connection.reading = False
        protocol.tls.registerProducer(producer, True)
        producer.resumeProducing()
        stage.settle()
        assert 0 < producer.left
        connection.reading = True
        stage.run(lambda: len(connection.received) == 64 * len(content))
        protocol.tls.unregisterProducer()
        protocol.tls.pauseProducing()
        connection.unsent += content * 256
        stage.settle()
        assert (b"", True) == (protocol.received, bool(connection.unsent))
        protocol.tls.resumeProducing()
        stage.run(lambda: len(protocol.received) == 256 * len(content))


def test_stop_waits_for_no_upstream(authority: trustme.CA) -> None:
    """
    A socket that lingers for an upstream which goes on sending is closed.
    """
    with _stage(authority, service_context(authority, HOST)) as stage:
        protocol = stage.connect()
        (connection,) = stage.service.connections
        connection.reading = False
        protocol.tls.pauseProducing()
        connection.unsent += b"unasked"
        connection.step()
        protocol.tls.loseConnection()
        assert [True] == [not isinstance(reader, TlsTransport) for reader in stage.pump.readers]
        stage.client.stop()
        assert {} == stage.pump.readers


@implementer(IPushProducer)
class _Producer:
    """
    Writes *piece* so many times, as long as it is not paused.
    """

    def __init__(self, transport: TlsTransport, piece: bytes, pieces: int) -> None:
        self._transport, self._piece, self.left = transport, piece, pieces
        self._paused = True

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        """
        Write on.
        """
        self._paused = False
        while self.left and not self._paused:
            self.left -= 1
            self._transport.write(self._piece)

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        """
        Wait.
        """
        self._paused = True

    def stopProducing(self) -> None:  # noqa: N802 - Twisted's name
        """
        Write no more.
        """
        self.left = 0


def _read_hello(sock: socket.socket) -> None:
    sock.setblocking(True)
    assert sock.recv(16384).startswith(b"\x16\x03")


def _reason(ends: list[Failure | None]) -> str:
    (end,) = ends
    assert isinstance(end, Failure)
    assert isinstance(end.value, UpstreamError)
    return end.value.reason

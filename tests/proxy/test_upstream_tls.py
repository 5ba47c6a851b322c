from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import Certificate, optionsForClientTLS
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface.verify import verifyObject

from sptls.config import UpstreamConfig
from sptls.proxy.upstream_tls import ResumingTls, tls_cause
from tests.proxy.upstreams import OK, UpstreamStage, lost
from tests.proxy.wire import GET, POST, Wire, logged

if TYPE_CHECKING:
    from twisted.internet.interfaces import IProtocol

HOST = "spgo.test"
CONFIG = UpstreamConfig(host=HOST)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """
    Give the CA that the tracking service's certificates are from.
    """
    return trustme.CA()


def _trusting(authority: trustme.CA) -> IOpenSSLClientConnectionCreator:
    return optionsForClientTLS(HOST, trustRoot=Certificate.loadPEM(authority.cert_pem.bytes()))


def _context(authority: trustme.CA, name: str = HOST) -> SSL.Context:
    issued = authority.issue_cert(name)
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate(x509.load_pem_x509_certificate(issued.cert_chain_pems[0].bytes()))
    context.use_privatekey(_key(issued))
    context.set_session_id(b"test")
    return context


def _key(issued: trustme.LeafCert) -> EllipticCurvePrivateKey:
    key = load_pem_private_key(issued.private_key_pem.bytes(), None)
    assert isinstance(key, EllipticCurvePrivateKey)
    return key


class _Service:
    """
    A tracking service's end of one TLS connection, in memory: real TLS, no socket.
    """

    def __init__(self, stage: UpstreamStage, context: SSL.Context) -> None:
        self.tls = SSL.Connection(context, None)
        self.tls.set_accept_state()
        protocol = stage.reactor.tcpClients[-1][2].buildProtocol(IPv4Address("TCP", "192.0.2.10", 443))
        assert isinstance(protocol, TLSMemoryBIOProtocol)
        self.client: IProtocol = protocol
        self.wire = Wire()
        self.wire.strict = False
        self.received = b""
        self.flights: list[int] = []
        protocol.makeConnection(self.wire)
        self.pump()

    def pump(self) -> None:
        """
        Carry bytes both ways until there are no more.
        """
        while self._carry():
            pass
        if self.wire.end != "open":
            lost(self.client)

    def _carry(self) -> bool:
        sent = self.wire.taken()
        if sent:
            self.tls.bio_write(sent)
        try:
            while True:
                self.received += self.tls.recv(65536)
        except (SSL.WantReadError, SSL.ZeroReturnError):
            pass
        except SSL.Error:
            self.received += b"<TLS error>"
        try:
            answer = self.tls.bio_read(65536)
        except SSL.WantReadError:
            return bool(sent)
        self.flights.append(len(answer))
        if not self.wire.aborted:
            self.client.dataReceived(answer)
        return True

    def say(self, data: bytes) -> None:
        """
        Send *data* to the proxy.
        """
        self.tls.send(data)
        self.pump()


def test_is_a_connection_creator(authority: trustme.CA) -> None:
    """
    Twisted's TLS takes it as such.
    """
    assert verifyObject(IOpenSSLClientConnectionCreator, ResumingTls(_trusting(authority)))


def test_request_goes_out_after_the_handshake_with_the_upstreams_name(authority: trustme.CA) -> None:
    """
    The server name is the upstream's own, the request and its answer are whole.
    """
    stage = UpstreamStage(CONFIG, tls=_trusting(authority))
    told, _ = stage.ask()
    service = _Service(stage, _context(authority))
    assert (HOST.encode(), GET) == (service.tls.get_servername(), service.received)
    service.say(OK)
    assert ([200, "end"], b"ok") == (told.events, told.content)
    stage.ask()
    service.pump()
    assert GET + GET == service.received


def test_next_connection_resumes_the_session(authority: trustme.CA) -> None:
    """
    A POST's fresh connection costs no full handshake.
    """
    stage = UpstreamStage(CONFIG, tls=_trusting(authority))
    context = _context(authority)
    stage.ask()
    first = _Service(stage, context)
    first.say(OK)
    stage.ask(POST + b"\r\n")
    second = _Service(stage, context)
    second.say(OK)
    # Without certificate and its signature the first flight is that much smaller.
    assert second.flights[0] < first.flights[0] - 400


def test_unknown_session_is_a_full_handshake(authority: trustme.CA) -> None:
    """
    An upstream that restarted declines it, and nobody notices.
    """
    stage = UpstreamStage(CONFIG, tls=_trusting(authority))
    stage.ask()
    first = _Service(stage, _context(authority))
    first.say(OK)
    told, _ = stage.ask(POST + b"\r\n")
    second = _Service(stage, _context(authority))
    second.say(OK)
    assert [200, "end"] == told.events
    assert second.flights[0] > first.flights[0] - 400


@pytest.mark.parametrize(
    ("name", "trusted", "cause"),
    [("other.test", True, "its certificate is for another name"), (HOST, False, "certificate verify failed")],
)
def test_upstream_that_is_not_who_it_should_be_is_a_bad_gateway(
    authority: trustme.CA, name: str, trusted: bool, cause: str
) -> None:
    """
    It never sees the request; the log names the cause once.
    """
    stage = UpstreamStage(CONFIG, tls=_trusting(authority))
    context = _context(authority if trusted else trustme.CA(), name)
    with logged() as events:
        for _ in range(3):
            told, _ = stage.ask()
            service = _Service(stage, context)
            assert (["failed 502"], False) == (told.events, GET in service.received)
    assert ["error"] == [level for level, _ in events]
    assert cause in events[0][1]


def test_handshake_that_stands_still_is_a_gateway_timeout(authority: trustme.CA) -> None:
    """
    upstream_connect_seconds cover TLS too.
    """
    stage = UpstreamStage(CONFIG, tls=_trusting(authority))
    told, _ = stage.ask()
    client = stage.reactor.tcpClients[-1][2].buildProtocol(IPv4Address("TCP", "192.0.2.10", 443))
    assert client is not None
    wire = Wire()
    wire.strict = False
    client.makeConnection(wire)
    stage.reactor.advance(stage.limits.upstream_connect_seconds)
    assert (["failed 504"], "aborted") == (told.events, wire.end)
    lost(client)


@pytest.mark.parametrize(("says_goodbye", "events"), [(True, [200, "end"]), (False, [200, "failed 502"])])
def test_answer_that_ends_with_its_connection_needs_close_notify(
    authority: trustme.CA, says_goodbye: bool, events: list[str | int]
) -> None:
    """
    Without it anybody on the way could have cut the answer short (RFC 8446 §6.1).
    """
    stage = UpstreamStage(CONFIG, tls=_trusting(authority))
    told, _ = stage.ask()
    service = _Service(stage, _context(authority))
    service.say(b"HTTP/1.1 200 OK\r\n\r\nsome")
    if says_goodbye:
        service.tls.shutdown()
        service.pump()
    else:
        lost(service.client, ConnectionDone())
    assert (events, b"some") == (told.events, told.content)


def test_redirect_that_ends_without_close_notify_is_whole(authority: trustme.CA) -> None:
    """
    A click's answer is in its head: no click is lost because the service closes rudely.
    """
    stage = UpstreamStage(CONFIG, tls=_trusting(authority))
    told, _ = stage.ask()
    service = _Service(stage, _context(authority))
    service.say(b"HTTP/1.1 302 Found\r\nLocation: /a\r\nConnection: close\r\n\r\n")
    lost(service.client, ConnectionDone())
    assert [302, "end"] == told.events


def test_dead_kept_tls_connection_is_replaced(authority: trustme.CA) -> None:
    """
    An upstream that says goodbye while a request is on its way never saw it.
    """
    stage = UpstreamStage(CONFIG, tls=_trusting(authority))
    context = _context(authority)
    stage.ask()
    service = _Service(stage, context)
    service.say(OK)
    told, _ = stage.ask()
    service.wire.taken()
    lost(service.client)
    _Service(stage, context).say(OK)
    assert ([200, "end"], 1) == (told.events, stage.counters.upstream_retries)


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (VerificationError([]), "its certificate is for another name"),
        (SSL.Error([("SSL routines", "", "certificate verify failed")]), "TLS failed (certificate verify failed)"),
        (SSL.Error(), "TLS failed (no reason given)"),
        (SSL.SysCallError(-1, "Unexpected EOF"), "TLS failed (no reason given)"),
        (OSError("refused"), None),
    ],
)
def test_causes_are_told_in_plain_words(error: Exception, cause: str | None) -> None:
    """
    What an operator reads when the upstream's certificate isn't good.
    """
    assert cause == tls_cause(error)

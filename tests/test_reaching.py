"""
Tests for `sptls.reaching`, against servers in this process at several addresses of this machine.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest
import trustme
from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import LogLevel, capturedLogs
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from sptls import reaching
from sptls.certs.reach_rules import HTTP_01, TLS_ALPN_01, Reached
from sptls.names import HostName
from sptls.proxy.http01 import Http01Responder
from sptls.reaching import Reach
from sptls.tls.alpn_challenge import TlsAlpn01Responder
from tests.dns_zone import Turning, turning
from tests.ports import free_ports

NAME = HostName("click.example.com")
HERE, THERE = "127.0.0.1", "127.0.0.2"
BOTH = (HTTP_01, TLS_ALPN_01)


class Server(Protocol):
    """
    Answers one request as *answer* says; None answers nothing.
    """

    def __init__(self, answer: Callable[[bytes], bytes | None]) -> None:
        self._answer = answer

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """
        Answer, and close.
        """
        content, transport = self._answer(data), self.transport
        assert transport is not None
        if content is not None:
            transport.write(content)
            transport.loseConnection()


@implementer(IOpenSSLServerConnectionCreator)
@attrs.frozen
class Tls:
    """
    A TLS server that takes the context which *give* gives at the time.
    """

    give: Callable[[], SSL.Context]

    def serverConnectionForTLS(self, _: object) -> SSL.Connection:  # noqa: N802 - Twisted's name
        """
        Give a new connection.
        """
        return SSL.Connection(self.give(), None)


@attrs.define
class Scene:
    """
    Servers on one port of several addresses, and a look at them.
    """

    turning: Turning
    http_port: int
    tls_port: int
    http01: Http01Responder = attrs.field(factory=Http01Responder)
    alpn01: TlsAlpn01Responder = attrs.field(factory=TlsAlpn01Responder)

    def http(self, address: str, answer: Callable[[bytes], bytes | None]) -> None:
        """
        Answer at *address* on the port for http-01.
        """
        factory: Any = Factory.forProtocol(lambda: Server(answer))
        self.turning.reactor.listenTCP(self.http_port, factory, interface=address)

    def tls(self, address: str, give: Callable[[], SSL.Context]) -> None:
        """
        Shake hands at *address* on the port for tls-alpn-01.
        """
        inner: Any = Factory.forProtocol(Protocol)
        factory = TLSMemoryBIOFactory(Tls(give), False, inner, self.turning.reactor)
        self.turning.reactor.listenTCP(self.tls_port, factory, interface=address)

    def ours(self, request: bytes) -> bytes:
        """
        Answer as this proxy does.
        """
        token = request.split(b" ")[1].rpartition(b"/")[2].decode()
        assert b"\r\nHost: click.example.com\r\n" in request
        content = self.http01.tokens[token].encode()
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(content), content)

    def our_context(self) -> SSL.Context:
        """
        Give the context of the open challenge.
        """
        found: Any = self.alpn01.alpn_context(NAME.wire)
        context: SSL.Context = found.context
        return context

    def reach(self, *responders: Any) -> Reach:
        """
        Give what asks.
        """
        ports = {HTTP_01: self.http_port, TLS_ALPN_01: self.tls_port}
        return Reach(
            self.turning.reactor, responders or (self.http01, self.alpn01), ports=ports, may_ask=lambda *_: True
        )

    def ask(self, *addresses: str, kinds: tuple[str, ...] = BOTH, seconds: float = 5.0) -> list[Reached]:
        """
        Give what is reached at *addresses*.
        """
        return list(self.turning.run(self.reach().ask(NAME, addresses, kinds, seconds)))


@pytest.fixture
def scene() -> Iterator[Scene]:
    """
    Give one without servers.
    """
    with turning() as turned:
        http_port, tls_port = free_ports(2)
        yield Scene(turned, http_port, tls_port)
    gc.collect()


@pytest.fixture(scope="module")
def stranger() -> SSL.Context:
    """
    Give the context of another server, which knows nothing of acme-tls/1.
    """
    issued = trustme.CA().issue_cert("old.example", common_name="old.example")
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    issued.configure_cert(context)
    return context


def test_own_answers_come_back(scene: Scene) -> None:
    """
    From each address, on both ports; no probe is left open.
    """
    for address in (HERE, THERE):
        scene.http(address, scene.ours)
        scene.tls(address, scene.our_context)
    assert [(HERE, HTTP_01), (THERE, HTTP_01), (HERE, TLS_ALPN_01), (THERE, TLS_ALPN_01)] == [
        (one.address, one.challenge) for one in scene.ask(HERE, THERE) if one.verdict == "ours"
    ]
    assert ({}, None) == (dict(scene.http01.tokens), scene.alpn01.alpn_context(NAME.wire))


@pytest.mark.parametrize(
    ("answer", "verdict", "words"),
    [
        (b"HTTP/1.1 404 Not Found\r\nServer: nginx\r\n\r\n", "wrong", "status 404 (nginx)"),
        (b"HTTP/1.1 301 Moved\r\nLocation: https://click.example.com/\r\n\r\n", "redirect", "a redirect to https://click.example.com"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1_000_000, "wrong", "other content"),
        (b"", "unreached", "the connection was closed without an answer"),
    ],
)  # fmt: skip
def test_another_server_is_told_by_its_answer(scene: Scene, answer: bytes, verdict: str, words: str) -> None:
    """
    However much it sends.
    """
    scene.http(HERE, lambda _: answer)
    (found,) = scene.ask(HERE, kinds=(HTTP_01,))
    assert (verdict, words) == (found.verdict, found.words)


def test_another_certificate_is_told(scene: Scene, stranger: SSL.Context) -> None:
    """
    So is a server that refuses the protocol, as RFC 7301 §3.2 wants of those that know none of it.
    """
    scene.tls(HERE, lambda: stranger)
    refusing = SSL.Context(SSL.TLS_SERVER_METHOD)
    trustme.CA().issue_cert("old.example").configure_cert(refusing)
    refusing.set_cipher_list(b"ECDHE-ECDSA-AES128-GCM-SHA256")
    refusing.set_max_proto_version(SSL.TLS1_1_VERSION)
    scene.tls(THERE, lambda: refusing)
    first, second = scene.ask(HERE, THERE, kinds=(TLS_ALPN_01,))
    assert ("wrong", True) == (first.verdict, first.words.startswith("an ordinary certificate (CN=old.example"))
    assert ("wrong", "a refusal of acme-tls/1") == (second.verdict, second.words)


def test_nobody_there_is_told_in_the_systems_words(scene: Scene) -> None:
    """
    It proves nothing.
    """
    assert [("unreached", "Connection refused")] * 2 == [(one.verdict, one.words) for one in scene.ask(HERE)]


def test_connection_that_ends_in_the_handshake_proves_nothing(scene: Scene) -> None:
    """
    A server that is overloaded does the same.
    """
    factory: Any = Factory.forProtocol(lambda: Server(lambda _: b""))
    scene.turning.reactor.listenTCP(scene.tls_port, factory, interface=HERE)
    (found,) = scene.ask(HERE, kinds=(TLS_ALPN_01,))
    assert ("unreached", "the connection was closed in the TLS handshake") == (found.verdict, found.words)


def test_silence_is_bounded(scene: Scene) -> None:
    """
    On both ports, also where nothing is read.
    """
    factory: Any = Factory.forProtocol(lambda: Server(lambda _: None))
    for port in (scene.http_port, scene.tls_port):
        scene.turning.reactor.listenTCP(port, factory, interface=HERE)
    assert [("unreached", "no answer within 0 s")] * 2 == [
        (one.verdict, one.words) for one in scene.ask(HERE, seconds=0.1)
    ]


def test_cancelling_withdraws_the_probe(scene: Scene) -> None:
    """
    The order was given up meanwhile.
    """
    asked: list[bytes] = []
    scene.http(HERE, asked.append)
    running, ended = scene.turning.begin(scene.reach().ask(NAME, [HERE], BOTH, 60.0))
    scene.turning.turn(lambda: asked)
    running.cancel()
    assert CancelledError is ended[0].type
    assert {} == dict(scene.http01.tokens)


def test_few_connections_are_made_at_a_time(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The others wait for their turn, and for no longer than the whole may take.
    """
    monkeypatch.setattr(reaching, "PARALLEL", 1)
    asked: list[bytes] = []
    scene.http(HERE, asked.append)
    scene.http(THERE, asked.append)
    found = scene.ask(HERE, THERE, kinds=(HTTP_01,), seconds=0.1)
    assert (["unreached"] * 2, True) == ([one.verdict for one in found], len(asked) <= 1)


def test_nothing_is_asked_where_nothing_may_be(scene: Scene) -> None:
    """
    No address, no time, or no responder for the challenge; an address that is left out is told.
    """
    assert [] == scene.ask()
    assert [] == scene.ask(HERE, seconds=0)
    assert [] == scene.ask(HERE, kinds=("dns-01",))
    assert () == scene.turning.run(Reach(scene.turning.reactor, [scene.http01]).ask(NAME, [HERE], BOTH, 5.0))
    many = [f"127.0.0.{number}" for number in range(1, 7)]
    verdicts = [one.verdict for one in scene.ask(*many, kinds=(HTTP_01,))]
    assert ["unreached"] * 4 + ["unasked"] * 2 == verdicts


def test_what_may_be_asked_depends_on_what_is_configured(scene: Scene) -> None:
    """
    Private addresses are asked where they are said to be this proxy's.
    """
    reach = Reach(
        scene.turning.reactor,
        [scene.http01],
        ports={HTTP_01: scene.http_port},
        may_ask=lambda address, configured: address in configured,
    )
    reached = scene.turning.run(reach.ask(NAME, [HERE, THERE], BOTH, 5.0, (THERE,)))
    assert [(THERE, "unreached"), (HERE, "unasked")] == [(one.address, one.verdict) for one in reached]


def test_fault_of_a_responder_hinders_nothing(scene: Scene) -> None:
    """
    It is in the log, and the other type is asked for.
    """

    class Broken:
        challenge_type = HTTP_01

        def start_responding(self, *_: object) -> Deferred[None]:
            return fail(OSError("disk"))

        def stop_responding(self, *_: object) -> Deferred[None]:
            return fail(OSError("disk"))

    scene.tls(HERE, scene.our_context)
    with capturedLogs() as events:
        (found,) = scene.turning.run(scene.reach(Broken(), scene.alpn01).ask(NAME, [HERE], BOTH, 5.0))
    assert (TLS_ALPN_01, "ours") == (found.challenge, found.verdict)
    assert [OSError] * 2 == [event["log_failure"].type for event in events if event["log_level"] is LogLevel.critical]

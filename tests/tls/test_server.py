from __future__ import annotations

import socket
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import pytest
from OpenSSL import SSL
from twisted.internet.error import ConnectionAborted, ConnectionDone
from zope.interface import implementer
from zope.interface.verify import verifyObject

from sptls.addresses import Networks
from sptls.config import Address, LimitsConfig, PassthroughConfig
from sptls.deadlines import Deadlines
from sptls.interfaces import Hold, IAlpnChallenges, IServerContexts, Refuse
from sptls.names import HostName
from sptls.tls.client_hello import UNRECOGNIZED_NAME, ClientHello, parse
from sptls.tls.contexts import ServerContext, server_context
from sptls.tls.server import ACME_TLS, PassesOn, TlsServer, answer
from sptls.tls.sockets import bind
from tests.tls.wire import Pump, Recorder, TlsClient, logged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from socket import SocketType

    from twisted.internet.protocol import Protocol

    from sptls.certs.bundle import CertificateBundle

NAME = HostName("click.example.com")
OTHER = HostName("other.example.com")
LIMITS = LimitsConfig(connections=200)
HOLD_SECONDS = 10.0


@implementer(IServerContexts, IAlpnChallenges)
class Certificates:
    """
    Who answers, as the test arranges it.
    """

    def __init__(self, ready: ServerContext) -> None:
        self.ready = ready
        self.answers: dict[bytes | None, ServerContext | Hold | Refuse | PassthroughConfig] = {NAME.wire: ready}
        self.challenge: ServerContext | None = None
        self.wanted: list[HostName] = []
        self.broken: bytes | None = None
        self.settled: Callable[[HostName], None]

    def answer(self, server_name: bytes | None) -> ServerContext | Hold | Refuse | PassthroughConfig:
        """
        Give what was arranged; else the name is unknown.
        """
        if server_name is not None and server_name == self.broken:
            raise RuntimeError
        return self.answers.get(server_name, Refuse(UNRECOGNIZED_NAME))

    def want(self, name: HostName) -> None:
        """
        Remember it.
        """
        self.wanted.append(name)

    def watch(self, settled: Callable[[HostName], None]) -> None:
        """
        Keep it.
        """
        self.settled = settled

    def alpn_context(self, server_name: bytes | None) -> ServerContext | None:
        """
        Give what was arranged.
        """
        return self.challenge

    def issue(self, name: HostName = NAME) -> None:
        """
        Have a certificate for a name.
        """
        self.answers[name.wire] = self.ready
        self.settled(name)


class Finishing(Recorder):
    """
    A protocol that can be asked to finish.
    """

    def finish_soon(self) -> None:
        """
        Say good bye and close.
        """
        self.tls.write(b"bye")
        self.tls.loseConnection()


class Scene:
    """
    A server on a socket, and its clients.
    """

    def __init__(
        self, certificates: Certificates, limits: LimitsConfig = LIMITS, passages: PassesOn | None = None
    ) -> None:
        self.pump, self.certificates = Pump(), certificates
        self.deadlines = Deadlines(self.pump)
        self.deadlines.start()
        self.protocols: list[Recorder] = []
        self.make_protocol: Callable[[], Recorder] = Recorder
        self.asked: list[bytes] = []
        self.server = TlsServer(
            self.pump, certificates, certificates, self._protocol_for, self.deadlines, limits, HOLD_SECONDS, passages
        )
        (self.sock,) = bind(Address("127.0.0.1", 0))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 0)  # some clients here say nothing
        self.address = self.sock.getsockname()
        self.server.listen(self.sock)
        self.clients: list[TlsClient] = []
        self.raw: list[socket.socket] = []

    def _protocol_for(self, alpn: bytes) -> Protocol | None:
        self.asked.append(alpn)
        if alpn == ACME_TLS:
            return None
        self.protocols.append(self.make_protocol())
        return self.protocols[-1]

    def connect(self) -> socket.socket:
        """
        Have a client connect that says nothing.
        """
        sock = socket.create_connection(self.address, timeout=5)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.raw.append(sock)
        return sock

    def client(self, server_name: bytes | None = NAME.wire, alpn: tuple[bytes, ...] = ()) -> TlsClient:
        """
        Have a client connect that shakes hands.
        """
        client = TlsClient(self.connect(), server_name=server_name, alpn=alpn)
        client.step()
        self.clients.append(client)
        return client

    def step(self) -> None:
        """
        Let every client work.
        """
        for client in self.clients:
            client.step()

    def run(self, until: Callable[[], object]) -> None:
        """
        Let all work until *until* holds.
        """
        self.pump.run(until, self.step)

    def settle(self) -> None:
        """
        Let all work until nothing is left to do.
        """
        self.pump.settle(self.step)

    def pass_seconds(self, seconds: float) -> None:
        """
        Move the clock, with the deadlines looked through.
        """
        for _ in range(int(seconds * 4) + 2):
            self.pump.advance(0.25)

    def close(self) -> None:
        """
        Close everything.
        """
        self.server.stop_accepting()
        self.server.abort_all()
        self.deadlines.stop()
        for sock in self.raw:
            sock.close()


@pytest.fixture(scope="module")
def ready(issue: Callable[..., CertificateBundle]) -> ServerContext:
    """
    Give a certificate's context.
    """
    return server_context(issue(NAME.text), "intermediate")


@pytest.fixture
def scene(ready: ServerContext) -> Iterator[Scene]:
    """
    Give a scene, closed after the test.
    """
    scene = Scene(Certificates(ready))
    yield scene
    scene.close()


@pytest.fixture
def challenge(issue: Callable[..., CertificateBundle]) -> ServerContext:
    """
    Give a context that answers a challenge.
    """
    return server_context(issue(NAME.text), "intermediate", (ACME_TLS,))


def test_doubles(scene: Scene) -> None:
    """
    The doubles provide what they stand for.
    """
    assert verifyObject(IServerContexts, scene.certificates)
    assert verifyObject(IAlpnChallenges, scene.certificates)


def test_ready(scene: Scene) -> None:
    """
    A name with a certificate is served at once, with the certificate and the ALPN name known to the protocol.
    """
    client = scene.client(alpn=(b"http/1.1",))
    client.unsent += b"hello"
    scene.run(lambda: scene.protocols and scene.protocols[0].received)
    (protocol,) = scene.protocols
    assert ([b"http/1.1"], b"http/1.1") == (scene.asked, protocol.tls.alpn)
    assert protocol.tls.certificate is scene.certificates.ready
    assert client.sock.getsockname() == (protocol.tls.getPeer().host, protocol.tls.getPeer().port)


def test_unknown_name(scene: Scene) -> None:
    """
    The alert of a refusal reaches the client, and the connection ends in good order.
    """
    client = scene.client(b"unknown.example.com")
    scene.run(lambda: client.failure)
    assert "unrecognized name" in str(client.failure)
    assert b"" == client.sock.recv(1)
    assert (1, 0, 0) == (scene.server.counts.refused, scene.server.counts.open, scene.server.counts.handshakes)


def test_not_tls(scene: Scene) -> None:
    """
    What is no TLS is closed, counted, and not logged.
    """
    with logged() as events:
        sock = scene.connect()
        sock.send(b"GET / HTTP/1.1\r\n\r\n")
        scene.settle()
    assert (b"", 1, 0, []) == (sock.recv(10), scene.server.counts.not_tls, scene.server.counts.open, events)


def test_challenge(scene: Scene, challenge: ServerContext) -> None:
    """
    A CA's validation gets the challenge's certificate, then the end; the name's own answer is not asked for.
    """
    scene.certificates.answers[NAME.wire] = Hold(NAME)
    scene.certificates.challenge = challenge
    client = scene.client(alpn=(ACME_TLS,))
    scene.run(lambda: client.end)
    assert ("close_notify", ACME_TLS) == (client.end, client.tls.get_alpn_proto_negotiated())
    assert ([], 0) == (scene.certificates.wanted, scene.server.counts.held)


def test_no_challenge(scene: Scene) -> None:
    """
    A validation that nobody asked for is refused at once, also for a name that would be held.
    """
    scene.certificates.answers[NAME.wire] = Hold(NAME)
    client = scene.client(alpn=(ACME_TLS,))
    scene.run(lambda: client.failure)
    assert "no application protocol" in str(client.failure)
    assert 0 == scene.server.counts.held


def test_answer(ready: ServerContext) -> None:
    """
    Without acme-tls/1 the name decides; with it the challenge does.
    """
    certificates = Certificates(ready)
    assert ready is answer(ClientHello(NAME.wire, (b"h2",)), certificates, certificates)
    assert Refuse(UNRECOGNIZED_NAME) == answer(ClientHello(None, ()), certificates, certificates)
    assert Refuse(120) == answer(ClientHello(NAME.wire, (ACME_TLS,)), certificates, certificates)


def test_held_until_issued(scene: Scene) -> None:
    """
    A client waits for its certificate and is served when it is there.
    """
    scene.certificates.answers[NAME.wire] = Hold(NAME)
    client = scene.client()
    scene.settle()
    counts = scene.server.counts
    assert ([NAME], 1, 1, {}) == (scene.certificates.wanted, counts.held, counts.holding, scene.pump.writers)
    scene.certificates.issue()
    scene.run(lambda: scene.protocols)
    assert (True, 0, 1) == (client.shaken, counts.holding, counts.handshakes)


def test_hundred_held(ready: ServerContext) -> None:
    """
    A hundred clients of a new name are all served, a few at a time.
    """
    scene = Scene(Certificates(ready), LimitsConfig(connections=400))
    scene.certificates.answers[NAME.wire] = Hold(NAME)
    clients = [scene.client() for _ in range(100)]
    scene.settle()
    assert (100, 100) == (scene.server.counts.holding, len(scene.certificates.wanted))
    scene.certificates.issue()
    scene.pump.run_due()
    assert 4 == len(scene.server.transports)
    scene.run(lambda: len(scene.protocols) == 100)
    assert all(client.shaken for client in clients)
    scene.close()


def test_held_and_failed(scene: Scene) -> None:
    """
    When no certificate comes of it, who waited is refused.
    """
    scene.certificates.answers[NAME.wire] = Hold(NAME)
    client = scene.client()
    scene.settle()
    scene.certificates.answers[NAME.wire] = Refuse(80)
    scene.certificates.settled(NAME)
    scene.run(lambda: client.failure)
    assert "internal error" in str(client.failure)
    assert (1, 0) == (scene.server.counts.refused, scene.server.counts.open)


def test_held_for_too_long(scene: Scene) -> None:
    """
    After the longest wait the client gets an alert, and no sooner; settling after that is nobody's.
    """
    scene.certificates.answers[NAME.wire] = Hold(NAME)
    client = scene.client()
    scene.settle()
    scene.pass_seconds(HOLD_SECONDS - 1)
    assert 1 == scene.server.counts.holding
    scene.pass_seconds(1)
    scene.run(lambda: client.failure)
    assert "internal error" in str(client.failure)
    assert (1, 0, 0) == (scene.server.counts.hold_timeouts, scene.server.counts.holding, scene.server.counts.open)
    scene.certificates.issue()
    scene.settle()
    assert [] == scene.protocols


def test_issued_at_the_last_moment(scene: Scene) -> None:
    """
    A client whose wait is over is served if its certificate is there by then.
    """
    scene.certificates.answers[NAME.wire] = Hold(NAME)
    scene.client()
    scene.settle()
    scene.certificates.answers[NAME.wire] = scene.certificates.ready
    scene.pass_seconds(HOLD_SECONDS)
    scene.run(lambda: scene.protocols)
    assert (0, 0) == (scene.server.counts.hold_timeouts, scene.server.counts.holding)


def test_held_again(scene: Scene) -> None:
    """
    Who is told to wait again waits on, for the same or another name, with the deadline that it had.
    """
    scene.certificates.answers[NAME.wire] = Hold(NAME)
    scene.client()
    scene.settle()
    scene.pass_seconds(HOLD_SECONDS / 2)
    scene.certificates.answers[NAME.wire] = Hold(OTHER)
    scene.certificates.settled(NAME)
    scene.settle()
    assert ([NAME, OTHER], 1, 1) == (
        scene.certificates.wanted,
        scene.server.counts.held,
        scene.server.counts.holding,
    )
    scene.pass_seconds(HOLD_SECONDS / 2)
    assert (1, 0) == (scene.server.counts.hold_timeouts, scene.server.counts.open)


def test_leaver(scene: Scene) -> None:
    """
    A client that leaves while it is held frees its place at once, and disturbs nobody who waits for the same name.
    """
    scene.certificates.answers[NAME.wire] = Hold(NAME)
    leaver, stayer = scene.client(), scene.client()
    scene.settle()
    leaver.close()
    scene.clients.remove(leaver)
    scene.settle()
    assert (1, 1) == (scene.server.counts.holding, scene.server.counts.open)
    scene.certificates.issue()
    scene.run(lambda: scene.protocols)
    assert stayer.shaken


def test_leaver_when_issued(scene: Scene) -> None:
    """
    A client that leaves between the certificate's coming and its turn is passed over.
    """
    scene.certificates.answers[NAME.wire] = Hold(NAME)
    leaver = scene.client()
    scene.settle()
    leaver.close()
    scene.clients.remove(leaver)
    (arrival,) = scene.server.waiting
    scene.certificates.issue()
    arrival.doRead()
    scene.settle()
    assert ([], 0) == (scene.protocols, scene.server.counts.open)


def test_too_many_held(ready: ServerContext) -> None:
    """
    Only half of all connections may be held; the next is refused at once.
    """
    scene = Scene(Certificates(ready), LimitsConfig(connections=4))
    scene.certificates.answers |= {NAME.wire: Hold(NAME), OTHER.wire: Hold(OTHER)}
    clients = [scene.client(name) for name in (NAME.wire, OTHER.wire, OTHER.wire)]
    scene.settle()
    assert [False, False, True] == [client.failure is not None for client in clients]
    assert (2, 1) == (scene.server.counts.holding, scene.server.counts.refused)
    scene.close()


def test_too_many_held_for_one_name(ready: ServerContext) -> None:
    """
    A name may take half of the places for those who are held, and of what it leaves another one half.
    """
    scene = Scene(Certificates(ready), LimitsConfig(connections=32))
    scene.certificates.answers |= {NAME.wire: Hold(NAME), OTHER.wire: Hold(OTHER)}
    refused = []
    for name in (NAME.wire, OTHER.wire):
        clients = [scene.client(name) for _ in range(10)]
        scene.settle()
        refused.append(sum(client.failure is not None for client in clients))
    assert ([2, 6], 12) == (refused, scene.server.counts.holding)
    scene.close()


def test_connection_limit(ready: ServerContext) -> None:
    """
    No more connections than the limit are open; the next is served when one closes.
    """
    scene = Scene(Certificates(ready), LimitsConfig(connections=2))
    clients = [scene.client() for _ in range(3)]
    scene.settle()
    assert (2, [True, True, False]) == (scene.server.counts.open, [client.shaken for client in clients])
    clients[0].tls.shutdown()
    scene.run(lambda: clients[2].shaken)
    assert 2 == scene.server.counts.open
    scene.close()


def test_two_sockets(scene: Scene) -> None:
    """
    Several listening sockets share the counts.
    """
    (second,) = bind(Address("127.0.0.1", 0))
    second_address = second.getsockname()
    scene.server.listen(second)
    scene.client()
    scene.address = second_address
    scene.client()
    scene.run(lambda: len(scene.protocols) == 2)
    assert (2, 2) == (scene.server.counts.accepted, scene.server.counts.open)


def test_silent_client(scene: Scene) -> None:
    """
    A client that sends no hello is closed after its time.
    """
    scene.connect()
    scene.settle()
    scene.pass_seconds(LIMITS.hello_seconds - 1)
    assert 1 == scene.server.counts.open
    scene.pass_seconds(1)
    assert (1, 0) == (scene.server.counts.hello_timeouts, scene.server.counts.open)


def test_handshake_that_stops(scene: Scene) -> None:
    """
    A client that stops in the middle of its handshake is closed after its time.
    """
    scene.client()
    scene.clients.clear()
    scene.settle()
    assert 1 == len(scene.server.transports)
    scene.pass_seconds(LIMITS.hello_seconds)
    assert (1, 0) == (scene.server.counts.handshake_failures, scene.server.counts.open)


def test_fault_of_one_arrival(scene: Scene) -> None:
    """
    An answer that fails costs that connection and is logged; the next is served.
    """
    scene.certificates.broken = b"broken.example.com"
    scene.client(b"broken.example.com")
    scene.client()
    with logged() as events:
        scene.run(lambda: scene.protocols)
    assert (1, 1) == (len(events), scene.server.counts.open)


def test_stop_accepting(scene: Scene) -> None:
    """
    After accepting stopped, new clients are refused by the system and who is connected is served on.
    """
    client = scene.client()
    scene.run(lambda: scene.protocols)
    scene.server.stop_accepting()
    with pytest.raises(ConnectionRefusedError):
        scene.connect()
    client.unsent += b"still here"
    scene.run(lambda: scene.protocols[0].received)
    assert b"still here" == scene.protocols[0].received


def test_finish_soon(scene: Scene) -> None:
    """
    Protocols are asked to finish in their own way; one without a way is closed; handshakes go on.
    """
    scene.make_protocol = Finishing
    polite = scene.client()
    scene.run(lambda: len(scene.protocols) == 1)
    scene.make_protocol = Recorder
    plain = scene.client()
    scene.run(lambda: len(scene.protocols) == 2)
    late = scene.client()
    scene.pump.turn()
    scene.server.finish_soon()
    scene.run(lambda: polite.end and plain.end and late.shaken)
    scene.settle()
    assert (b"bye", [ConnectionDone, ConnectionDone]) == (polite.received, [each.why for each in scene.protocols[:2]])


def test_finish_that_fails(scene: Scene) -> None:
    """
    A protocol that fails when asked to finish does not keep the others from being asked.
    """

    class Failing(Recorder):
        def finish_soon(self) -> None:
            raise RuntimeError

    scene.make_protocol = Failing
    scene.client()
    scene.client()
    scene.run(lambda: len(scene.protocols) == 2)
    with logged() as events:
        scene.server.finish_soon()
    assert 2 == len(events)


def test_abort_all(scene: Scene) -> None:
    """
    At the end everything is closed at once, and every protocol told: open, shaking hands, held, lingering.
    """
    scene.certificates.answers[OTHER.wire] = Hold(OTHER)
    scene.client()
    scene.run(lambda: scene.protocols)
    scene.client(OTHER.wire)
    scene.connect()
    scene.connect().send(b"\x16\x03\x01\x40\x01" + b"x" * 20000)
    scene.settle()
    assert (4, 2, 1) == (scene.server.counts.open, len(scene.server.waiting), len(scene.server.lingering))
    empty = scene.server.when_empty()
    scene.server.abort_all()
    assert (0, True, ConnectionAborted) == (scene.server.counts.open, empty.called, scene.protocols[0].why)
    assert scene.server.when_empty().called


def test_every_version(scene: Scene) -> None:
    """
    A client of TLS 1.2 is served too.
    """
    scene.clients.append(TlsClient(scene.connect(), server_name=NAME.wire, version=SSL.TLS1_2_VERSION))
    scene.run(lambda: scene.protocols)
    assert 1 == scene.server.counts.handshakes


def test_fault_in_handing_over(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A connection that OpenSSL has no memory for is closed, and counted as closed.
    """

    def fails(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("sptls.tls.server.AcceptedConnection", fails)
    client = scene.client()
    with logged() as events:
        scene.run(lambda: client.end)
    assert (1, 0, 1) == (len(events), scene.server.counts.open, scene.server.counts.accepted)


# PROXY headers


def test_announced_client(scene: Scene) -> None:
    """
    A listed peer begins with a header, and the protocol's peer is whom it names.
    """
    scene.server.proxy_protocol = Networks([ip_network("127.0.0.0/8")])
    sock = scene.connect()
    sock.sendall(b"PROXY TCP4 192.0.2.77 198.51.100.1 56324 443\r\n")
    client = TlsClient(sock, server_name=NAME.wire, alpn=())
    scene.clients.append(client)
    scene.run(lambda: scene.protocols)
    assert "192.0.2.77" == scene.protocols[0].tls.getPeer().host


def test_header_of_another_peer(scene: Scene) -> None:
    """
    It is never looked for there.
    """
    scene.server.proxy_protocol = Networks([ip_network("10.0.0.0/8")])
    sock = scene.connect()
    sock.sendall(b"PROXY TCP4 192.0.2.77 198.51.100.1 56324 443\r\n")
    scene.settle()
    assert (b"", 1, 0) == (sock.recv(10), scene.server.counts.not_tls, scene.server.counts.proxy_header_failures)


@pytest.mark.parametrize(("said", "seconds"), [(b"GET / HTTP/1.1\r\n\r\n", 0.0), (b"PROXY", LIMITS.hello_seconds)])
def test_no_header(scene: Scene, said: bytes, seconds: float) -> None:
    """
    Wrong or late, it is counted and closed, and nothing is logged.
    """
    scene.server.proxy_protocol = Networks([ip_network("127.0.0.0/8")])
    sock = scene.connect()
    sock.sendall(said)
    with logged() as events:
        scene.settle()
        scene.pass_seconds(seconds)
    with pytest.raises(ConnectionResetError):
        sock.recv(1)
    counts = scene.server.counts
    assert ((1, 0, 0), []) == ((counts.proxy_header_failures, counts.hello_timeouts, counts.open), events)


# Limits per address


def test_over_the_limit_of_an_address(ready: ServerContext) -> None:
    """
    One too many is reset at once, counted, and said once; when another has left there is a place again.
    """
    scene = Scene(Certificates(ready), LimitsConfig(connections_per_address=2))
    clients = [scene.client() for _ in range(2)]
    scene.run(lambda: len(scene.protocols) == 2)
    with logged() as events:
        for _ in range(3):
            sock = scene.connect()
            scene.settle()
            with pytest.raises(ConnectionResetError):
                sock.recv(1)
    assert (3, 2, 1) == (scene.server.counts.over_address_limit, scene.server.counts.open, len(events))
    clients[0].tls.shutdown()
    clients[0].close()
    scene.clients.remove(clients[0])
    scene.run(lambda: scene.server.counts.open == 1)
    scene.client()
    scene.run(lambda: len(scene.protocols) == 3)
    scene.close()


def test_every_end_of_a_connection_gives_its_place_back(ready: ServerContext) -> None:
    """
    Refused, too late, not TLS, gone while it was held, aborted: nobody's place is kept.
    """
    scene = Scene(Certificates(ready), LimitsConfig(connections_per_address=5))
    scene.certificates.answers[OTHER.wire] = Hold(OTHER)
    for _ in range(2):
        scene.client(b"stranger.example")
        scene.connect().sendall(b"GET / HTTP/1.1\r\n\r\n")
        scene.connect().sendall(b"\x16")
        scene.client(OTHER.wire).sock.close()
        scene.clients.pop()
        scene.settle()
        scene.pass_seconds(LIMITS.hello_seconds)
        scene.client()
        scene.run(lambda: scene.protocols)
        scene.server.abort_all()
        scene.clients.clear()
        scene.protocols.clear()
    assert (0, 0) == (scene.server.counts.over_address_limit, scene.server.counts.open)
    scene.close()


def test_handshakes_over_the_rate_of_an_address(ready: ServerContext) -> None:
    """
    Ten seconds' worth at once, and then no more until some of it is worked off.
    """
    scene = Scene(Certificates(ready), LimitsConfig(handshakes_per_address=1))
    for seconds, expected in ((0.0, 2), (3.0, 1)):
        scene.pass_seconds(seconds)
        for _ in range(12 if not seconds else 4):
            scene.connect()
        scene.settle()
        assert expected == scene.server.counts.over_address_limit
        scene.server.counts.over_address_limit = 0
    scene.close()


def test_it_is_the_announced_address_that_counts(ready: ServerContext) -> None:
    """
    Of a balancer's connections each client's count for that client, and the balancer's own for nobody.
    """
    scene = Scene(Certificates(ready), LimitsConfig(connections_per_address=1))
    scene.server.proxy_protocol = Networks([ip_network("127.0.0.0/8")])
    for announced in (b"UNKNOWN", b"UNKNOWN", *(b"TCP4 192.0.2.%d 198.51.100.1 1 443" % end for end in (1, 2, 1))):
        sock = scene.connect()
        sock.sendall(b"PROXY " + announced + b"\r\n")
        scene.clients.append(TlsClient(sock, server_name=NAME.wire))
        scene.settle()
    assert (1, 4, 4) == (scene.server.counts.over_address_limit, scene.server.counts.open, len(scene.protocols))
    scene.close()


# Passing on

ELSEWHERE = PassthroughConfig("127.0.0.1", 8443)


class PlayedPassages:
    """
    Takes connections, and does with them what the test says.
    """

    def __init__(self) -> None:
        self.begun: list[tuple[SocketType, tuple[Any, ...], tuple[str, int] | None, PassthroughConfig]] = []
        self.refused: Callable[[], None] = lambda: None
        self.ended: Callable[[], None] = lambda: None
        self.aborted = 0

    def begin(
        self,
        sock: SocketType,
        peer: tuple[Any, ...],
        destination: tuple[str, int] | None,
        server: PassthroughConfig,
        *,
        refused: Callable[[], None],
        ended: Callable[[], None],
    ) -> None:
        """
        Keep it.
        """
        self.begun.append((sock, peer, destination, server))
        self.refused, self.ended = refused, ended

    def abort_all(self) -> None:
        """
        Count it.
        """
        self.aborted += 1


@pytest.fixture
def passing(ready: ServerContext) -> Iterator[tuple[Scene, PlayedPassages]]:
    """
    Give a server for whose one name there is another one.
    """
    certificates, passages = Certificates(ready), PlayedPassages()
    certificates.answers[NAME.wire] = ELSEWHERE
    scene = Scene(certificates, passages=passages)
    yield scene, passages
    scene.close()


@pytest.mark.parametrize("alpn", [(), (b"h2",), (ACME_TLS,)])
def test_passed_on(passing: tuple[Scene, PlayedPassages], alpn: tuple[bytes, ...]) -> None:
    """
    The whole hello is in the socket still, a CA's validation as well.
    """
    scene, passages = passing
    client = scene.client(alpn=alpn)
    scene.run(lambda: passages.begun)
    ((sock, peer, destination, server),) = passages.begun
    assert (client.sock.getsockname(), None, ELSEWHERE) == (peer, destination, server)
    assert isinstance(parse(sock.recv(65536)), ClientHello)
    counts = scene.server.counts
    assert (1, 1, 1) == (counts.open, counts.passed_through, counts.passing_through)
    sock.close()
    passages.ended()
    assert (0, 1, 0) == (counts.open, counts.passed_through, counts.passing_through)


def test_passed_on_with_what_was_announced(passing: tuple[Scene, PlayedPassages]) -> None:
    """
    The other server can be told who the client is, and where it connected to.
    """
    scene, passages = passing
    scene.server.proxy_protocol = Networks([ip_network("127.0.0.0/8")])
    sock = scene.connect()
    sock.sendall(b"PROXY TCP4 192.0.2.77 198.51.100.1 56324 443\r\n")
    scene.settle()
    scene.clients.append(TlsClient(sock, server_name=NAME.wire, alpn=()))
    scene.run(lambda: passages.begun)
    ((near, peer, destination, _),) = passages.begun
    assert (("192.0.2.77", 56324), ("198.51.100.1", 443)) == (peer, destination)
    near.close()
    passages.ended()


def test_passed_on_it_counts_for_its_address_until_it_ends(ready: ServerContext) -> None:
    """
    Though our socket is closed long before: who passes it on has a duplicate.
    """
    certificates, passages = Certificates(ready), PlayedPassages()
    certificates.answers[NAME.wire] = ELSEWHERE
    scene = Scene(certificates, LimitsConfig(connections_per_address=1), passages)
    counts = scene.server.counts
    scene.client()
    scene.run(lambda: passages.begun)
    passages.begun[0][0].close()
    scene.client()
    scene.run(lambda: counts.over_address_limit)
    passages.ended()
    scene.client()
    scene.run(lambda: len(passages.begun) == 2)
    scene.client()
    scene.run(lambda: counts.over_address_limit == 2)
    passages.refused()
    scene.client()
    scene.run(lambda: len(passages.begun) == 3)
    passages.begun[2][0].close()
    passages.ended()
    assert 0 == counts.passing_through
    scene.close()


def test_nowhere_to_pass_on_to(passing: tuple[Scene, PlayedPassages]) -> None:
    """
    The client gets an alert that says that it may come again.
    """
    scene, passages = passing
    client = scene.client()
    scene.run(lambda: passages.begun)
    passages.refused()
    scene.run(lambda: client.end)
    assert "internal error" in client.end
    counts = scene.server.counts
    assert (0, 0, 1) == (counts.open, counts.passing_through, counts.passthrough_failures)


def test_held_and_then_passed_on(passing: tuple[Scene, PlayedPassages]) -> None:
    """
    A name may become another server's while its clients wait.
    """
    scene, passages = passing
    scene.certificates.answers[NAME.wire] = Hold(NAME)
    scene.client()
    scene.run(lambda: scene.server.counts.holding)
    scene.certificates.answers[NAME.wire] = ELSEWHERE
    scene.certificates.settled(NAME)
    scene.run(lambda: passages.begun)
    assert 0 == scene.server.counts.holding
    passages.begun[0][0].close()
    passages.ended()


def test_stop_while_passing_on(passing: tuple[Scene, PlayedPassages]) -> None:
    """
    They count as open until they end, and are aborted with all others.
    """
    scene, passages = passing
    scene.client()
    scene.run(lambda: passages.begun)
    empty: list[None] = []
    scene.server.when_empty().addCallback(empty.append)
    scene.server.abort_all()
    assert ([], 1) == (empty, passages.aborted)
    passages.begun[0][0].close()
    passages.ended()
    assert [None] == empty


def test_nobody_to_pass_on(ready: ServerContext) -> None:
    """
    A fault of ours: it costs that connection.
    """
    certificates = Certificates(ready)
    certificates.answers[NAME.wire] = ELSEWHERE
    scene = Scene(certificates)
    scene.client()
    with logged() as events:
        scene.run(lambda: events)
    assert 0 == scene.server.counts.open
    scene.close()


def test_stop_leaves_who_waits_at_a_shared_socket(scene: Scene) -> None:
    """
    Another process accepts there; here nobody is.
    """
    with scene.sock.dup() as others:
        client = scene.connect()
        scene.server.stop_accepting({scene.sock})
        accepted, peer = others.accept()
        accepted.close()
        assert (client.getsockname(), 0) == (peer, scene.server.counts.accepted)


def test_serve_from_others(scene: Scene, ready: ServerContext) -> None:
    """
    Who is held waits on, for what the others have, and they are told who is wanted.
    """
    scene.certificates.answers[OTHER.wire] = Hold(OTHER)
    held = scene.client(OTHER.wire)
    scene.settle()
    others = Certificates(ready)
    others.answers[OTHER.wire] = Hold(OTHER)
    scene.server.serve_from(others, others)
    scene.run(lambda: others.wanted)
    assert (1, [OTHER]) == (scene.server.counts.holding, others.wanted)
    scene.server.want_again()
    assert [OTHER] * 2 == others.wanted
    others.issue(OTHER)
    scene.run(lambda: held.shaken)

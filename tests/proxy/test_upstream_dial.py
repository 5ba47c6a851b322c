from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from sptls.config import UpstreamConfig
from sptls.deadlines import Deadlines
from sptls.errors import UpstreamError
from sptls.tls import client
from tests.proxy.upstreams import OK, InMemory, Told, UpstreamStage, lost
from tests.proxy.wire import GET, POST, logged
from tests.tls.services import Service, service_context, serving, trusting
from tests.tls.wire import Pump

if TYPE_CHECKING:
    from collections.abc import Iterator

    from OpenSSL import SSL
    from OpenSSL.crypto import X509
    from twisted.internet.interfaces import IDelayedCall

BOTH = ("2001:db8::1", "192.0.2.10")
HOST = "spgo.test"


def test_next_address_is_tried_when_one_refuses() -> None:
    """
    IPv6 that isn't there costs nothing but a refusal.
    """
    stage = UpstreamStage(addresses=BOTH)
    told, _ = stage.ask()
    stage.refuse()
    connection, wire = stage.accept()
    connection.dataReceived(OK)
    assert (list(BOTH), GET, [200, "end"]) == (stage.dialled, wire.value(), told.events)


def test_silent_address_costs_its_share_of_the_time() -> None:
    """
    With two addresses each has half of upstream_connect_seconds.
    """
    stage = UpstreamStage(addresses=BOTH)
    told, _ = stage.ask()
    stage.reactor.advance(2.6)
    assert list(BOTH) == stage.dialled
    stage.reactor.advance(2.6)
    assert ["failed 504"] == told.events


class _Strict(Clock):
    """
    Refuses a moment in the past, as reactors do.
    """

    def callLater(self, delay: float, *call: Any, **more: Any) -> IDelayedCall:  # noqa: N802 - Twisted's name
        """
        Call later.
        """
        assert delay >= 0
        return super().callLater(delay, *call, **more)


def test_standstill_of_our_own_is_no_fault() -> None:
    """
    When all of the time has passed at once, the request ends as any that was not answered in time.
    """
    stage = UpstreamStage(addresses=BOTH, clock=_Strict())
    told, _ = stage.ask()
    with logged() as lines:
        stage.reactor.advance(20)
    assert (["failed 504"], []) == (told.events, [line for line in lines if "could not be connected" in line[1]])


def test_failed_address_is_tried_last_for_a_while() -> None:
    """
    Only one request pays for a dead address, until it is given another chance.
    """
    stage = UpstreamStage(addresses=BOTH)
    stage.ask()
    stage.refuse()
    stage.accept()
    stage.ask()
    assert "192.0.2.10" == stage.dialled[-1]
    stage.reactor.advance(31)
    stage.ask()
    assert "2001:db8::1" == stage.dialled[-1]


def test_address_that_does_not_answer_is_tried_last_too() -> None:
    """
    It accepts connections and says nothing: one request pays, and no other goes out on an idle connection there.
    """
    stage = UpstreamStage(addresses=BOTH)
    _, idle_wire = stage.kept()
    told, _ = stage.ask(POST + b"\r\n")
    stage.accept()
    stage.reactor.advance(stage.limits.upstream_head_seconds + 1)
    assert (["failed 504"], "lost") == (told.events, idle_wire.end)
    stage.ask()
    assert [BOTH[0], BOTH[0], BOTH[1]] == stage.dialled


def test_upstream_that_is_not_reached_is_looked_up_again() -> None:
    """
    It may have moved: the next request need not wait for the look-up that is due.
    """
    stage = UpstreamStage()
    stage.ask()
    stage.reactor.advance(3)
    stage.addresses = ("192.0.2.20",)
    stage.refuse()
    stage.ask()
    assert ["192.0.2.10", "192.0.2.20"] == stage.dialled


def test_so_many_addresses_are_tried() -> None:
    """
    A name with forty addresses doesn't leave each a tenth of a second.
    """
    stage = UpstreamStage(addresses=tuple(f"192.0.2.{at}" for at in range(40)))
    told, _ = stage.ask()
    for _ in range(4):
        assert [] == told.events
        stage.refuse()
    assert (["failed 502"], 4) == (told.events, len(stage.dialled))


def test_name_without_address_is_a_bad_gateway() -> None:
    """
    DNS that never worked is told from an upstream that refuses, in the log.
    """
    stage = UpstreamStage()
    stage.addresses = OSError("no such host")
    told, _ = stage.ask()
    assert (["failed 502"], "the upstream's name can't be resolved") == (told.events, told.failure)


def test_connection_that_is_lost_before_it_can_be_used_is_no_connection() -> None:
    """
    The next address is tried then, too.
    """
    stage = UpstreamStage(addresses=BOTH)
    stage.ask()
    stage.attempts[-1].done.errback(UpstreamError(502, "it closed the connection in the TLS handshake"))
    assert list(BOTH) == stage.dialled


@pytest.mark.parametrize("accepted", [False, True])
def test_client_that_leaves_ends_the_dialling(accepted: bool) -> None:
    """
    What is half open is closed, and what comes of it later is no matter.
    """
    stage = UpstreamStage()
    told, exchange = stage.ask()
    if accepted:
        connection, wire = stage.accept()
        exchange.abandon()
        assert "aborted" == wire.end
        lost(connection)
    else:
        exchange.abandon()
        assert stage.attempts[-1].done.called
    stage.reactor.advance(60)
    assert [] == told.events


def test_slow_look_up_is_within_the_time() -> None:
    """
    A hanging DNS at the first request is 504 in time, not a hanging client.
    """
    stage = UpstreamStage()
    stage.hang()
    told, _ = stage.ask()
    stage.reactor.advance(stage.limits.upstream_connect_seconds)
    assert ["failed 504"] == told.events


def test_fault_of_our_own_ends_the_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Whatever goes wrong while dialling, the client gets its answer.
    """
    stage = UpstreamStage()
    monkeypatch.setattr(InMemory, "connect", None)
    with logged() as events:
        told, _ = stage.ask()
    assert (["failed 502"], ["critical", "error"]) == (told.events, [level for level, _ in events])


# -- over TLS on real sockets, with `tls.client`


class _TlsStage(UpstreamStage):
    """
    Upstreams that connect to *service* over TLS, and the reactor that carries the bytes.
    """

    def __init__(self, service: Service, authority: trustme.CA) -> None:
        self.pump, self.service = Pump(), service
        deadlines = Deadlines(self.pump)
        tls, trust = client.TlsClient(self.pump, deadlines, 5.0), trusting(authority)
        super().__init__(
            UpstreamConfig(host=HOST, port=service.port),
            ("127.0.0.1",),
            lambda config: tls.connector(config.host, config.port, trust),
            self.pump,
        )

    def settle(self) -> None:
        """
        Let both sides work until nothing is left to do.
        """
        self.pump.settle(self.service.step)

    def asked(self, answer: bytes, head: bytes = GET) -> Told:
        """
        Have a request answered with *answer*, on whichever connection it comes.
        """
        before = [len(connection.received) for connection in self.service.connections]
        told, _ = self.ask(head)
        self.settle()
        for connection, had in zip(self.service.connections, [*before, 0], strict=False):
            if len(connection.received) > had:
                connection.unsent += answer
        self.settle()
        return told


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """
    Give the CA that the tracking service's certificates are from.
    """
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


@contextmanager
def _tls(authority: trustme.CA, context: SSL.Context | None) -> Iterator[_TlsStage]:
    with serving(context) as service:
        stage = _TlsStage(service, authority)
        try:
            yield stage
        finally:
            for descriptor in {*stage.pump.readers, *stage.pump.writers}:
                descriptor.connectionLost(Failure(ConnectionLost()))


def test_request_over_tls_goes_out_after_the_handshake_and_the_connection_is_kept(authority: trustme.CA) -> None:
    """
    Request and answer are whole, and the next request needs no handshake.
    """
    with _tls(authority, service_context(authority, HOST)) as stage:
        for _ in range(2):
            told = stage.asked(OK)
            assert ([200, "end"], b"ok") == (told.events, told.content)
        (connection,) = stage.service.connections
        assert GET + GET == connection.received


@pytest.mark.parametrize(
    ("name", "is_trusted", "cause"),
    [("other.test", True, "its certificate is not for spgo.test"), (HOST, False, "its certificate is from no CA")],
)
def test_upstream_that_is_not_who_it_should_be_is_a_bad_gateway(
    authority: trustme.CA, name: str, is_trusted: bool, cause: str
) -> None:
    """
    It never sees the request; the log names the cause once.
    """
    context = service_context(authority if is_trusted else trustme.CA(), name)
    with logged() as events, _tls(authority, context) as stage:
        for _ in range(3):
            assert ["failed 502"] == stage.asked(OK).events
        assert [b""] * 3 == [connection.received for connection in stage.service.connections]
    assert ["error"] == [level for level, _ in events]
    assert cause in events[0][1]


def test_handshake_that_stands_still_is_a_gateway_timeout(authority: trustme.CA) -> None:
    """
    upstream_connect_seconds cover TLS too.
    """
    with _tls(authority, None) as stage:
        told, _ = stage.ask()
        stage.settle()
        stage.pump.advance(stage.limits.upstream_connect_seconds)
        stage.settle()
        assert (["failed 504"], {}) == (told.events, stage.pump.readers)


def test_client_that_leaves_ends_the_handshake(authority: trustme.CA) -> None:
    """
    No socket is left half open.
    """
    with _tls(authority, None) as stage:
        told, exchange = stage.ask()
        stage.settle()
        exchange.abandon()
        stage.settle()
        assert ([], {}) == (told.events, stage.pump.readers)


@pytest.mark.parametrize(("says_goodbye", "end"), [(True, "end"), (False, "failed 502")])
def test_answer_that_ends_with_its_connection_needs_close_notify(
    authority: trustme.CA, says_goodbye: bool, end: str
) -> None:
    """
    Without it anybody on the way could have cut the answer short (RFC 8446 §6.1).
    """
    with _tls(authority, service_context(authority, HOST)) as stage:
        told = stage.asked(b"HTTP/1.1 200 OK\r\n\r\nsome")
        (connection,) = stage.service.connections
        if says_goodbye:
            connection.tls.shutdown()
        else:
            connection.sock.close()
        stage.pump.run(lambda: len(told.events) > 1)
        assert ([200, end], b"some") == (told.events, told.content)


def test_redirect_that_ends_without_close_notify_is_whole(authority: trustme.CA) -> None:
    """
    A click's answer is in its head: no click is lost because the service closes rudely.
    """
    with _tls(authority, service_context(authority, HOST)) as stage:
        told = stage.asked(b"HTTP/1.1 302 Found\r\nLocation: /a\r\n\r\n")
        stage.service.connections[0].sock.close()
        stage.pump.run(lambda: len(told.events) > 1)
        assert [302, "end"] == told.events


def test_dead_kept_tls_connection_is_replaced(authority: trustme.CA) -> None:
    """
    An upstream that closed while a request was on its way never saw it.
    """
    with _tls(authority, service_context(authority, HOST)) as stage:
        stage.asked(OK)
        stage.service.connections.pop().tls.shutdown()  # arrives after the request has gone out
        told = stage.asked(OK)
        assert ([200, "end"], 1) == (told.events, stage.counters.upstream_retries)


def test_post_gets_a_fresh_connection_that_resumes_the_session(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    It costs no full handshake: there is no certificate in it to be verified.
    """
    verified: list[int] = []

    def counting(connection: SSL.Connection, certificate: X509, error: int, depth: int, ok: int) -> bool:
        verified.append(depth)
        return verify(connection, certificate, error, depth, ok)

    verify = client._verify
    monkeypatch.setattr(client, "_verify", counting)
    with _tls(authority, service_context(authority, HOST)) as stage:
        stage.asked(OK)
        before = len(verified)
        told = stage.asked(OK, POST + b"\r\n")
        assert ([200, "end"], 2) == (told.events, len(stage.service.connections))
        assert before == len(verified) > 0

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionLost

from sptls.config import UpstreamConfig
from tests.proxy.upstreams import OK, PLAIN, UpstreamStage, lost, stopped
from tests.proxy.wire import GET, POST, Stage

if TYPE_CHECKING:
    from sptls.interfaces import IDownstream, IUpstreamExchange
    from sptls.proxy.head import RequestHead
    from sptls.proxy.route import Site


def test_request_goes_out_in_one_write_and_its_answer_comes_back() -> None:
    """
    The bytes of the head are the caller's, the answer's parts come in order.
    """
    stage = UpstreamStage()
    told, _ = stage.ask()
    _, wire = accepted = stage.accept()
    assert [GET] == wire.writes
    accepted[0].dataReceived(OK)
    assert ([200, "end"], b"ok") == (told.events, told.content)


def test_upstreams_with_one_origin_share_their_connections() -> None:
    """
    The Host field is no part of where a connection leads.
    """
    stage = UpstreamStage()
    stage.kept()
    stage.site = attrs.evolve(stage.site, upstream=attrs.evolve(PLAIN, host_field="upstream"))
    stage.ask()
    assert 1 == len(stage.dialled)


def test_other_origins_have_their_own() -> None:
    """
    A connection is never used for another upstream.
    """
    stage = UpstreamStage()
    stage.kept()
    stage.site = attrs.evolve(stage.site, upstream=attrs.evolve(PLAIN, port=8080))
    stage.ask()
    assert [80, 8080] == [attempt.port for attempt in stage.attempts]


def test_serving_looks_addresses_up_ahead_and_lets_go_of_the_rest() -> None:
    """
    At a reload idle connections to removed upstreams close, running exchanges end first.
    """
    stage = UpstreamStage()
    _, idle_wire = stage.kept()
    told, _ = stage.ask(POST + b"\r\n")
    busy, busy_wire = stage.accept()
    other = attrs.evolve(PLAIN, host="other.test")
    stage.upstreams.serve([other])
    assert ["http://other.test"] == [status.url for status in stage.upstreams.status()]
    assert ("lost", "open") == (idle_wire.end, busy_wire.end)
    busy.dataReceived(OK)
    assert ([200, "end"], "lost") == (told.events, busy_wire.end)


def test_serving_the_same_again_changes_nothing() -> None:
    """
    A reload that leaves an upstream alone leaves its connections alone.
    """
    stage = UpstreamStage()
    _, wire = stage.kept()
    stage.upstreams.serve([PLAIN])
    assert ("open", 1) == (wire.end, stage.upstreams.status()[0].idle)


def test_other_roots_in_the_same_file_mean_new_connections() -> None:
    """
    What was trusted is trusted no more: the next request is sent on a connection that goes by the new roots.
    """
    stage = UpstreamStage()
    _, wire = stage.kept()
    stage.upstreams.serve([PLAIN], other_roots={Path("elsewhere.pem")})
    kept = wire.end
    stage.upstreams.serve([PLAIN], other_roots={None})
    assert ("open", "lost", 0) == (kept, wire.end, stage.upstreams.status()[0].idle)


def test_status_tells_how_it_fares() -> None:
    """
    What an operator wants to know of an upstream.
    """
    stage = UpstreamStage()
    stage.kept()
    stage.ask(POST + b"\r\n")
    stage.refuse()
    (status,) = stage.upstreams.status()
    assert ("http://spgo.test", 1, 1, 0, ("192.0.2.10",)) == (
        status.url,
        status.connections,
        status.idle,
        status.waiting,
        status.addresses,
    )
    assert status.trouble is not None
    assert "Connection refused" in status.trouble


def test_stop_closes_everything() -> None:
    """
    Idle, busy and half-open connections end, whoever waits is told, and then it is over.
    """
    stage = UpstreamStage()
    idle, idle_wire = stage.kept()
    (busy_told, _), (busy, busy_wire) = stage.ask(POST + b"\r\n"), stage.accept()
    dialling_told, _ = stage.ask(POST + b"\r\n")
    over = stopped(stage)
    assert ("lost", "aborted") == (idle_wire.end, busy_wire.end)
    assert (["failed 502"], ["failed 503"]) == (busy_told.events, dialling_told.events)
    assert not over.called
    lost(idle)
    lost(busy)
    assert over.called
    assert ["failed 503"] == stage.ask()[0].events


def test_stop_with_nothing_open_is_over_at_once() -> None:
    """
    Nothing is waited for in vain.
    """
    stage = UpstreamStage()
    stage.upstreams.serve([PLAIN])
    assert stopped(stage).called


def test_peer_that_does_not_close_is_not_waited_for() -> None:
    """
    The orderly end is bounded too.
    """
    stage = UpstreamStage()
    connection, wire = stage.kept()
    over = stopped(stage)
    stage.reactor.advance(6)
    assert "aborted" == wire.end
    lost(connection)
    assert over.called


class _Joined(Stage):
    """
    A client's side on real upstreams.
    """

    def __init__(self) -> None:
        super().__init__()
        self.behind = UpstreamStage()

    def exchange(
        self, site: Site, head_bytes: bytes, request: RequestHead, downstream: IDownstream
    ) -> IUpstreamExchange:
        """
        Pass on to the real ones.
        """
        return self.behind.upstreams.exchange(self.behind.site, head_bytes, request, downstream)


@given(
    cuts=st.lists(st.integers(1, 40), max_size=30),
    answer=st.sampled_from(
        [
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
            b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello",
        ]
    ),
)
def test_any_split_gives_the_client_the_same(cuts: list[int], answer: bytes) -> None:
    """
    From end to end: however the request, its content and the answer are cut, the same content goes through.
    """
    joined = _Joined()
    connection, wire = joined.connect()
    sent = _pieces(POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", cuts)
    connection.dataReceived(sent[0])
    for piece in sent[1:]:
        connection.dataReceived(piece)
    upstream, service = joined.behind.accept()
    content = b"".join(part.split(b"\r\n")[1] for part in _chunks(service.value()))
    assert b"abcde" == content
    for piece in _pieces(answer, cuts):
        upstream.dataReceived(piece)
    if b"close" in answer:
        lost(upstream)
    received = wire.value()
    body = received.split(b"\r\n\r\n", 1)[1]
    assert b"hello" == (
        b"".join(part.split(b"\r\n")[1] for part in _chunks(received)) if b"chunked" in received else body
    )
    assert [200] == [status for status, _ in joined.logged]


def _pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    pieces = []
    for cut in cuts:
        pieces.append(stream[:cut])
        stream = stream[cut:]
    return [piece for piece in [*pieces, stream] if piece]


def _chunks(message: bytes) -> list[bytes]:
    """
    Give the chunks of a message whose content has no line ends, the last one left out.
    """
    body = message.split(b"\r\n\r\n", 1)[1].removesuffix(b"0\r\n\r\n")
    lines = body.split(b"\r\n")[:-1]
    return [b"\r\n".join(lines[at : at + 2]) for at in range(0, len(lines), 2)]


def test_content_flows_in_flat_memory() -> None:
    """
    Up and down, what one side doesn't take isn't read from the other: never more than a few pieces are held.
    """
    joined = _Joined()
    connection, wire = joined.connect()
    piece = b"x" * 65536
    connection.dataReceived(POST + b"Content-Length: %d\r\n\r\n" % (1 << 30) + piece)
    upstream, service = joined.behind.accept()
    service.full_bytes = wire.full_bytes = 65536
    sent = 0
    while sent < 64 << 20:
        if wire.reading:
            connection.dataReceived(piece)
            sent += len(piece)
        else:
            assert service.unsent_bytes <= 4 * 65536
            service.take_all()
        service.writes.clear()
    upstream.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 30))
    sent = 0
    while sent < 64 << 20:
        if service.reading:
            upstream.dataReceived(piece)
            sent += len(piece)
        else:
            assert wire.unsent_bytes <= 4 * 65536
            wire.take_all()
        wire.writes.clear()


def test_truncated_answer_is_seen_as_such_by_the_client() -> None:
    """
    From end to end: an upstream that breaks off breaks the client's connection.
    """
    joined = _Joined()
    connection, wire = joined.connect()
    connection.dataReceived(GET)
    upstream, _ = joined.behind.accept()
    upstream.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
    lost(upstream, ConnectionLost())
    assert "aborted" == wire.end


def test_next_pipelined_request_takes_the_connection_just_freed() -> None:
    """
    The connection is back before the client's next request looks for one.
    """
    joined = _Joined()
    connection, wire = joined.connect()
    connection.dataReceived(GET * 50)
    upstream, _ = joined.behind.accept()
    for _ in range(50):
        upstream.dataReceived(OK)
    assert (1, OK * 50) == (len(joined.behind.dialled), wire.value())


@pytest.mark.parametrize("config", [UpstreamConfig(host="192.0.2.9", scheme="http", port=80)])
def test_upstream_may_be_an_address(config: UpstreamConfig) -> None:
    """
    Nothing is looked up then.
    """
    stage = UpstreamStage(config, ())
    stage.ask()
    assert ["192.0.2.9"] == stage.dialled

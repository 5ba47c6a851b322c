from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import settings as limited
from hypothesis import strategies as st
from jh2.config import H2Configuration
from jh2.connection import H2Connection
from jh2.events import DataReceived, ResponseReceived, StreamEnded
from jh2.settings import SettingCodes
from twisted.internet.interfaces import IHalfCloseableProtocol, IProtocol, IPushProducer
from zope.interface.verify import verifyObject

from sptls.config import LimitsConfig
from sptls.proxy.client_connection import LINGER_BYTES
from sptls.proxy.gateway import FIRST_SECONDS, SHORTLY_SECONDS, WRITE_SECONDS
from sptls.proxy.http2 import Http2
from tests.proxy.http2_client import (
    ACK,
    CANCEL,
    DATA,
    GOAWAY,
    HEADERS,
    NO_ERROR,
    PING,
    PREFACE,
    PROTOCOL_ERROR,
    RST_STREAM,
    SETTINGS,
    Http2Client,
    data,
    frame,
    settings,
    window_update,
)
from tests.proxy.wire import CLICK, OK, PlayedExchange, Stage, TlsWire, logged, lost

if TYPE_CHECKING:
    from collections.abc import Callable

LIMITS = LimitsConfig()
SHORTLY = (SHORTLY_SECONDS / 2,) * 2
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_keeps_twisteds_interfaces() -> None:
    """
    A connection is what transports and producers' consumers expect.
    """
    connection = Http2(Stage().gateway)
    for interface in (IProtocol, IHalfCloseableProtocol, IPushProducer):
        assert verifyObject(interface, connection)


def test_first_read_is_answered_in_one_write() -> None:
    """
    Our settings, the acknowledgement of the client's, and what else there is.
    """
    stage = Stage()
    stage.tracking = lambda exchange: exchange.answer(OK, b"ok")
    client = Http2Client(stage, bare=True)
    assert [] == client.wire.writes
    client.send(PREFACE, settings(), client.request(1))
    assert 1 == len(client.wire.writes)
    assert [(SETTINGS, 0), (SETTINGS, 0), (HEADERS, 1), (DATA, 1)] == client.told()


def test_opening_goes_out_with_the_first_answer() -> None:
    """
    One write, where the upstream is nearby; what is said later goes out at once.
    """
    stage = Stage()
    client = Http2Client(stage, bare=True)
    client.send(PREFACE, settings(), client.request(1))
    assert [] == client.wire.writes
    stage.exchanges[0].answer(OK, b"ok")
    assert 1 == len(client.wire.writes)
    assert [(SETTINGS, 0), (SETTINGS, 0), (HEADERS, 1), (DATA, 1)] == client.told()
    client.send(client.request(3), settings())
    assert [(SETTINGS, 0)] == client.told()
    stage.clock.pump(SHORTLY)
    assert [] == client.told()


def test_opening_waits_for_no_slow_answer() -> None:
    """
    Client and upstream may be far away.
    """
    stage = Stage()
    client = Http2Client(stage, bare=True)
    client.send(PREFACE, settings(), client.request(1))
    stage.clock.pump(SHORTLY)
    assert [(SETTINGS, 0), (SETTINGS, 0)] == client.told()
    stage.exchanges[0].answer(OK, b"ok")
    assert [(HEADERS, 1), (DATA, 1)] == client.told()


def test_opening_goes_out_with_whatever_comes_first() -> None:
    """
    Nothing that the client says next is kept waiting with it.
    """
    stage = Stage()
    client = Http2Client(stage, bare=True)
    client.send(PREFACE, settings(), client.request(1))
    client.send(frame(PING, payload=bytes(8)))
    assert [(SETTINGS, 0), (SETTINGS, 0), (PING, 0)] == client.told()


def test_opening_does_not_wait_where_more_is_to_be_said_or_to_come() -> None:
    """
    A ping is answered, a client that uploads hears of our window, and one that asks for nothing of our settings.
    """
    for rest in ([], [frame(PING, payload=bytes(8))], [settings()]):
        client = Http2Client(Stage(), bare=True)
        client.send(PREFACE, settings(), *rest)
        assert [(SETTINGS, 0)] * 2 == client.told()[:2]
    for ends, more in ((False, b""), (True, frame(PING, payload=bytes(8)))):
        client = Http2Client(Stage(), bare=True)
        client.send(PREFACE, settings(), client.request(1, ends=ends), more)
        assert [(SETTINGS, 0)] * 2 == client.told()[:2]


def test_client_that_leaves_is_told_no_opening() -> None:
    """
    What waited is forgotten with the connection.
    """
    stage = Stage()
    client = Http2Client(stage, bare=True)
    client.send(PREFACE, settings(), client.request(1))
    lost(client.connection)
    stage.clock.pump(SHORTLY)
    assert [] == client.wire.writes


def test_other_protocol_is_told_and_closed() -> None:
    """
    GOAWAY goes to who doesn't speak HTTP/2 as well: behind our settings, as it must be.
    """
    client = Http2Client(Stage(), bare=True)
    client.send(b"GET / HTTP/1.1\r\nHost: click.example.com\r\n\r\n")
    assert [(SETTINGS, 0), (GOAWAY, 0, PROTOCOL_ERROR)] == client.told()
    assert ("lost", True) == (client.wire.end, client.wire.lingers)


def test_answers_of_one_turn_are_one_write() -> None:
    """
    Where others are awaited, what comes in the same turn of the reactor goes out together.
    """
    stage = Stage()
    client, other = Http2Client(stage), Http2Client(stage)
    client.send(client.request(1), client.request(3), client.request(5))
    other.send(other.request(1), other.request(3))
    for exchange in stage.exchanges[1:-1]:
        exchange.answer(OK, b"ok")
    assert ([], []) == (client.wire.writes, other.wire.writes)
    stage.clock.advance(0)
    assert (1, 1) == (len(client.wire.writes), len(other.wire.writes))
    assert [(DATA, 3), (DATA, 5), (HEADERS, 3), (HEADERS, 5)] == sorted(client.told())


def test_answers_of_the_next_turn_go_in_the_same_write() -> None:
    """
    Longer than that none waits, and no longer than until all is answered.
    """
    stage = Stage()
    client = Http2Client(stage)
    client.send(*map(client.request, (1, 3, 5, 7, 9)))
    first, second, third, *others = stage.exchanges
    first.answer(OK, b"answer")
    stage.gateway.soon(lambda: second.answer(OK, b"answer"))
    stage.gateway.soon(lambda: stage.gateway.soon(lambda: third.answer(OK, b"answer")))
    stage.clock.advance(0)
    for exchange in others:
        exchange.answer(OK, b"answer")
    assert [2, 1, 2] == [write.count(b"answer") for write in client.wire.writes]


def test_write_that_was_due_is_done_once() -> None:
    """
    Something else may have had it written already; and the connection may be gone.
    """
    stage = Stage()
    client = Http2Client(stage)
    client.send(client.request(1), client.request(3), client.request(5))
    stage.exchanges[0].answer(OK, b"ok")
    client.send(frame(PING, 0, 0, bytes(8)))
    assert [(DATA, 1), (HEADERS, 1), (PING, 0)] == sorted(client.told())
    stage.exchanges[1].answer(OK, b"ok")
    client.connection.abort()
    stage.clock.advance(0)
    assert [] == client.wire.writes


# -- a client that takes too little


def test_content_is_held_while_the_client_takes_nothing() -> None:
    """
    And the upstream with it; heads and acknowledgements still go.
    """
    stage = Stage()
    client = Http2Client(stage)
    client.wire.full_bytes = 10000
    client.send(client.request(1))
    stage.exchanges[0].begin(CHUNKED, bytes(12000))
    stage.exchanges[0].downstream.response_data(b"more")
    stage.exchanges[0].downstream.response_flush()
    assert ["pause"] == stage.exchanges[0].events
    client.wire.taken()
    client.send(frame(PING, 0, 0, bytes(8)))
    assert (ACK, 17) == (client.wire.writes[0][4], len(client.wire.value()))
    client.wire.writes.clear()
    client.wire.take_all()
    assert ([data(1, b"more")], ["pause", "resume"]) == (client.wire.writes, stage.exchanges[0].events)


def test_nothing_more_is_read_when_acknowledgements_pile_up() -> None:
    """
    64 KiB of them, for a client that reads none.
    """
    stage = Stage(LIMITS)
    client = Http2Client(stage)
    client.connection.pauseProducing()
    for at in range(40):
        stage.clock.advance(1)
        client.send(*[frame(PING, 0, 0, bytes(8))] * 20, client.request(2 * at + 1, host=b"other.example.com"))
    assert client.wire.reading
    client.connection.session.sender.say(bytes(65536))
    client.connection.flush()
    assert not client.wire.reading
    client.connection.resumeProducing()
    assert client.wire.reading


def test_client_that_takes_nothing_is_closed_in_time() -> None:
    """
    At once: there is nothing that could be told to it.
    """
    stage = Stage()
    client = Http2Client(stage)
    client.wire.full_bytes = 0
    client.send(frame(PING, 0, 0, bytes(8)))
    stage.clock.pump([WRITE_SECONDS, 0.5])
    assert "aborted" == client.wire.end


# -- deadlines


def test_connection_without_a_request_ends_in_time() -> None:
    """
    Whatever else it says.
    """
    stage = Stage()
    client = Http2Client(stage)
    for _ in range(int(LIMITS.head_seconds)):
        assert "open" == client.wire.end
        client.send(frame(PING, 0, 0, bytes(8)))
        client.said()
        stage.clock.advance(1)
    stage.clock.pump([0.5, FIRST_SECONDS])
    assert ([(GOAWAY, 0, NO_ERROR), (PING, 0), (GOAWAY, 0, NO_ERROR)], "lost") == (client.told(), client.wire.end)


def test_idle_connection_ends_in_time() -> None:
    """
    From its last answer on, in good order; pings keep nothing open.
    """
    stage = Stage()
    stage.tracking = lambda exchange: exchange.answer(OK, b"ok")
    client = Http2Client(stage)
    client.send(client.request(1))
    for _ in range(int(LIMITS.idle_seconds)):
        assert "open" == client.wire.end
        client.send(frame(PING, 0, 0, bytes(8))[:9])
        client.send(frame(PING, 0, 0, bytes(8))[9:])
        client.said()
        stage.clock.advance(1)
    stage.clock.pump([0.5, FIRST_SECONDS])
    assert ([(GOAWAY, 0, NO_ERROR), (PING, 0), (GOAWAY, 0, NO_ERROR)], "lost") == (client.told(), client.wire.end)


def test_request_that_crosses_the_end_of_an_idle_connection_is_served() -> None:
    """
    No click is lost because it came the moment the connection had been idle for long enough.
    """
    stage = Stage()
    stage.tracking = lambda exchange: exchange.answer(OK, b"ok")
    client = Http2Client(stage)
    client.send(client.request(1))
    stage.clock.advance(LIMITS.idle_seconds + 0.5)
    *_, ping = client.said()
    client.send(client.request(3), frame(PING, ACK, 0, ping.payload))
    assert [(HEADERS, 3), (GOAWAY, 0, NO_ERROR), (DATA, 3)] == client.told()
    assert ([(200, 2), (200, 2)], "lost") == (stage.logged, client.wire.end)


@pytest.mark.parametrize("rest", [frame(HEADERS, 0, 3, b"\x82"), data(1, b"abc")[:10]])
def test_frame_that_is_never_finished_takes_nobodys_answer_away(rest: bytes) -> None:
    """
    A client that loses its network in the middle of a frame, or a proxy that stood still, still gets what was asked;
    the connection ends when nothing is under way.
    """
    stage = Stage()
    client = Http2Client(stage)
    client.send(client.request(1), rest)
    client.said()
    stage.clock.pump([1.0] * 2 * int(LIMITS.head_seconds))
    stage.exchanges[0].answer(OK, b"ok")
    assert ([(HEADERS, 1), (DATA, 1)], "open") == (client.told(), client.wire.end)
    stage.clock.pump([LIMITS.idle_seconds + 0.5, FIRST_SECONDS + 0.5])
    assert "lost" == client.wire.end


def test_frames_that_go_on_have_their_time_each() -> None:
    """
    A slow upload is always in the middle of a frame.
    """
    stage = Stage()
    client = Http2Client(stage)
    client.send(client.request(1, method=b"POST", ends=False))
    content = data(1, b"abc")
    client.send(content[:5])
    for _ in range(3 * int(LIMITS.head_seconds)):
        stage.clock.advance(1)
        client.send(content[5:] + content[:5])
    assert "open" == client.wire.end


def test_long_answer_has_all_the_time_that_the_upstream_has() -> None:
    """
    While it is awaited no deadline of ours runs.
    """
    stage = Stage()
    client = Http2Client(stage)
    client.send(client.request(1))
    stage.clock.pump([10.0] * 60)
    assert "open" == client.wire.end


# -- ends


def test_client_that_leaves_abandons_its_streams() -> None:
    """
    Each is in the log.
    """
    stage = Stage()
    client = Http2Client(stage)
    client.send(client.request(1), client.request(3))
    lost(client.connection)
    assert [["abandon"], ["abandon"]] == [exchange.events for exchange in stage.exchanges]
    assert ([(499, 0)] * 2, set(), 2) == (stage.logged, stage.gateway.connections, stage.counters.client_left)
    client.connection.stopProducing()
    client.connection.resumeProducing()


def test_who_counts_connections_is_told() -> None:
    """
    As with HTTP/1, should a port ever make them.
    """

    class Counted:
        gone = 0

        def left(self) -> None:
            self.gone += 1

    client = Http2Client(Stage())
    client.connection.factory = counted = Counted()
    lost(client.connection)
    assert 1 == counted.gone


def test_client_that_says_no_more_gets_its_answers() -> None:
    """
    Requests that are complete are answered, others can't be any more.
    """
    stage = Stage()
    client = Http2Client(stage)
    client.send(client.request(1), client.request(3, method=b"POST", ends=False))
    client.connection.readConnectionLost()
    stage.clock.advance(0)
    head, _, end = client.said()
    assert (b"400", RST_STREAM) == (head.fields[b":status"], end.kind)
    stage.exchanges[0].answer(OK, b"ok")
    assert [(HEADERS, 1), (DATA, 1), (GOAWAY, 0, NO_ERROR)] == client.told()
    assert "lost" == client.wire.end


def test_client_that_says_no_more_gets_what_its_windows_take() -> None:
    """
    Nobody widens them any more: what waits for that waits in vain, and holds its upstream's connection no longer.
    """
    stage = Stage()
    client = Http2Client(stage, _4=3)
    client.send(*(client.request(stream_id) for stream_id in (1, 3, 5)))
    stage.exchanges[0].begin(CHUNKED, b"abcdef")
    client.said()
    client.connection.readConnectionLost()
    assert ([(RST_STREAM, 1, CANCEL)], ["pause", "abandon"]) == (client.told(), stage.exchanges[0].events)
    stage.exchanges[1].answer(CHUNKED, b"abc")
    stage.exchanges[2].answer(CHUNKED, b"abcd")
    stage.clock.advance(0)
    assert [(200, 3)] * 3 == stage.logged
    assert [b"abc", b"abc"] == [one.payload for one in client.said() if one.kind == DATA and one.payload]
    assert "lost" == client.wire.end


def test_client_that_says_no_more_and_is_slow_is_waited_for() -> None:
    """
    What the transport holds has its own deadline.
    """
    stage = Stage()
    client = Http2Client(stage)
    client.wire.full_bytes = 10
    client.send(client.request(1))
    client.connection.readConnectionLost()
    stage.exchanges[0].begin(CHUNKED, b"a" * 20)
    stage.exchanges[0].downstream.response_data(b"b" * 20)
    stage.exchanges[0].downstream.response_end()
    assert ([], "open") == (stage.logged, client.wire.end)
    client.wire.take_all()
    assert ([(200, 40)], "lost") == (stage.logged, client.wire.end)


def test_client_that_says_no_more_and_asked_nothing_is_closed() -> None:
    """
    There is nothing to wait for.
    """
    client = Http2Client(Stage())
    client.connection.readConnectionLost()
    assert "lost" == client.wire.end


@pytest.mark.parametrize("at_once", [True, False])
def test_farewell_is_gathered_with_the_close(at_once: bool) -> None:
    """
    Our GOAWAY, close_notify and FIN are one packet; who can close at once needs no call from the reactor to say so.
    """
    stage = Stage()
    client = Http2Client(stage)
    client.wire.closes_at_once = at_once
    client.send(frame(GOAWAY, payload=bytes(8)))
    assert (0, [(GOAWAY, 0, NO_ERROR)], "lost") == (client.wire.gathered_from, client.told(), client.wire.end)
    assert (not at_once) == (client.connection in stage.gateway.connections)


def test_error_is_not_gathered_with_the_close() -> None:
    """
    The client gets the time to read it, so it leaves at once.
    """
    client = Http2Client(Stage())
    client.send(data(1, b"x"))
    assert (None, True) == (client.wire.gathered_from, client.wire.lingers)


def test_lingering_ends_when_the_client_is_done() -> None:
    """
    After an error the client may read the GOAWAY; what it sends meanwhile is thrown away, within bounds.
    """
    stage = Stage()
    client = Http2Client(stage)
    client.send(data(1, b"x"))
    client.said()
    client.connection.writeConnectionLost()
    client.send(bytes(LINGER_BYTES))
    assert "lost" == client.wire.end
    client.connection.readConnectionLost()
    client.send(b"x")
    assert "aborted" == client.wire.end


def test_fault_in_the_code_costs_one_connection() -> None:
    """
    It is logged, and the client isn't left hanging.
    """
    stage = Stage()

    def fail(_exchange: PlayedExchange) -> None:
        raise RuntimeError

    stage.tracking = fail
    client = Http2Client(stage)
    with logged() as events:
        client.send(client.request(1))
    assert ("aborted", ["critical"]) == (client.wire.end, [level for level, _ in events])


# -- stopping


def test_idle_connection_is_drained_in_one_round_trip() -> None:
    """
    A request may be on its way.
    """
    stage = Stage()
    client = Http2Client(stage)
    client.connection.finish_soon()
    ping = client.said()[1]
    assert "open" == client.wire.end
    client.send(frame(PING, ACK, 0, ping.payload))
    assert ([(GOAWAY, 0, NO_ERROR)], "lost") == (client.told(), client.wire.end)


@pytest.mark.parametrize("asked", [False, True])
def test_drain_does_not_wait_for_ever(asked: bool) -> None:
    """
    A client that doesn't answer the ping is told the last stream all the same.
    """
    stage = Stage()
    client = Http2Client(stage)
    if asked:
        client.send(client.request(1))
    client.connection.finish_soon()
    client.said()
    stage.clock.pump([FIRST_SECONDS, 0.5])
    assert [(GOAWAY, 0, NO_ERROR)] == client.told()
    if asked:
        stage.exchanges[0].answer(OK, b"ok")
        assert [(HEADERS, 1), (DATA, 1)] == client.told()
    assert "lost" == client.wire.end


def test_connection_that_comes_while_stopping_is_served() -> None:
    """
    Its handshake was accepted: the request that comes with it is answered.
    """
    stage = Stage()
    stage.gateway.finishing = True
    client = Http2Client(stage, bare=True)
    client.send(PREFACE, settings(), client.request(1))
    told = client.said()
    assert [SETTINGS, GOAWAY, PING, SETTINGS] == [one.kind for one in told]
    client.send(frame(PING, ACK, 0, told[2].payload))
    stage.exchanges[0].answer(OK, b"ok")
    assert [(GOAWAY, 0, NO_ERROR), (HEADERS, 1), (DATA, 1)] == client.told()
    assert "lost" == client.wire.end


def test_stopping_a_closed_connection_does_nothing() -> None:
    """
    It is in good order already.
    """
    stage = Stage()
    client = Http2Client(stage)
    client.send(data(1, b"x"))
    client.said()
    client.connection.finish_soon()
    client.connection.pauseProducing()
    assert [] == client.wire.writes
    stage.clock.pump([WRITE_SECONDS, 0.5])
    assert "aborted" == client.wire.end


# -- other clients, and any bytes


class Jh2Client:
    """
    jh2's own client on a connection to *stage*'s gateway, which knows HTTP/2's rules better than a test does.
    """

    def __init__(self, stage: Stage, window_bytes: int = 65535) -> None:
        self.wire, self.connection = TlsWire(), Http2(stage.gateway)
        self.connection.makeConnection(self.wire)
        self.h2 = H2Connection(H2Configuration(client_side=True))
        self.h2.initiate_connection()
        self.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window_bytes})
        self.content: dict[int, bytes] = {}
        self.status: dict[int, bytes] = {}
        self.ended: set[int] = set()

    def exchange_bytes(self) -> None:
        """
        Carry bytes to and fro until nobody has any.
        """
        while sent := self.h2.data_to_send():
            self.connection.dataReceived(sent)
        for event in self.h2.receive_data(self.wire.taken()):
            self._take(event)
        if self.wire.writes or self.h2._data_to_send:
            self.exchange_bytes()

    def _take(self, event: Any) -> None:
        if isinstance(event, ResponseReceived):
            self.status[event.stream_id] = dict(event.headers)[b":status"]
        elif isinstance(event, DataReceived):
            self.content[event.stream_id] = self.content.get(event.stream_id, b"") + bytes(event.data)
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamEnded):
            self.ended.add(event.stream_id)


REQUESTS = st.lists(
    st.tuples(st.integers(0, 70000).map(bytes), st.integers(0, 90000), st.integers(2000, 40000)), min_size=1, max_size=4
)


@limited(max_examples=25, deadline=None)
@given(requests=REQUESTS, window=st.integers(2000, 70000), data=st.data())
def test_any_mix_of_uploads_and_answers_arrives_whole(
    requests: list[tuple[bytes, int, int]], window: int, data: st.DataObject
) -> None:
    """
    With jh2's client, which checks every window and every state, whatever comes in whatever order.
    """
    stage = Stage()
    client = Jh2Client(stage, window)
    client.exchange_bytes()
    for at, (content, _, _) in enumerate(requests):
        stream_id = 2 * at + 1
        fields = [(":method", "POST"), (":scheme", "https"), (":authority", CLICK), (":path", f"/{at}")]
        client.h2.send_headers(stream_id, fields)
        left = content
        while left:
            size = min(client.h2.local_flow_control_window(stream_id), 16384)
            client.h2.send_data(stream_id, left[:size])
            left = left[size:]
            client.exchange_bytes()
        client.h2.end_stream(stream_id)
        client.exchange_bytes()
    assert [content for content, _, _ in requests] == [exchange.content for exchange in stage.exchanges]
    steps: list[list[Callable[[], object]]] = []
    for exchange, (_, size, piece) in zip(stage.exchanges, requests, strict=True):
        downstream = exchange.downstream
        steps.append([lambda exchange=exchange: exchange.begin(CHUNKED)])  # type: ignore[misc]
        for begin in range(0, size, piece):
            part = bytes([begin % 251]) * min(piece, size - begin)
            steps[-1].append(lambda d=downstream, p=part: (d.response_data(p), d.response_flush()))  # type: ignore[misc]
        steps[-1].append(downstream.response_end)
    while waiting := [left for left in steps if left]:
        data.draw(st.sampled_from(waiting)).pop(0)()
        client.exchange_bytes()
    stage.clock.advance(0)
    client.exchange_bytes()
    for at, (_, size, piece) in enumerate(requests):
        whole = b"".join(bytes([begin % 251]) * min(piece, size - begin) for begin in range(0, size, piece))
        assert (b"200", whole) == (client.status[2 * at + 1], client.content.get(2 * at + 1, b""))
    assert {2 * at + 1 for at in range(len(requests))} == client.ended


def test_client_with_a_window_of_its_own_mind_keeps_to_ours() -> None:
    """
    However long the upstream takes nothing, jh2's client sends no more than its stream may, and then the rest.
    """
    stage = Stage()
    client = Jh2Client(stage)
    client.exchange_bytes()
    fields = [(":method", "POST"), (":scheme", "https"), (":authority", CLICK), (":path", "/slow")]
    client.h2.send_headers(1, fields)
    client.exchange_bytes()
    (exchange,) = stage.exchanges
    exchange.downstream.pause_request()
    sent = 0
    for _ in range(100):
        size = min(client.h2.local_flow_control_window(1), 16384)
        client.h2.send_data(1, bytes(size))
        sent += size
        client.exchange_bytes()
    assert (65535, 65535, [], set()) == (sent, len(exchange.content), stage.logged, client.ended)
    exchange.downstream.resume_request()
    client.exchange_bytes()
    assert client.h2.local_flow_control_window(1) > 32767


FRAMES = st.builds(
    frame,
    st.integers(0, 11),
    st.integers(0, 255),
    st.sampled_from([0, 1, 1, 2, 3, 5, 2**31 - 1]),
    st.binary(max_size=24) | st.sampled_from([bytes(4), bytes(5), bytes(8), b"\x82\x84\x87\x41\x01a"]),
)


@given(frames=st.lists(FRAMES, max_size=12), begin=st.integers(0, 3), answer=st.booleans())
def test_any_frames_leave_the_connection_in_order(frames: list[bytes], begin: int, answer: bool) -> None:
    """
    Nothing is raised, nothing is left behind: every exchange is answered or abandoned, and in the log once.
    """
    stage = Stage()
    client = Http2Client(stage)
    with logged() as events:
        client.send(*[client.request(2 * at + 1, ends=at != 1) for at in range(begin)])
        for raw in frames:
            client.send(raw)
            if answer and stage.exchanges and not stage.exchanges[0].events:
                stage.exchanges[0].events.append("answered")
                stage.exchanges[0].answer(OK, b"ok")
        lost(client.connection)
        stage.clock.advance(0)
    assert [] == events
    assert len(stage.log.entries) == stage.counters.requests
    assert all({"abandon", "answered"} & set(exchange.events) for exchange in stage.exchanges)
    assert {} == client.connection.session.streams
    assert [0] * 6 == [
        len(queue)
        for queue in (
            stage.gateway.head,
            stage.gateway.idle,
            stage.gateway.body,
            stage.gateway.write,
            stage.gateway.first,
            stage.gateway.linger,
        )
    ]


def test_memory_of_a_large_transfer_is_flat() -> None:
    """
    What is held of 32 MiB each way is a window or a read.
    """
    stage = Stage()
    client = Http2Client(stage)
    client.send(client.request(1, method=b"POST", ends=False))
    exchange = stage.exchanges[0]
    exchange.begin(CHUNKED)
    most = 0
    for at in range(512):
        if at % 2:
            client.send(*[data(1, bytes(16384))] * 2)
            exchange.content = b""
        if "pause" not in exchange.events[-1:]:
            exchange.downstream.response_data(bytes(65536))
            exchange.downstream.response_flush()
        stream = client.connection.session.streams[1]
        most = max(most, len(stream.outflow.waiting))
        sent = sum(len(piece) for piece in client.wire.writes)
        client.wire.writes.clear()
        if sent:
            client.send(window_update(1, sent), window_update(0, sent))
    assert 0 < most <= 65536

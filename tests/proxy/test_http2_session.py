from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import settings as limited
from hypothesis import strategies as st

from sptls.config import LimitsConfig
from sptls.proxy.held_content import HeldContent
from sptls.proxy.http2_session import CONCURRENT_STREAMS, NOISE, RESETS, STREAMS_BYTES
from sptls.proxy.upstream_http1 import LITTLE_BYTES, READ_BYTES
from tests.proxy.http2_client import (
    ACK,
    CALM,
    COMPRESSION_ERROR,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    GOAWAY,
    HEADERS,
    NO_ERROR,
    PADDED,
    PING,
    PRIORITY,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    STREAM_CLOSED,
    Http2Client,
    data,
    frame,
    reset,
    settings,
    window_update,
)
from tests.proxy.wire import OK, PlayedExchange, Stage, TlsWire, lost, response_head


def _ok(exchange: PlayedExchange) -> None:
    exchange.answer(OK, b"ok")


def _answering() -> Stage:
    """
    Give a stage whose tracking service answers at once.
    """
    stage = Stage()
    stage.tracking = _ok
    return stage


# -- requests


def test_requests_run_side_by_side() -> None:
    """
    The second is answered before the first.
    """
    stage = Stage()
    client = Http2Client(stage)
    client.send(client.request(1, path=b"/1"), client.request(3, path=b"/2"))
    stage.exchanges[1].answer(OK, b"ok")
    stage.clock.advance(0)
    assert [(HEADERS, 3), (DATA, 3)] == client.told()
    stage.exchanges[0].answer(OK, b"ok")
    assert [(HEADERS, 1), (DATA, 1)] == client.told()
    assert (2, 2) == (stage.counters.requests, stage.counters.answers[2])


def test_target_reaches_the_upstream_byte_for_byte() -> None:
    """
    As with HTTP/1.
    """
    stage = Stage()
    client = Http2Client(stage)
    target = b'/f/a%2Fb~x%3D%3d;p=1/%7Eu+v?target=http%3A%2F%2Fx#\xe4"<'
    client.send(client.request(1, path=target))
    assert b"GET %b HTTP/1.1\r\nHost: click.example.com\r\n" % target in stage.exchanges[0].head_bytes


@pytest.mark.parametrize(
    ("host", "wire"), [(b"other.example.com", TlsWire()), (b"click.example.com", TlsWire("x.example.com"))]
)
def test_other_hosts_are_misdirected(host: bytes, wire: TlsWire) -> None:
    """
    A name that isn't ours, or that the connection's certificate doesn't stand for (RFC 9110 §15.5.20).
    """
    stage = Stage()
    client = Http2Client(stage, wire)
    client.send(client.request(1, host=host))
    assert (b"421", []) == (client.said()[0].fields[b":status"], stage.exchanges)


def test_malformed_request_is_answered_and_the_connection_goes_on() -> None:
    """
    It is the stream's fault alone (RFC 9113 §8.1.1), and in the log.
    """
    stage = Stage()
    client = Http2Client(stage)
    client.send(client.request(1, (b"transfer-encoding", b"chunked"), ends=False), client.request(3))
    head, _, end = client.said()
    assert (b"400", RST_STREAM, NO_ERROR) == (head.fields[b":status"], end.kind, end.number)
    assert (1, b"GET /f/a HTTP/2.0") == (len(stage.exchanges), stage.log.entries[0].request_line)


@pytest.mark.parametrize(
    "field",
    [
        (b"x", b"y\r\nTransfer-Encoding: chunked"),
        (b"x\r\ny", b"z"),
        (b"x", b"y\nz"),
        (b"x: y\r\nz", b""),
        (b"content-length", b"5\r\nx: y"),
        (b"content-length", b"5, 6"),
    ],
)
def test_line_ends_never_reach_the_upstream(field: tuple[bytes, bytes]) -> None:
    """
    One HTTP/2 request never becomes two of HTTP/1.
    """
    stage = Stage()
    client = Http2Client(stage)
    client.send(client.request(1, field, method=b"POST", ends=False))
    assert (b"400", []) == (client.said()[0].fields[b":status"], stage.exchanges)


def test_large_head_is_refused_on_its_stream() -> None:
    """
    431, as long as it isn't several times too large.
    """
    stage = Stage()
    client = Http2Client(stage)
    block = client.block(
        (b":method", b"GET"), (b":scheme", b"https"), (b":path", b"/"), (b":authority", b"click.example.com"),
        (b"x", b"a" * 50000),
    )  # fmt: skip
    pieces = [block[at : at + 16384] for at in range(0, len(block), 16384)]
    client.send(frame(HEADERS, END_STREAM, 1, pieces[0]))
    client.send(*[frame(CONTINUATION, 0, 1, piece) for piece in pieces[1:]], frame(CONTINUATION, END_HEADERS, 1))
    assert b"431" == client.said()[0].fields[b":status"]
    client.send(client.request(3))
    assert 1 == len(stage.exchanges)


def test_header_list_bomb_ends_the_connection() -> None:
    """
    A few bytes that stand for many are not decoded to the end.
    """
    stage = Stage(LimitsConfig(head_bytes=8192))
    client = Http2Client(stage)
    block = client.block((b"x", b"a" * 3000))
    client.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, block + b"\xbe" * 20))
    assert ([(GOAWAY, 0, CALM)], "lost") == (client.told(), client.wire.end)


def test_broken_header_block_ends_the_connection() -> None:
    """
    Nothing after it could be decoded.
    """
    client = Http2Client(Stage())
    client.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xbe"))
    assert [(GOAWAY, 0, COMPRESSION_ERROR)] == client.told()


def test_too_many_streams_are_refused_and_may_be_tried_again() -> None:
    """
    REFUSED_STREAM says that nothing was done; the others go on.
    """
    stage = Stage()
    client = Http2Client(stage)
    client.send(*[client.request(2 * at + 1) for at in range(CONCURRENT_STREAMS)])
    assert ([], CONCURRENT_STREAMS) == (client.told(), len(stage.exchanges))
    client.send(client.request(201), data(201, b"crossed it", ends=True))
    assert [(RST_STREAM, 201, REFUSED_STREAM)] == client.told()
    stage.exchanges[0].answer(OK, b"ok")
    stage.clock.advance(0)
    client.send(client.request(203))
    assert CONCURRENT_STREAMS + 1 == len(stage.exchanges)


# -- frames


def test_settings_are_answered() -> None:
    """
    And ours are sent first, a stream's window among them: what clients take for the default is not always 65,535.
    """
    client = Http2Client(Stage(), bare=True)
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings(_4=1))
    ours, ack = client.said()
    assert (SETTINGS, 0, SETTINGS, ACK) == (ours.kind, ours.flags, ack.kind, ack.flags)
    values = dict(struct.iter_unpack(">HI", ours.payload))
    assert {3: CONCURRENT_STREAMS, 4: 65535, 6: LimitsConfig().head_bytes, 9: 1} == values


def test_initial_window_applies_to_streams_that_are_open() -> None:
    """
    Up and down (RFC 9113 §6.9.2).
    """
    stage = Stage()
    client = Http2Client(stage, _4=2)
    client.send(client.request(1))
    stage.exchanges[0].answer(OK, b"ok")
    client.send(client.request(3))
    stage.exchanges[1].begin(b"HTTP/1.1 200 OK\r\n\r\n", b"abcd")
    assert [b"ok", b"ab"] == [one.payload for one in client.said() if one.kind == DATA]
    client.send(settings(_4=3))
    assert [b"c"] == [one.payload for one in client.said() if one.kind == DATA]
    client.send(settings(_4=0), window_update(3, 3))
    assert [] == [one.payload for one in client.said() if one.kind == DATA]
    client.send(window_update(3, 1))
    assert [b"d"] == [one.payload for one in client.said() if one.kind == DATA]


def test_initial_window_that_makes_a_window_too_large() -> None:
    """
    It is a connection error (RFC 9113 §6.9.2).
    """
    stage = Stage()
    client = Http2Client(stage)
    client.send(client.request(1), window_update(1, 2**30))
    client.send(settings(_4=2**31 - 1))
    assert [(GOAWAY, 0, FLOW_CONTROL_ERROR)] == client.told()


def test_header_table_is_as_small_as_the_client_wants() -> None:
    """
    The client's own decoder checks it.
    """
    stage = _answering()
    client = Http2Client(stage, _1=0)
    client._decoder.max_allowed_table_size = 0
    client.send(client.request(1), client.request(3))
    heads = [one.fields for one in client.said() if one.kind == HEADERS]
    assert [b"200", b"200"] == [fields[b":status"] for fields in heads]


def test_ping_is_answered() -> None:
    """
    With its own payload; an answer of the client's to nothing is ignored.
    """
    client = Http2Client(Stage())
    client.send(frame(PING, 0, 0, b"abcdefgh"), frame(PING, ACK, 0, b"abcdefgh"))
    (pong,) = client.said()
    assert (PING, ACK, b"abcdefgh") == (pong.kind, pong.flags, pong.payload)


def test_window_update_that_is_too_large_resets_the_stream() -> None:
    """
    On the connection it is the connection's fault (RFC 9113 §6.9.1).
    """
    stage = Stage()
    client = Http2Client(stage)
    client.send(client.request(1), window_update(1, 2**31 - 1))
    assert [(RST_STREAM, 1, FLOW_CONTROL_ERROR)] == client.told()
    client.send(window_update(0, 2**31 - 1))
    assert [(GOAWAY, 0, FLOW_CONTROL_ERROR)] == client.told()


def test_connections_window_is_kept() -> None:
    """
    More than was allowed is an error, whoever it is for.
    """
    client = Http2Client(Stage())
    client.connection.session._inflow.receive(65535)
    client.send(client.request(1, ends=False), data(1, b"x"))
    assert (GOAWAY, 0, FLOW_CONTROL_ERROR) == client.told()[-1]


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (data(5, b"x"), PROTOCOL_ERROR),
        (reset(5), PROTOCOL_ERROR),
        (window_update(5, 1), PROTOCOL_ERROR),
        (window_update(2, 1), PROTOCOL_ERROR),
        (reset(2), PROTOCOL_ERROR),
        (data(1, b"x"), STREAM_CLOSED),
        (frame(PUSH_PROMISE, END_HEADERS, 1, bytes(4) + b"\x82"), PROTOCOL_ERROR),
    ],
)
def test_frame_on_a_stream_that_is_not_there(raw: bytes, code: int) -> None:
    """
    On a stream that was never begun, or that the client has ended itself.
    """
    client = Http2Client(_answering())
    client.send(client.request(1))
    client.said()
    client.send(raw)
    assert ([(GOAWAY, 0, code)], "lost", True) == (client.told(), client.wire.end, client.wire.lingers)


@pytest.mark.parametrize("stream_id", [1, 3, 4])
def test_request_on_a_stream_that_can_not_be_new(stream_id: int) -> None:
    """
    Streams are begun with odd numbers, in order (RFC 9113 §5.1.1).
    """
    stage = _answering()
    client = Http2Client(stage)
    client.send(client.request(3))
    client.said()
    client.send(client.request(stream_id))
    assert [(GOAWAY, 0, PROTOCOL_ERROR if stream_id == 4 else STREAM_CLOSED)] == client.told()
    assert 1 == len(stage.exchanges)


@pytest.mark.parametrize("raw", [reset(1), window_update(1, 1), frame(PRIORITY, 0, 9, bytes(5)), frame(0xBE)])
def test_late_or_needless_frame_is_ignored(raw: bytes) -> None:
    """
    It crossed the answer, or means nothing to us.
    """
    client = Http2Client(_answering())
    client.send(client.request(1))
    client.said()
    client.send(raw)
    assert ([], "open") == (client.told(), client.wire.end)


def test_trailers_that_crossed_an_answer_are_ignored() -> None:
    """
    Their block is decoded all the same, for the next one's sake.
    """
    stage = _answering()
    client = Http2Client(stage)
    client.send(client.request(1, method=b"POST", ends=False))
    client.said()
    client.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, client.block((b"x-new", b"1"))))
    client.send(client.request(3, (b"x-new", b"1")))
    assert (2, "open") == (len(stage.exchanges), client.wire.end)
    assert b"x-new: 1\r\n" in stage.exchanges[1].head_bytes


def test_what_is_ignored_is_bounded() -> None:
    """
    A stream that was over long ago is forgotten.
    """
    stage = _answering()
    client = Http2Client(stage)
    for at in range(201):
        client.send(client.request(2 * at + 1, method=b"POST", ends=False))
    client.said()
    client.send(data(3, b"late"))
    assert [] == client.told()
    client.send(data(1, b"later"))
    assert [(GOAWAY, 0, STREAM_CLOSED)] == client.told()


# -- floods


@pytest.mark.parametrize(
    "raw",
    [
        frame(PING, 0, 0, bytes(8)),
        frame(PING, ACK, 0, bytes(8)),
        settings(),
        settings(_1=0),
        frame(SETTINGS, ACK),
        window_update(0, 1),
        window_update(1, 1),
        frame(PRIORITY, 0, 1, bytes(5)),
        frame(0xBE, 0, 1),
        data(1),
        frame(DATA, PADDED, 1, b"\1\0"),
        frame(GOAWAY, 0, 0, bytes(8)),
    ],
)
def test_flood_of_useless_frames_ends_the_connection(raw: bytes) -> None:
    """
    After a burst that no client needs (CVE-2019-9512, 9515, 9517, 9518); at a client's pace it goes on for ever.
    """
    stage = Stage()
    client = Http2Client(stage)
    client.send(client.request(1, method=b"POST", ends=False))
    for at in range(3 * NOISE):
        stage.clock.advance(0.05)
        client.send(raw, 2 * data(1, bytes(15_000)) if at % 1000 == 0 else b"")
        client.wire.taken()
    assert "open" == client.wire.end
    for _ in range(NOISE + 10):
        if client.wire.end == "open":
            client.send(raw)
    assert "lost" == client.wire.end
    assert CALM == int.from_bytes(client.wire.value()[-4:], "big")


def test_rapid_reset_ends_the_connection() -> None:
    """
    Requests that are begun to be reset cost the upstream more than the client (CVE-2023-44487).
    """
    stage = Stage()
    client = Http2Client(stage)
    for at in range(2 * RESETS):
        if client.wire.end == "open":
            client.send(client.request(2 * at + 1), reset(2 * at + 1))
    assert "lost" == client.wire.end
    assert (GOAWAY, 0, CALM) == client.told()[-1]
    assert RESETS + 1 == len(stage.exchanges)
    assert all(exchange.events == ["abandon"] for exchange in stage.exchanges)


def test_resets_that_we_are_made_to_send_count_too() -> None:
    """
    MadeYouReset (CVE-2025-8671): a window that is widened too far costs what a reset costs; so do malformed requests.
    """
    stage = Stage()
    client = Http2Client(stage)
    for at in range(RESETS):
        stream_id = 2 * at + 1
        client.send(client.request(stream_id), window_update(stream_id, 2**31 - 1))
    assert "open" == client.wire.end
    client.send(client.request(2 * RESETS + 1, path=b""))
    assert (GOAWAY, 0, CALM) == client.told()[-1]


def test_resets_among_answers_are_fine() -> None:
    """
    Who reads most of what it asks for may change its mind as often as it likes.
    """
    stage = Stage()
    client = Http2Client(stage)
    for at in range(3 * RESETS):
        client.send(client.request(4 * at + 1), client.request(4 * at + 3))
        stage.exchanges[-1].answer(OK, b"ok")
        client.send(reset(4 * at + 1))
        client.wire.taken()
    assert "open" == client.wire.end


def test_download_pays_for_its_window_updates() -> None:
    """
    A large answer takes thousands of them.
    """
    stage = Stage()
    client = Http2Client(stage)
    client.send(client.request(1))
    exchange = stage.exchanges[0]
    exchange.begin(b"HTTP/1.1 200 OK\r\n\r\n")
    for _ in range(3 * NOISE):
        exchange.downstream.response_data(bytes(8192))
        exchange.downstream.response_flush()
        client.send(window_update(1, 8192), window_update(0, 8192))
        client.wire.taken()
    assert "open" == client.wire.end


# -- what is held


class Tracking:
    """
    A tracking service with *size* bytes for each of *client*'s streams, as far as it is read: 64 KiB at a time, or 4.
    """

    def __init__(self, stage: Stage, client: Http2Client, size: int) -> None:
        self.stage, self.client, self.size = stage, client, size
        self.sent: list[int] = []
        self.got: dict[int, int] = {}

    def ask(self, streams: int) -> None:
        """
        Begin so many more streams.
        """
        for _ in range(streams):
            self.client.send(self.client.request(2 * len(self.sent) + 1))
            self.stage.exchanges[-1].downstream.response_head(response_head(b"HTTP/1.1 200 OK\r\n\r\n"))
            self.sent.append(0)

    def answer(self) -> None:
        """
        Send one read's worth on every stream that is read.
        """
        for at, exchange in enumerate(self.stage.exchanges):
            told = [event for event in exchange.events if event in {"pause", "resume"}]
            is_little = [event for event in exchange.events if event in {"little", "much"}][-1:] == ["little"]
            if self.sent[at] == self.size or told[-1:] == ["pause"] or "abandon" in exchange.events:
                continue
            piece = bytes(min(self.size - self.sent[at], LITTLE_BYTES if is_little else READ_BYTES))
            self.sent[at] += len(piece)
            exchange.downstream.response_data(piece)
            if self.sent[at] == self.size:
                exchange.downstream.response_end()
            else:
                exchange.downstream.response_flush()
        self.stage.clock.advance(0)

    def read(self) -> None:
        """
        Have the client read what was written.
        """
        for one in self.client.said():
            if one.kind == DATA:
                self.got[one.stream_id] = self.got.get(one.stream_id, 0) + len(one.payload)

    @property
    def held_bytes(self) -> int:
        """
        Give what waits on all streams.
        """
        waiting_bytes = sum(len(stream.outflow.waiting) for stream in self.client.connection.session.streams.values())
        assert waiting_bytes == self.client.connection.session.sender.waiting_bytes
        return waiting_bytes


@pytest.mark.parametrize("window_bytes", [0, 1], ids=["no window", "a window of one byte"])
def test_streams_hold_little_when_much_is_held_on_all(window_bytes: int) -> None:
    """
    A hundred answers of which none is taken: 256 KiB, a read more, and a little one of each other stream.
    """
    stage = Stage()
    tracking = Tracking(stage, Http2Client(stage, _4=window_bytes), 60_000)
    tracking.ask(50)
    tracking.answer()
    tracking.ask(50)
    tracking.answer()
    assert STREAMS_BYTES < tracking.held_bytes < STREAMS_BYTES + READ_BYTES + 100 * LITTLE_BYTES
    assert stage.gateway.held.total_bytes == tracking.client.connection.held_bytes
    tracking.client.send(settings(_4=1 << 20), window_update(0, 1 << 24))
    tracking.answer()
    assert ["little", "pause", "resume", "much"] == stage.exchanges[-1].events


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(1, 20)),
        st.tuples(st.just("answer"), st.just(0)),
        st.tuples(st.just("widen"), st.integers(1, 200_000)),
        st.tuples(st.integers(0, 30), st.integers(1, 100_000)),
        st.tuples(st.just("initial"), st.integers(0, 100_000)),
        st.tuples(st.just("take"), st.just(0)),
        st.tuples(st.just("reset"), st.integers(0, 30)),
    ),
    max_size=30,
)


@limited(deadline=None)
@given(_STEPS, st.sampled_from([0, 1, 65535]), st.sampled_from([3000, 70_000, 150_000]))
def test_no_order_of_window_updates_is_a_deadlock(
    steps: list[tuple[str | int, int]], window_bytes: int, size: int
) -> None:
    """
    Each stream is read as long as nothing of it waits; what is held is bounded, in the account, and nothing in the end.
    """
    stage, wire = Stage(), TlsWire()
    wire.full_bytes = 65536
    tracking = Tracking(stage, client := Http2Client(stage, wire, _4=window_bytes), size)
    streams, unwanted = client.connection.session.streams, set[int]()
    for step, value in steps:
        if step == "ask":
            tracking.ask(min(value, 100 - len(tracking.sent)))
        elif step == "answer":
            tracking.answer()
        elif step == "widen":
            client.send(window_update(0, value))
        elif step == "initial":
            client.send(settings(_4=value))
        elif step == "take":
            wire.take_all()
        elif step == "reset" and value < len(tracking.sent):
            client.send(reset(2 * value + 1))
            unwanted.add(2 * value + 1)
        elif isinstance(step, int) and step < len(tracking.sent):
            client.send(window_update(2 * step + 1, value))
        tracking.read()
        assert tracking.held_bytes <= STREAMS_BYTES + READ_BYTES + 100 * LITTLE_BYTES
        assert stage.gateway.held.total_bytes == client.connection.held_bytes
        for stream in streams.values():
            paused = stage.exchanges[stream.outflow.stream_id // 2].events[-1:] == ["pause"]
            assert stream.outflow.has_to_send or not paused
    client.send(settings(_4=1 << 20), window_update(0, 1 << 30))
    for _ in range(1000):
        tracking.answer()
        wire.take_all()
        tracking.read()
        if not streams:
            break
    wire.take_all()
    complete = {stream_id for stream_id, got in tracking.got.items() if got == size}
    assert {2 * at + 1 for at in range(len(tracking.sent))} - unwanted <= complete
    assert (0, 0, 0) == (len(streams), tracking.held_bytes, stage.gateway.held.total_bytes)


@pytest.mark.parametrize("is_paused", [False, True])
def test_client_for_whom_too_much_is_held_is_sent_away(is_paused: bool) -> None:
    """
    It is told why where it takes anything, and its upstreams are given up.
    """
    stage = Stage()
    stage.gateway.held = HeldContent(stage.clock.callLater, stage.clock.seconds, stage.counters, 100_000)
    wire = TlsWire()
    tracking = Tracking(stage, client := Http2Client(stage, wire, _4=0), 200_000)
    tracking.ask(2)
    if is_paused:
        client.connection.pauseProducing()
    tracking.answer()
    if is_paused:
        assert "aborted" == wire.end
    else:
        assert ([(GOAWAY, 0, CALM)], True, "lost") == (client.told()[-1:], wire.lingers, wire.end)
        client.connection.let_go()  # what it was told isn't taken either
        assert "aborted" == wire.end
    lost(client.connection)
    assert [["pause", "abandon"]] * 2 == [exchange.events for exchange in stage.exchanges]
    assert (0, 1) == (stage.gateway.held.total_bytes, stage.counters.held_too_much)


def test_uploads_that_no_upstream_has_taken_are_in_the_account() -> None:
    """
    Those of all streams.
    """
    stage = Stage()
    client = Http2Client(stage)
    client.wire.take_all()
    for stream_id in (1, 3):
        client.send(client.request(stream_id, method=b"POST", ends=False))
        stage.exchanges[-1].held_bytes = 4
        client.send(data(stream_id, b"abcd"))
    before = stage.gateway.held.total_bytes
    stage.exchanges[0].held_bytes = 0
    client.send(reset(3))
    assert (8, 0) == (before, stage.gateway.held.total_bytes)


def test_frames_that_are_not_complete_are_in_the_account() -> None:
    """
    And so are header blocks; until the rest of them has come.
    """
    stage = Stage()
    client = Http2Client(stage)
    client.wire.take_all()
    request = client.request(1)
    block = request[9:]
    pieces = frame(HEADERS, END_STREAM, 1, block[:5]), frame(CONTINUATION, END_HEADERS, 1, block[5:])
    sizes = []
    for piece in (pieces[0][:11], pieces[0][11:], pieces[1][:9], pieces[1][9:]):
        client.send(piece)
        sizes.append(stage.gateway.held.total_bytes)
    assert ([11, 5, 14, 0], 1) == (sizes, len(stage.exchanges))


# -- ends


def test_goaway_of_the_clients_ends_the_connection_after_its_streams() -> None:
    """
    What it asked for before is answered.
    """
    stage = Stage()
    client = Http2Client(stage)
    client.send(client.request(1), frame(GOAWAY, 0, 0, bytes(8)))
    assert ([], "open") == (client.told(), client.wire.end)
    stage.exchanges[0].answer(OK, b"ok")
    assert ([(HEADERS, 1), (DATA, 1), (GOAWAY, 0, NO_ERROR)], "lost") == (client.told(), client.wire.end)


def test_drain_loses_no_request_that_was_on_its_way() -> None:
    """
    GOAWAY in two steps: what came before the client could know is served, what comes later may be sent elsewhere.
    """
    stage = Stage()
    client = Http2Client(stage)
    client.send(client.request(1))
    client.connection.finish_soon()
    client.connection.finish_soon()
    away, ping = client.said()
    assert (GOAWAY, 2**31 - 1, NO_ERROR) == (away.kind, int.from_bytes(away.payload[:4], "big"), away.number)
    client.send(client.request(3))
    client.send(frame(PING, ACK, 0, ping.payload))
    (away,) = client.said()
    assert (GOAWAY, 3, NO_ERROR) == (away.kind, int.from_bytes(away.payload[:4], "big"), away.number)
    client.send(client.request(5))
    assert [(RST_STREAM, 5, REFUSED_STREAM)] == client.told()
    for exchange in stage.exchanges:
        exchange.answer(OK, b"ok")
    stage.clock.advance(0)
    assert [(DATA, 1), (DATA, 3), (HEADERS, 1), (HEADERS, 3)] == sorted(client.told())
    assert ("lost", 2) == (client.wire.end, len(stage.exchanges))

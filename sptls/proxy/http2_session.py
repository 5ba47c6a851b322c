"""
What a client says on an HTTP/2 connection, frame by frame, and the streams that come of it (RFC 9113 §5, §6).

Decides what each frame means where it comes, what is a stream's fault and what the connection's, and when a client has
done too much that is of no use. Reads no socket and writes none: `http2` does, and has the deadlines.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from sptls.proxy import http2_frames as frames
from sptls.proxy.head import Malformed
from sptls.proxy.http2_budget import Budget
from sptls.proxy.http2_flow import Inflow, Sender
from sptls.proxy.http2_frames import DEFAULT_WINDOW_BYTES, MAX_STREAM_ID, ErrorCode, Http2Error, Setting
from sptls.proxy.http2_head import request_head
from sptls.proxy.http2_hpack import FieldDecoder, FieldEncoder
from sptls.proxy.http2_reader import Data, FrameReader, GoAway, Headers, Noise, Ping, Reset, Settings, WindowUpdate
from sptls.proxy.http2_stream import Http2Stream
from sptls.proxy.route import decide

if TYPE_CHECKING:
    from collections.abc import Callable

    from sptls.proxy.http2 import Http2

# RFC 9113 §6.5.2 recommends no fewer, and nginx, Apache and browsers have as many or a few more.
CONCURRENT_STREAMS: Final = 100
# A person who closes a page resets what it was loading: all its streams at once, seldom twice a minute.
RESETS: Final = 100
_RESETS_PER_SECOND: Final = 2.0
# Window updates are most of it: one or two for each frame of a large answer, earned back by its bytes.
NOISE: Final = 1000
_NOISE_PER_SECOND: Final = 20.0
_BYTES_PER_NOISE: Final = 1024
# Streams that ended while the client may have been sending on them: twice what can be under way.
_IGNORED_STREAMS: Final = 2 * CONCURRENT_STREAMS
# Multiples of `limits.head_bytes`. What a block may have, compressed badly, and what its list may have before it is
# decoded no further; between the limit and that, a request gets its 431.
_BLOCK_HEADS: Final = 2
_LIST_HEADS: Final = 4
# Looked up for each setting of each client.
_HEADER_TABLE_SIZE: Final = int(Setting.HEADER_TABLE_SIZE)
_INITIAL_WINDOW_SIZE: Final = int(Setting.INITIAL_WINDOW_SIZE)
# Our settings, and the acknowledgement of the client's, which are the first that it says.
_OPENING_FRAMES: Final = 2
# How much of the answers may wait on all streams before the upstreams are read little by little: four streams' whole
# reads. Nobody is kept from reading by other streams: their client may be waiting for this one first.
STREAMS_BYTES: Final = 256 << 10
# The PING whose answer shows that the client has seen the first GOAWAY.
_DRAIN: Final = b"sptls go"


class Http2Session:
    """
    The streams of *connection*, and what they share; *sender* has what is to be written.

    *is_draining*: the client was told to begin nothing more, and may not know yet. *is_ending*: it begins nothing more.
    *is_full*: `STREAMS_BYTES` of answers wait.
    """

    __slots__ = (
        "_decoder",
        "_highest",
        "_ignored",
        "_inflow",
        "_last",
        "_noise",
        "_resets",
        "connection",
        "encoder",
        "is_draining",
        "is_ending",
        "is_full",
        "reader",
        "sender",
        "streams",
    )

    def __init__(self, connection: Http2) -> None:
        self.connection = connection
        head_bytes, now = connection.gateway.limits.head_bytes, connection.gateway.seconds()
        self.streams: dict[int, Http2Stream] = {}
        self.sender, self.encoder = Sender(), FieldEncoder()
        self.reader, self._decoder = FrameReader(_BLOCK_HEADS * head_bytes), FieldDecoder(_LIST_HEADS * head_bytes)
        self._inflow = Inflow()
        self._noise, self._resets = Budget(NOISE, _NOISE_PER_SECOND, now), Budget(RESETS, _RESETS_PER_SECOND, now)
        # The highest stream that was begun, and the highest that will be, once that is said.
        self._highest, self._last = 0, MAX_STREAM_ID
        self._ignored: dict[int, None] = {}
        self.is_draining = self.is_ending = self.is_full = False
        self.sender.say(_our_settings(head_bytes))

    # -- the connection's side

    @property
    def was_used(self) -> bool:
        """
        Tell whether a request ever came.
        """
        return self._highest > 0

    @property
    def has_only_opened(self) -> bool:
        """
        Tell whether no more is to be said than both sides' settings ask for, while every request is passed on whole.
        """
        return (
            self.sender.frame_count == _OPENING_FRAMES
            and bool(self.streams)
            and all(stream.ended for stream in self.streams.values())
        )

    def receive(self, data: bytes) -> None:
        """
        Take what the client sent.

        Raises:
            Http2Error: it broke the protocol; the connection must be given up.
        """
        for event in self.reader.feed(data):
            _TAKERS[type(event)](self, event)

    def wrote(self, size: int) -> None:
        """
        Take note that *size* bytes were written: a client says more when it gets more.
        """
        self._noise.earn(size // _BYTES_PER_NOISE)

    def emptied(self, stream_id: int) -> None:
        """
        Take note that nothing is left of what a stream had to send.
        """
        stream = self.streams.get(stream_id)
        if stream is not None:
            stream.emptied()
        if self.is_full:
            self.weigh()

    def begin_drain(self) -> None:
        """
        Tell the client to begin nothing more; what is on its way is served until it has seen that (RFC 9113 §6.8).
        """
        if not self.is_draining and not self.is_ending:
            self.is_draining = True
            self.sender.say(frames.go_away(MAX_STREAM_ID, ErrorCode.NO_ERROR))
            self.sender.say(frames.ping(_DRAIN, ack=False))

    def end_drain(self) -> None:
        """
        Say the last stream: what came until now will be answered, nothing after it.
        """
        self.is_draining, self.is_ending = False, True
        self._last = self._highest
        self.sender.say(frames.go_away(self._last, ErrorCode.NO_ERROR))

    def give_up(self, code: ErrorCode) -> None:
        """
        End all streams, and say why.
        """
        self.leave_streams()
        if code is not ErrorCode.NO_ERROR or self._last == MAX_STREAM_ID:  # else it was said
            self.sender.say(frames.go_away(self._highest, code))

    def leave_streams(self) -> None:
        """
        End all streams: the client is gone, or will be.
        """
        for stream in list(self.streams.values()):
            stream.client_left()

    # -- the streams' side

    def answered(self) -> None:
        """
        Take note that a request was answered to the end.
        """
        self._resets.earn()

    def weigh(self) -> None:
        """
        Have all upstreams read little while much waits, until half of it went.
        """
        if not self.is_full and self.sender.waiting_bytes > STREAMS_BYTES:
            self.connection.flush()  # it may wait for no more than this turn's end
        is_full = self.sender.waiting_bytes > (STREAMS_BYTES // 2 if self.is_full else STREAMS_BYTES)
        if is_full is not self.is_full:
            self.is_full = is_full
            for stream in self.streams.values():
                if stream.upstream is not None:
                    stream.upstream.read_little(is_full)

    def stream_over(self, stream: Http2Stream) -> None:
        """
        Forget *stream*; what still comes on it, unless the client has ended it, is ignored.
        """
        stream_id = stream.outflow.stream_id
        if not stream.outflow.is_over:
            self.sender.drop(stream.outflow)
        self.streams.pop(stream_id, None)
        if self.is_full:
            self.weigh()
        if not stream.ended:
            self._ignore(stream_id)

    # -- what the client says

    def _take_headers(self, event: Headers) -> None:
        stream_id = event.stream_id
        fields = self._decoder.decode(event.block)  # whatever becomes of it: the next block builds on it
        stream = self.streams.get(stream_id)
        if stream is not None:
            self._reset_for(stream, stream.receive_trailers(fields, ends=event.ends))
            return
        if stream_id <= self._highest or not stream_id % 2:
            self._check_ignored(stream_id)
            return
        self._highest = stream_id
        if stream_id > self._last or len(self.streams) >= CONCURRENT_STREAMS:
            # It may be sent again (RFC 9113 §8.7): nothing was done for it.
            self._spend(self._noise)
            self._ignore(stream_id)
            self.sender.say(frames.reset(stream_id, ErrorCode.REFUSED_STREAM))
            return
        gateway = self.connection.gateway
        gateway.counters.requests += 1
        self._noise.earn()
        head = request_head(fields, event.ends, gateway.limits)
        if isinstance(head, Malformed):
            self._spend(self._resets)
            stream = self.streams[stream_id] = Http2Stream(self, stream_id, None, head.request_line, ended=event.ends)
            stream.refuse(head.status)
            return
        stream = self.streams[stream_id] = Http2Stream(self, stream_id, head, head.request_line, ended=event.ends)
        stream.begin(
            decide(
                head,
                gateway.sites,
                gateway.tokens,
                self.connection.covers,
                gateway.has_certificate,
                gateway.https_port,
            )
        )

    def _take_data(self, event: Data) -> None:
        if not self._inflow.receive(event.flow_bytes):
            raise Http2Error(ErrorCode.FLOW_CONTROL_ERROR, "the connection's window is exceeded")
        # At once, so that a stream that waits for its upstream holds no other up: its own window bounds it.
        increment = self._inflow.take(event.flow_bytes)
        if increment:
            self.sender.say(frames.window_update(0, increment))
        if event.content:
            self._noise.earn()
        elif not event.ends:
            self._spend(self._noise)
        stream = self.streams.get(event.stream_id)
        if stream is None:
            self._check_ignored(event.stream_id)
        else:
            self._reset_for(stream, stream.receive(event.content, event.flow_bytes, ends=event.ends))

    def _take_reset(self, event: Reset) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is None:
            self._check_begun(event.stream_id)
            self._spend(self._noise)
        else:
            stream.client_left()
            self._ignore(event.stream_id)
            self._spend(self._resets)

    def _take_settings(self, event: Settings) -> None:
        self._spend(self._noise)
        for name, value in event.values:
            if name == _HEADER_TABLE_SIZE:
                self.encoder.shrink(value)
            elif name == _INITIAL_WINDOW_SIZE:
                change = value - self.sender.initial_window_bytes
                self.sender.initial_window_bytes = value
                for stream in self.streams.values():
                    if not self.sender.widen_stream(stream.outflow, change):
                        raise Http2Error(ErrorCode.FLOW_CONTROL_ERROR, "a stream's window is widened too far")
        self.sender.say(frames.SETTINGS_ACK)

    def _take_ping(self, event: Ping) -> None:
        self._spend(self._noise)
        if not event.ack:
            self.sender.say(frames.ping(event.payload, ack=True))
        elif self.is_draining and event.payload == _DRAIN:
            self.end_drain()

    def _take_go_away(self, event: GoAway) -> None:
        self._spend(self._noise)
        self.is_ending = True

    def _take_window_update(self, event: WindowUpdate) -> None:
        self._spend(self._noise)
        stream_id = event.stream_id
        if not stream_id:
            self.sender.widen(event.increment)
            return
        stream = self.streams.get(stream_id)
        if stream is None:
            self._check_begun(stream_id)
        elif not self.sender.widen_stream(stream.outflow, event.increment):
            self._reset_for(stream, ErrorCode.FLOW_CONTROL_ERROR)

    def _take_noise(self, event: Noise) -> None:
        self._spend(self._noise)

    # -- what is allowed

    def _spend(self, budget: Budget) -> None:
        if not budget.spend(self.connection.gateway.seconds()):
            raise Http2Error(ErrorCode.ENHANCE_YOUR_CALM, "too much that is of no use")

    def _reset_for(self, stream: Http2Stream, code: ErrorCode | None) -> None:
        """
        Reset *stream* for a fault of the client's, which costs as much as a reset of its own (CVE-2025-8671).
        """
        if code is not None:
            stream.break_off(code)
            self._spend(self._resets)

    def _ignore(self, stream_id: int) -> None:
        self._ignored[stream_id] = None
        if len(self._ignored) > _IGNORED_STREAMS:
            del self._ignored[next(iter(self._ignored))]

    def _check_begun(self, stream_id: int) -> None:
        """
        Refuse a frame on a stream that was never begun (RFC 9113 §5.1).
        """
        if stream_id > self._highest or not stream_id % 2:
            raise Http2Error(ErrorCode.PROTOCOL_ERROR, "a frame on a stream that isn't begun")

    def _check_ignored(self, stream_id: int) -> None:
        """
        Refuse a frame on a stream that is over, unless it may have crossed our saying so.
        """
        self._check_begun(stream_id)
        if stream_id not in self._ignored:
            raise Http2Error(ErrorCode.STREAM_CLOSED, "a frame on a stream that is closed")
        self._spend(self._noise)


@lru_cache(maxsize=2)  # one in a process, and another after its limits changed
def _our_settings(head_bytes: int) -> bytes:
    """
    Give the frame that a connection begins with.

    The window is RFC 9113's own, and said all the same: jh2 (urllib3.future, niquests) takes a server's for 6 MiB until
    it hears of it, and then sends more than a stream may as soon as its upstream is slow.
    """
    return frames.settings(
        (
            (Setting.MAX_CONCURRENT_STREAMS, CONCURRENT_STREAMS),
            (Setting.INITIAL_WINDOW_SIZE, DEFAULT_WINDOW_BYTES),
            (Setting.MAX_HEADER_LIST_SIZE, head_bytes),
            (Setting.NO_RFC7540_PRIORITIES, 1),
        )
    )


_TAKERS: Final[dict[type, Callable[[Http2Session, Any], None]]] = {
    Headers: Http2Session._take_headers,  # noqa: SLF001 - a table of this module's own
    Data: Http2Session._take_data,  # noqa: SLF001
    Reset: Http2Session._take_reset,  # noqa: SLF001
    Settings: Http2Session._take_settings,  # noqa: SLF001
    Ping: Http2Session._take_ping,  # noqa: SLF001
    GoAway: Http2Session._take_go_away,  # noqa: SLF001
    WindowUpdate: Http2Session._take_window_update,  # noqa: SLF001
    Noise: Http2Session._take_noise,  # noqa: SLF001
}

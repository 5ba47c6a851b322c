"""
A parser's work grows with its input and not with its square: counted in steps where it is our code, and in the
processor's time where it is a regular expression's.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from types import FrameType
from typing import Any

import pytest

from fuzz.kept import Target
from sptls import proxy_header
from sptls.acme import messages
from sptls.acme.exchange import Answer
from sptls.acme.retry import retry_after
from sptls.addresses import Networks
from sptls.certs.precheck_rules import caa_of, name_servers
from sptls.certs.reach_rules import MOST_BYTES, PROBE_BYTES, Probe, http_answer, is_enough
from sptls.config import Address, LimitsConfig
from sptls.errors import MalformedBody
from sptls.names import HostName
from sptls.proxy.body import ChunkedDecoder, chunk
from sptls.proxy.forwarded import believed
from sptls.proxy.head import parse_request, parse_response
from sptls.proxy.http2_reader import PREFACE, FrameReader
from sptls.proxy.log_line import LogEntry, combined, json_line
from sptls.proxy.response_reader import ResponseReader
from sptls.tls.client_hello import MAX_HELLO_BYTES, NeedMore, parse
from sptls.workers.frames import Frames, framed
from tests.proxy import http2_client as wire

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_LIMITS = LimitsConfig(head_bytes=1 << 20, target_bytes=1 << 20)
_PROBE = Probe.of(bytes(PROBE_BYTES))
# What any of these takes a hundredth of, on a slow machine; the square of the input would be many times as much.
_MOST_CPU_SECONDS = 0.3


def _steps(work: Callable[[], object]) -> int:
    """
    Count the lines of sptls that *work* runs.
    """
    count = 0

    def step(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return step

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        return step if "/sptls/" in frame.f_code.co_filename else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def _bytes_of(stream: bytes) -> Iterator[bytes]:
    return (bytes((byte,)) for byte in stream)


def _feed_frames(size: int) -> None:
    frames = Frames()
    assert 1 == sum(len(list(frames.feed(piece))) for piece in _bytes_of(framed(b"x" * size)))


def _feed_http2(size: int) -> None:
    reader = FrameReader(1024)
    stream = PREFACE + wire.settings() + wire.data(1, b"x" * size)
    assert 2 == sum(len(list(reader.feed(piece))) for piece in _bytes_of(stream))


def _feed_chunks(size: int) -> None:
    decoder = ChunkedDecoder()
    assert size == sum(len(decoder.feed(piece)) for piece in _bytes_of(chunk(b"x" * size)))


def _feed_small_chunks(size: int) -> None:
    assert size // 8 == len(ChunkedDecoder().feed(chunk(b"x") * (size // 8)))


def _feed_response(size: int) -> None:
    reader = ResponseReader(b"GET", 1 << 20)
    stream = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: %b\r\n\r\n" % (b"x" * size)
    assert [None] * (len(stream) - 1) == [reader.read_head(piece) for piece in _bytes_of(stream)][:-1]


@pytest.mark.parametrize("feed", [_feed_frames, _feed_http2, _feed_chunks, _feed_small_chunks, _feed_response])
def test_steps_grow_as_the_stream_does(feed: Callable[[int], None]) -> None:
    """
    Byte by byte, where each byte must not cost a look at all that came before.
    """
    few, many = (_steps(partial(feed, size)) for size in (500, 2000))
    assert few < many <= 4.4 * few


def test_client_hello_of_single_bytes_is_looked_at_a_few_times() -> None:
    """
    Each look says how many bytes the next one takes, which a client can't keep low.
    """
    body = b"\x03\x03" + bytes(32) + b"\x00\x00\x02\x13\x01\x01\x00" + (2400).to_bytes(2, "big") + b"\x00\x15\x09\x5c"
    message = b"\x01" + (len(body) + 2396).to_bytes(3, "big") + body + bytes(2396)
    stream = b"".join(b"\x16\x03\x01\x00\x01%c" % byte for byte in message)
    assert len(stream) < MAX_HELLO_BYTES
    looks, size = 0, 1
    while isinstance(found := parse(stream[:size]), NeedMore):
        looks, size = looks + 1, found.total_bytes
    assert size == len(stream)
    assert looks < 100


def _believed(chain: bytes) -> object:
    proxies = Networks([])
    return believed([(b"x-forwarded-for", chain)], proxies, b"192.0.2.1", b"https")


def _refused(detail: bytes) -> object:
    return messages.refusal("newOrder", Answer(429, detail, "application/problem+json"), _NOW)


def _logged(field: bytes) -> object:
    entry = LogEntry(0.0, b"192.0.2.1", field, field, 200, 5, field, field, 0.1, True)
    return combined(entry), json_line(entry)


def _decoded(coded: bytes) -> object:
    with suppress(MalformedBody):
        return ChunkedDecoder().feed(coded)
    return None


# What reads it, and the target whose seeds are told at great length.
_PARSERS: dict[Callable[[bytes], object], str] = {
    lambda text: http_answer("192.0.2.1", text, _PROBE): "self_check_answer",
    lambda text: is_enough(text, _PROBE): "self_check_answer",
    lambda text: messages.alternates([text.decode("latin-1")]): "acme_fields",
    lambda text: messages.reading([text.decode("latin-1")]): "acme_fields",
    lambda text: retry_after(text.decode("latin-1"), _NOW): "acme_fields",
    lambda text: parse_request(text, _LIMITS): "request_head",
    lambda text: parse_response(text, 1 << 20): "response_head",
    lambda text: _decoded(text[1:]): "chunks",
    lambda text: _refused(text[1:]): "problem",
    lambda text: HostName.parse(text.decode("latin-1")): "host_name",
    lambda text: Address.parse(text.decode("latin-1")): "listen_address",
    lambda text: name_servers(text.decode("latin-1")): "resolv_conf",
    caa_of: "dns_answer",
    proxy_header.parse: "proxy_header",
    parse: "client_hello",
    _believed: "forwarded",
    _logged: "log_line",
}


@pytest.mark.parametrize(("read", "name"), _PARSERS.items(), ids=map(str, range(len(_PARSERS))))
def test_runs_of_a_character_take_no_time(read: Callable[[bytes], object], name: str) -> None:
    """
    Wherever they stand in what is usual, at the greatest length that is taken of a stranger.
    """
    for seed in Target.named(name).seeds[:3]:
        for run in (b" ", b"\t", b"<", b",", b"a", b"0", b".", b"\r", b"\r\n", b": ", b"[", b"\\", b";"):
            for at in range(0, len(seed) + 1, len(seed) // 5 + 1):
                text = seed[:at] + run * (MOST_BYTES // len(run)) + seed[at:]
                begun = time.thread_time()
                with suppress(ValueError):  # a documented error
                    read(text)
                assert time.thread_time() - begun < _MOST_CPU_SECONDS, (text[: at + 4], run)

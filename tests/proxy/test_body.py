from __future__ import annotations

from itertools import pairwise

import h11
import pytest
from h11._connection import _body_framing
from hypothesis import given
from hypothesis import strategies as st

from sptls.config import LimitsConfig
from sptls.errors import MalformedBody
from sptls.proxy.body import (
    LAST_CHUNK,
    Chunked,
    ChunkedDecoder,
    Length,
    NoBody,
    UntilClose,
    chunk,
    last_chunk,
    request_body,
    response_body,
)
from sptls.proxy.head import RequestHead, ResponseHead, parse_request, parse_response


def decode(data: bytes, cuts: list[int] | None = None) -> tuple[bytes, bool, bytes]:
    """
    Decode *data*, cut at *cuts*: content, whether it is finished, and what is left over.
    """
    decoder = ChunkedDecoder()
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts or []), len(data)]
    content = b"".join([decoder.feed(data[start:end]) for start, end in pairwise(edges)])
    return content, decoder.finished, decoder.leftover


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (b"", NoBody()),
        (b"Content-Length: 0\r\n", Length(0)),
        (b"Content-Length: 5\r\n", Length(5)),
        (b"Transfer-Encoding: chunked\r\n", Chunked()),
    ],
)
def test_what_follows_a_request(fields: bytes, expected: NoBody | Length | Chunked) -> None:
    """
    Without a length or chunks a request has no content (RFC 9112 §6.3).
    """
    head = parse_request(b"POST / HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n", LimitsConfig())
    assert isinstance(head, RequestHead)
    assert expected == request_body(head)


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("status", [103, 200, 204, 302, 304])
@pytest.mark.parametrize(
    "fields", [b"", b"Content-Length: 0\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"]
)
def test_what_follows_a_response(method: bytes, status: int, fields: bytes) -> None:
    """
    HEAD, interim answers, 204 and 304 have no content whatever they announce; h11 reads them as we do.
    """
    head = parse_response(b"HTTP/1.1 %d X\r\n%b\r\n" % (status, fields), 1000)
    assert isinstance(head, ResponseHead)
    if method == b"HEAD" or status in {103, 204, 304}:
        assert NoBody() == response_body(head, method)
        return
    oracle = h11.Response(status_code=status, headers=head.fields, reason=b"X")
    expected = {
        ("content-length", (0,)): Length(0),
        ("content-length", (5,)): Length(5),
        ("chunked", ()): Chunked(),
        ("http/1.0", ()): UntilClose(),
    }[_body_framing(method, oracle)]
    assert expected == response_body(head, method)


def test_a_chunk_has_its_size_before_it() -> None:
    """
    Empty content gives no chunk, because that would end the body.
    """
    assert (b"1a\r\n" + b"x" * 26 + b"\r\n", b"", b"0\r\n\r\n") == (chunk(b"x" * 26), chunk(b""), LAST_CHUNK)


def test_extensions_and_trailers_are_no_content() -> None:
    """
    The content comes out, and what follows the last chunk is kept for the next reader.
    """
    data = b'5;a\r\nhello\r\n00A ; b="\xff\t"\r\n, world!!!\r\n000;c\r\nA: b\r\nSig:\r\n\r\nnext'
    assert (b"hello, world!!!", True, b"next") == decode(data)


def test_trailers_are_kept() -> None:
    """
    In their order and spelling, without the white space round their values.
    """
    decoder = ChunkedDecoder()
    decoder.feed(b"1\r\nx\r\n0\r\nA: b\r\nSig:\r\n")
    decoder.feed(b"a:\t c \r\n\r\nB: d\r\n")
    assert ([(b"A", b"b"), (b"Sig", b""), (b"a", b"c")], b"B: d\r\n") == (decoder.trailers, decoder.leftover)


def test_white_space_behind_a_size_is_forgiven() -> None:
    """
    Servers that write a size before they know it fill it up with spaces; nginx and h11 take them too.
    """
    assert (b"hello", True, b"") == decode(b"5   \r\nhello\r\n0 \t\r\n\r\n")


def test_bytes_after_the_end_are_left_over() -> None:
    """
    Also those fed later.
    """
    decoder = ChunkedDecoder()
    contents = [decoder.feed(LAST_CHUNK + b"a"), decoder.feed(b"b")]
    assert ([b"", b""], True, b"ab") == (contents, decoder.finished, decoder.leftover)


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"x\r\n",
        b"-1\r\n",
        b"+1\r\n",
        b"0x1\r\n",
        b" 1\r\n",
        b"1\v\r\n",
        b"1_0\r\n",
        b"5\n hello",
        b"5\rhello\r\n",
        b"5;a\nb\r\n",
        b"5;a\0\r\n",
        b"5 a\r\n",
        b"1" * 16 + b"\r\n",
        b"5\r\nhello!\r\n",
        b"5\r\nhello0\r\n",
        b"5\r\nhello\n",
        b"5\r\nhello\rx",
        b"0\r\nno field\r\n",
        b"0\r\nA : b\r\n",
        b"0\r\n folded\r\n",
        b"0\r\nA: b\nc\r\n",
        b"0\r\nA: b\0\r\n",
        b"1;" + b"a" * 5000,
        b"1;" + b"a" * 5000 + b"\r\n",
        b"0\r\n" + b"A: b\r\n" * 101,
        b"0\r\n" + (b"A: " + b"b" * 1000 + b"\r\n") * 17,
        (b"1;" + b"a" * 1000 + b"\r\nx\r\n") * 20,
    ],
)
def test_broken_chunks_are_malformed(data: bytes) -> None:
    """
    However they are cut; and what nobody needs is limited, line by line and in all.
    """
    with pytest.raises(MalformedBody, match=r"chunk|trailer"):
        decode(data)
    with pytest.raises(MalformedBody, match=r"chunk|trailer"):
        decode(data, list(range(min(len(data), 200))))


EXTENSIONS = st.sampled_from([b"", b"", b";a=b", b" ;x", b"  "])
TRAILERS = st.sampled_from([b"", b"", b"A: b\r\n", b"A:\r\nB: c\r\n"])


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=20), EXTENSIONS)), TRAILERS, st.binary(max_size=5), st.data())
def test_what_is_encoded_is_decoded_however_it_is_cut(
    pieces: list[tuple[bytes, bytes]], trailers: bytes, more: bytes, data: st.DataObject
) -> None:
    """
    Content in any chunks, cut anywhere, comes out whole, with what follows it.
    """
    chunks = [b"%x%b\r\n%b\r\n" % (len(piece), extension, piece) for piece, extension in pieces]
    stream = b"".join([*chunks, b"0\r\n", trailers, b"\r\n", more])
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8))
    assert (b"".join([piece for piece, _ in pieces]), True, more) == decode(stream, cuts)
    assert decode(stream, cuts) == decode(stream, list(range(len(stream))))


@given(st.lists(st.binary(max_size=300)))
def test_our_chunks_are_read_by_our_decoder(pieces: list[bytes]) -> None:
    """
    Whatever pieces content comes in.
    """
    stream = b"".join([*map(chunk, pieces), LAST_CHUNK])
    assert (b"".join(pieces), True, b"") == decode(stream)


_NAMES = st.text("Aa-_1", min_size=1, max_size=5).map(str.encode)
_VALUES = st.binary(max_size=9).map(lambda raw: raw.translate(None, b"\0\r\n\v\f").strip())


@given(st.lists(st.tuples(_NAMES, _VALUES), max_size=9), st.integers(0, 99))
def test_our_trailers_are_read_by_our_decoder(trailers: list[tuple[bytes, bytes]], cut: int) -> None:
    """
    Whatever is in them.
    """
    stream, decoder = chunk(b"abc") + last_chunk(trailers), ChunkedDecoder()
    content = decoder.feed(stream[:cut]) + decoder.feed(stream[cut:])
    assert (b"abc", True, trailers, b"") == (content, decoder.finished, decoder.trailers, decoder.leftover)


@given(
    st.lists(st.sampled_from([b"5\r\nhello\r\n", b"1;x\r\na\r\n", b"0\r\n\r\n", b"0\r\nA: b\r\n\r\n", b"\r\n", b"1"])),
    st.integers(0, 30),
    st.binary(max_size=2),
    st.lists(st.integers(0, 50), max_size=5),
)
def test_h11_decodes_what_we_do(pieces: list[bytes], at: int, change: bytes, cuts: list[int]) -> None:
    """
    Random changes give the same at every cut: an error of the documented kind, or content that h11 finds too.
    """
    stream = b"".join(pieces)
    stream = stream[:at] + change + stream[at:]
    try:
        content, finished, leftover = decode(stream)
    except MalformedBody:
        with pytest.raises(MalformedBody):
            decode(stream, cuts)
        return
    assert (content, finished, leftover) == decode(stream, cuts)
    oracle = h11.Connection(h11.SERVER)
    oracle.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    oracle.next_event()
    if stream:
        oracle.receive_data(stream[: len(stream) - len(leftover)])
    events = []
    while (event := oracle.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
        events.append(event)
    assert content == b"".join([event.data for event in events if isinstance(event, h11.Data)])
    assert finished == any(isinstance(event, h11.EndOfMessage) for event in events)

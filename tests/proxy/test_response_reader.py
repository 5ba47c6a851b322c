from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptls.errors import UpstreamError
from sptls.proxy.body import LAST_CHUNK, chunk
from sptls.proxy.response_reader import ResponseReader


def _read(reader: ResponseReader, data: bytes) -> bytes:
    """
    Give the content in *data*, whatever part of the answer it is.
    """
    rest = reader.read_head(data) if reader.head is None else data
    return b"" if rest is None else reader.read_content(rest)


@given(cuts=st.sets(st.integers(1, 120)), chunked=st.booleans(), content=st.binary(max_size=30))
def test_any_split_gives_the_same_answer(cuts: set[int], chunked: bool, content: bytes) -> None:
    """
    Where reads are cut changes nothing.
    """
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(content)
    body = chunk(content) + LAST_CHUNK if chunked else content
    stream = b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n" + body
    reader, got, at = ResponseReader(b"GET", 1000), b"", 0
    for cut in [*sorted(cut for cut in cuts if cut < len(stream)), len(stream)]:
        got += _read(reader, stream[at:cut])
        at = cut
    assert reader.head is not None
    assert (200, content, True, False) == (reader.head.status, got, reader.finished, reader.surplus)


def test_trailers_come_behind_the_content() -> None:
    """
    Content with a length has none.
    """
    chunked, plain = ResponseReader(b"GET", 1000), ResponseReader(b"GET", 1000)
    _read(chunked, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n")
    _read(plain, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nX: y\r\n\r\n")
    assert ([(b"X", b"y")], []) == (chunked.trailers, plain.trailers)


def test_silence_ends_with_the_first_byte() -> None:
    """
    After one byte of an answer the request must not be repeated.
    """
    reader = ResponseReader(b"GET", 1000)
    assert reader.silent
    assert reader.read_head(b"H") is None
    assert not reader.silent


@pytest.mark.parametrize(
    ("method", "answer", "finished", "surplus"),
    [
        (b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP", True, True),
        (b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", False, False),
        (b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", True, False),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", True, False),
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", True, True),
        (b"GET", b"HTTP/1.1 204 No\r\n\r\n", True, False),
        (b"GET", b"HTTP/1.1 304 Not\r\nContent-Length: 9\r\n\r\n", True, False),
        (b"GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nx", True, True),
        (b"GET", b"HTTP/1.1 200 OK\r\n\r\nok", False, False),
    ],
)
def test_answer_ends_where_its_head_says(method: bytes, answer: bytes, finished: bool, surplus: bool) -> None:
    """
    RFC 9112 §6.3, and bytes after the end are seen.
    """
    reader = ResponseReader(method, 1000)
    assert _read(reader, answer) in {b"ok", b""}
    assert (finished, surplus) == (reader.finished, reader.surplus)


@pytest.mark.parametrize(
    ("answer", "redirects"),
    [
        (b"", False),
        (b"HTTP/1.1 200 OK\r\n\r\n", False),
        (b"HTTP/1.1 302 Found\r\n\r\n", True),
        (b"HTTP/1.1 404 No\r\n\r\n", False),
    ],
)
def test_redirects_are_told_by_their_status(answer: bytes, redirects: bool) -> None:
    """
    3xx, once the head is there.
    """
    reader = ResponseReader(b"GET", 1000)
    _read(reader, answer)
    assert redirects == reader.is_redirect


@pytest.mark.parametrize(
    ("answer", "may"),
    [
        (b"", False),
        (b"HTTP/1.1 200 OK\r\n\r\nok", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", False),
    ],
)
def test_only_an_answer_without_length_may_end_with_its_connection(answer: bytes, may: bool) -> None:
    """
    Everything else is broken off by that.
    """
    reader = ResponseReader(b"GET", 1000)
    _read(reader, answer)
    assert may == reader.may_end_with_connection


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: " + b"b" * 1000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 17,
    ],
)
def test_what_is_no_answer_is_bad_gateway(answer: bytes) -> None:
    """
    Whatever the upstream babbles, it ends as 502 here.
    """
    with pytest.raises(UpstreamError) as caught:
        _read(ResponseReader(b"GET", 1000), answer)
    assert 502 == caught.value.status


@given(data=st.lists(st.binary(max_size=40), max_size=8))
def test_any_bytes_give_an_answer_or_bad_gateway(data: list[bytes]) -> None:
    """
    Nothing else comes out of reading.
    """
    reader, status = ResponseReader(b"GET", 200), 502
    try:
        for piece in [b"HTTP/1.1 200 OK\r\n", *data]:
            if not reader.finished:
                _read(reader, piece)
    except UpstreamError as error:
        status = error.status
    assert 502 == status

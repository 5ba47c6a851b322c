from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptls.config import LimitsConfig
from sptls.proxy.body import LAST_CHUNK, chunk
from sptls.proxy.head import RequestHead, parse_request
from sptls.proxy.request_content import Broken, RequestContent


def _head(field: bytes) -> RequestHead:
    head = parse_request(b"POST / HTTP/1.1\r\nHost: a\r\n" + field + b"\r\n\r\n", LimitsConfig())
    assert isinstance(head, RequestHead)
    return head


def _chunked(limit_bytes: int = 0) -> RequestContent:
    return RequestContent(_head(b"Transfer-Encoding: chunked"), limit_bytes)


@given(content=st.binary(max_size=50), rest=st.binary(max_size=20), chunked=st.booleans(), data=st.data())
def test_content_ends_where_it_should(content: bytes, rest: bytes, chunked: bool, data: st.DataObject) -> None:
    """
    However it is cut, content comes out whole, and what follows is left.
    """
    reading = _chunked() if chunked else RequestContent(_head(b"Content-Length: %d" % len(content)), 0)
    stream = (chunk(content) + LAST_CHUNK if chunked else content) + rest
    taken = b""
    while not reading.complete:
        size = data.draw(st.integers(1, len(stream)))
        piece, stream = stream[:size], stream[size:]
        fed = reading.feed(piece)
        assert isinstance(fed, bytes)
        taken += fed
    assert (content, rest) == (taken, reading.rest + stream)


def test_trailers_come_behind_the_content() -> None:
    """
    Content with a length has none.
    """
    content, plain = _chunked(), RequestContent(_head(b"Content-Length: 1"), 0)
    content.feed(chunk(b"a") + b"0\r\nX: y\r\n\r\n")
    plain.feed(b"aX: y\r\n\r\n")
    assert ([(b"X", b"y")], []) == (content.trailers, plain.trailers)


@pytest.mark.parametrize("data", [b"zz\r\n", b"3\r\nabcd\r\n", b"-1\r\n"])
def test_broken_chunks_are_a_bad_request(data: bytes) -> None:
    """
    A chunk that breaks RFC 9112 §7.1 can't be read past.
    """
    assert Broken(400) == _chunked().feed(data)


def test_too_much_content_is_refused_as_soon_as_it_is_known() -> None:
    """
    The limit is for all chunks together.
    """
    content = _chunked(4)
    assert b"abcd" == content.feed(chunk(b"abcd"))
    assert Broken(413) == content.feed(chunk(b"e"))

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptls.proxy.log_line import LogEntry, combined, json_line

# 24 November 2026, 04:03:30.5 UTC
WHEN = 1795493010.5
CLICK = LogEntry(
    time=WHEN,
    peer=b"127.0.0.1",
    host=b"click.example.com",
    request_line=b"GET /plain HTTP/1.1",
    status=200,
    body_bytes=2,
    referer=None,
    user_agent=None,
    seconds=0.0123456789,
    tls=True,
)

# Requests and the lines that nginx 1.22.1 wrote for them in this format on that date (its default `combined`).
FROM_NGINX = [
    (
        (b"GET /plain HTTP/1.1", 200, 2, None, None),
        b'127.0.0.1 - - [24/Nov/2026:04:03:30 +0000] "GET /plain HTTP/1.1" 200 2 "-" "-"\n',
    ),
    (
        (b'GET /a"b\\c HTTP/1.1', 200, 2, b'http://x/"q"\\', b"a\tb\x7f\x80\xffz'"),
        b'127.0.0.1 - - [24/Nov/2026:04:03:30 +0000] "GET /a\\x22b\\x5Cc HTTP/1.1" 200 2'
        b' "http://x/\\x22q\\x22\\x5C" "a\\x09b\\x7F\\x80\\xFFz\'"\n',
    ),
    (
        (b"GET /\xc3\xa9~~%2F?target=http%3A%2F%2Fx HTTP/1.0", 200, 2, None, None),
        b'127.0.0.1 - - [24/Nov/2026:04:03:30 +0000] "GET /\\xC3\\xA9~~%2F?target=http%3A%2F%2Fx HTTP/1.0" 200 2'
        b' "-" "-"\n',
    ),
    (
        (b"GET / HTTP/1.1", 200, 2, b"", b""),
        b'127.0.0.1 - - [24/Nov/2026:04:03:30 +0000] "GET / HTTP/1.1" 200 2 "" ""\n',
    ),
    (
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abc", 400, 157, None, None),
        b'127.0.0.1 - - [24/Nov/2026:04:03:30 +0000] "\\x16\\x03\\x01\\x02\\x00\\x01\\x00\\x01\\xFC\\x03\\x03abc"'
        b' 400 157 "-" "-"\n',
    ),
    (
        (b"GE", 400, 0, None, None),
        b'127.0.0.1 - - [24/Nov/2026:04:03:30 +0000] "GE" 400 0 "-" "-"\n',
    ),
    (
        (b"GET / HTTP/1.1", 200, 2, None, b"a\x01b"),
        b'127.0.0.1 - - [24/Nov/2026:04:03:30 +0000] "GET / HTTP/1.1" 200 2 "-" "a\\x01b"\n',
    ),
]


def entry(
    request_line: bytes, status: int, body_bytes: int, referer: bytes | None, user_agent: bytes | None
) -> LogEntry:
    """
    Give the click with other particulars.
    """
    return CLICK._replace(
        request_line=request_line, status=status, body_bytes=body_bytes, referer=referer, user_agent=user_agent
    )


@pytest.mark.parametrize(("particulars", "line"), FROM_NGINX)
def test_combined_lines_are_nginx_s(
    particulars: tuple[bytes, int, int, bytes | None, bytes | None], line: bytes
) -> None:
    """
    Byte for byte.
    """
    assert line == combined(entry(*particulars))


def test_no_request_line_is_a_hyphen() -> None:
    """
    As where a client closes without a word.
    """
    assert b'] "-" 408 ' in combined(CLICK._replace(request_line=b"", status=408))


TEXTS = st.binary(max_size=30)


@given(TEXTS, st.none() | TEXTS, st.none() | TEXTS)
def test_no_byte_breaks_out_of_a_combined_line(
    request_line: bytes, referer: bytes | None, user_agent: bytes | None
) -> None:
    """
    One line, printable ASCII, six quotes; and the bytes can be had back.
    """
    line = combined(entry(request_line, 200, 0, referer, user_agent))
    parts = line.split(b'"')
    assert (7, b"\n", True) == (len(parts), line[-1:], line[:-1].decode("ascii").isprintable())
    texts = [part.decode("unicode_escape").encode("latin-1") for part in parts[1:6:2]]
    expected = [request_line or b"-", *[b"-" if text is None else text for text in (referer, user_agent)]]
    assert expected == texts


def test_a_json_line_has_the_facts() -> None:
    """
    One object a line, in a fixed order.
    """
    line = json_line(CLICK._replace(user_agent=b'"\xff\xc3\xa9\n'))
    expected = (
        b'{"time":"2026-11-24T04:03:30.500+00:00","peer":"127.0.0.1","host":"click.example.com","method":"GET",'
        b'"target":"/plain","version":"HTTP/1.1","status":200,"bytes":2,"referer":null,'
        b'"user_agent":"\\"\\\\xff\\u00e9\\n","seconds":0.012346,"tls":true}\n'
    )
    assert expected == line


@given(TEXTS, st.none() | TEXTS, st.none() | TEXTS, st.none() | TEXTS)
def test_any_bytes_give_one_line_of_valid_json(
    request_line: bytes, host: bytes | None, referer: bytes | None, user_agent: bytes | None
) -> None:
    """
    ASCII without a line end, and an object with the same keys.
    """
    line = json_line(entry(request_line, 200, 0, referer, user_agent)._replace(host=host))
    assert line.isascii()
    assert 1 == len(line.splitlines())
    assert json.loads(json_line(CLICK)).keys() == json.loads(line).keys()

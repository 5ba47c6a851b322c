"""
Which trailers go on.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptls.proxy.fields import LETTERS, TOKEN
from sptls.proxy.trailers import passed_on

# RFC 9110 §6.5.1's kinds, and what a service believes a proxy.
HARMFUL = [
    b"Transfer-Encoding",
    b"Content-Length",
    b"Trailer",
    b"Host",
    b"Connection",
    b"Upgrade",
    b"TE",
    b"Expect",
    b"Range",
    b"If-None-Match",
    b"Cache-Control",
    b"Max-Forwards",
    b"Authorization",
    b"Proxy-Authorization",
    b"WWW-Authenticate",
    b"Cookie",
    b"Set-Cookie",
    b"Content-Type",
    b"Content-Encoding",
    b"Content-Range",
    b"Location",
    b"Date",
    b"Strict-Transport-Security",
    b"X-Forwarded-For",
    b"X-Forwarded-Proto",
    b"X-Forwarded-Host",
    b"X-Forwarded-Anything",
    b"X-Real-IP",
    b"Forwarded",
    b"HTTP2-Settings",
]


def test_what_says_something_of_the_content_goes_on() -> None:
    """
    In its order, spelt as it was, as often as it was.
    """
    trailers = [(b"X-Checksum", b"1"), (b"Server-Timing", b"db;dur=5"), (b"ETag", b'"a"'), (b"X-Checksum", b"2")]
    assert trailers == passed_on(trailers, ())


@pytest.mark.parametrize("name", HARMFUL)
def test_what_the_head_has_decided_does_not(name: bytes) -> None:
    """
    Nor what a service that takes fields from CGI's variables can't tell from it.
    """
    spelt = [name, name.lower(), name.upper(), name.replace(b"-", b"_"), name.replace(b"-", b"")]
    assert [(b"A", b"b")] == passed_on([*((spelling, b"1") for spelling in spelt), (b"A", b"b")], ())


def test_what_the_connection_field_names_stays_on_its_connection() -> None:
    """
    As in the head (RFC 9110 §7.6.1).
    """
    assert [(b"X-Other", b"2")] == passed_on([(b"X-Own", b"1"), (b"X-Other", b"2")], (b"x-own",))


@given(
    st.sampled_from(HARMFUL),
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from([b"-", b"_"]))),
    st.sets(st.integers(0, 30)),
    st.lists(st.tuples(st.text(TOKEN.decode("ascii"), min_size=1).map(str.encode), st.binary(max_size=5))),
)
def test_no_spelling_gets_past(
    name: bytes, marks: list[tuple[int, bytes]], capitals: set[int], others: list[tuple[bytes, bytes]]
) -> None:
    """
    Whatever the letters' case, and however many marks are in between; what goes on is a part, in its order.
    """
    spelt = bytearray(name.lower())
    for at in capitals:
        if at < len(spelt) and spelt[at] in LETTERS:
            spelt[at] = ord(chr(spelt[at]).upper())
    for at, mark in marks:
        spelt[at:at] = mark
    given_ = [*others, (bytes(spelt), b"1"), *others]
    going = passed_on(given_, ())
    assert bytes(spelt) not in {field for field, _ in going}
    assert going == [field for field in given_ if field in going]

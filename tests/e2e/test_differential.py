"""
sptls beside nginx: what the service sees of odd requests is the same, but for reasons that have names.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sptls.proxy.fields import ONCE
from tests.e2e.differential import (
    BEHIND_A_REFUSAL,
    MORE_LENIENT,
    SAME,
    STRICTER,
    Reason,
    Sent,
    Side,
    as_compared,
    both_sides,
    difference,
)
from tests.e2e.odd_requests import odd_request

pytestmark = pytest.mark.e2e

SEEDS = range(1000)
_HOST = b"Host: click.example.com\r\n"
_CHUNKED = b"POST / HTTP/1.1\r\n" + _HOST + b"Transfer-Encoding: chunked\r\n\r\n"
# One request for each reason, in the reasons' order.
EXAMPLES = [
    b"GET / HTTP/1.1\n" + _HOST + b"\r\n",
    b"GET  / HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET / HTTP/1.1\r\n" + _HOST + b"no-field\r\n\r\n",
    b"GET / HTTP/1.01\r\n" + _HOST + b"\r\n",
    b"GET / HTTP/1.1\r\nHost: click.example.com:x\r\n\r\n",
    b"GET ftp://click.example.com/ HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET / HTTP/1.1\r\n" + _HOST + b"Expect: x\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + _HOST + b"X: a\vb\r\n\r\n",
    _CHUNKED + b"1;\0\r\nx\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\n" + _HOST + b"Content-Length: 00000000000000000001\r\n\r\nx",
    _CHUNKED + b"0000000000000001\r\nx\r\n0\r\n\r\n",
    _CHUNKED + b"0\r\nX: a\r\n b\r\n\r\n",
    b"A" * 33 + b" / HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET /" + b"a" * 8148 + b" HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET / HTTP/1.1\r\n" + _HOST + b"Connection: close\r\nConnection: keep-alive\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + _HOST + b"X: y\r\n" * 100 + b"\r\n",
    b"GET /%zz HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET / HTTP/1.1\r\n" + _HOST + b'Connection: "close"\r\n\r\n',
    b"GET / HTTP/1.1\r\n" + _HOST + (b"X: " + b"y" * 5000 + b"\r\n") * 5 + b"\r\n",
    b"TRACE / HTTP/1.1\r\n" + _HOST + b"\r\n",
]


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Side, Side]]:
    """
    Give both.
    """
    with both_sides(tmp_path_factory.mktemp("differential")) as running:
        yield running


def test_the_service_sees_what_it_sees_behind_nginx(sides: tuple[Side, Side]) -> None:
    """
    A thousand requests, most with something odd: the same bytes arrive by both ways, or a reason has a name.
    """
    ours, theirs = sides
    same, unexplained = 0, []
    for seed in SEEDS:
        message = odd_request(seed)
        reason = difference(message, ours.seen(message), theirs.seen(message))
        same += reason is SAME
        if reason is None:
            unexplained.append((seed, message))
    assert [] == unexplained
    assert [] == ours.origin.broken
    assert same > len(SEEDS) // 2


@pytest.mark.parametrize("message", [_CHUNKED + b"0\r\nno colon\r\n\r\n", _CHUNKED + b"0\r\n: no name\r\n\r\n"])
def test_reason_has_more_than_one_example(sides: tuple[Side, Side], message: bytes) -> None:
    """
    What nginx skips behind the last chunk is a fold, or any line.
    """
    ours, theirs = sides
    found = difference(message, ours.seen(message), theirs.seen(message))
    assert found is not None
    assert "a trailer that is no field" == found.what


@pytest.mark.parametrize("name", [*sorted(ONCE), b"content-length", b"host"])
@pytest.mark.parametrize("value", [b"", b"x"])
def test_neither_takes_a_second_of_what_says_one_thing(sides: tuple[Side, Side], name: bytes, value: bytes) -> None:
    """
    Equal or not; what is sent behind it is not reached either.
    """
    first = {b"expect": b"100-continue", b"content-length": b"0", b"host": b"click.example.com"}.get(name, b"x")
    fields = b"%b: %b\r\n%b: %b\r\n" % (name, first, name.title(), value or first)
    host = b"" if name == b"host" else _HOST
    message = b"GET / HTTP/1.1\r\n%b%b\r\n" % (host, fields)
    assert [((400,), ())] * 2 == [(seen.statuses, seen.requests) for seen in (side.seen(message) for side in sides)]


def test_every_other_field_may_come_twice(sides: tuple[Side, Side]) -> None:
    """
    Both pass both on, in their order.
    """
    names = [
        b"Cookie",
        b"Range",
        b"Referer",
        b"User-Agent",
        b"Content-Type",
        b"Accept",
        b"Date",
        b"X",
        b"Cache-Control",
    ]
    message = b"GET / HTTP/1.1\r\n" + _HOST + b"".join(b"%b: a\r\n%b: b\r\n" % (name, name) for name in names) + b"\r\n"
    ours, theirs = sides
    assert SAME is difference(message, ours.seen(message), seen := theirs.seen(message))
    assert (200, 200) == seen.statuses
    assert [b"a", b"b"] == seen.requests[0].values(b"cookie")


@pytest.mark.parametrize(("size", "status"), [(8190, 200), (8191, 431)])
def test_both_take_fields_of_the_same_length(sides: tuple[Side, Side], size: int, status: int) -> None:
    """
    To the byte; nginx has the older status for it.
    """
    message = b"GET / HTTP/1.1\r\n" + _HOST + b"X: " + b"y" * (size - 3) + b"\r\n\r\n"
    ours, theirs = (side.seen(message).statuses[0] for side in sides)
    assert (status, {431: 400}.get(status, status)) == (ours, theirs)


@pytest.mark.parametrize(
    ("reason", "message"), list(zip((*STRICTER, *MORE_LENIENT, BEHIND_A_REFUSAL), EXAMPLES, strict=True))
)
def test_every_reason_is_one(sides: tuple[Side, Side], reason: Reason, message: bytes) -> None:
    """
    There is a request that shows it, and that has no other.
    """
    ours, theirs = sides
    assert reason is difference(message, ours.seen(message), theirs.seen(message))
    assert not [other for other in STRICTER if other is not reason and other.sign(Sent(message))]


def test_a_usual_click_is_the_same_to_the_last_byte(sides: tuple[Side, Side]) -> None:
    """
    Target, fields, their order and spelling, and the content: the comparison leaves none of it out.
    """
    message = (
        b"POST /f/a~~/%2F?target=http%3A%2F%2Fx HTTP/1.1\r\nhost: click.example.com\r\nUser-Agent: x  y\r\nb: 1\r\n"
        b'B:\r\nCookie: a="\x80"\r\nContent-Length: 3\r\n\r\nabc'
    )
    seen = [side.seen(message).requests for side in sides]
    ours, theirs = ([as_compared(request, Sent(message)) for request in requests] for requests in seen)
    assert ours == theirs
    expected = (
        (b"host", b"click.example.com"),
        (b"User-Agent", b"x  y"),
        (b"b", b"1"),
        (b"B", b""),
        (b"Cookie", b'a="\x80"'),
    )
    assert (b"POST", b"/f/a~~/%2F?target=http%3A%2F%2Fx", expected, b"abc") == (
        ours[0].method, ours[0].target, ours[0].fields, ours[0].content,
    )  # fmt: skip

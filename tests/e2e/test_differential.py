"""
sptls beside nginx: what the service sees of odd requests is the same, but for reasons that have names.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

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
    b"GET /%zz HTTP/1.1\r\n" + _HOST + b"\r\n",
    b"GET / HTTP/1.1\r\n" + _HOST + b'Connection: "close"\r\n\r\n',
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

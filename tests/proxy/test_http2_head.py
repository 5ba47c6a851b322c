from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptls.config import LimitsConfig, UpstreamConfig
from sptls.names import HostName
from sptls.proxy.fields import ONCE, Fields
from sptls.proxy.head import Malformed, RequestHead, parse_request
from sptls.proxy.headers import for_upstream
from sptls.proxy.http2_head import are_trailers, request_head
from sptls.proxy.route import Site

LIMITS = LimitsConfig()
SITE = Site(HostName("click.example.com"), UpstreamConfig())
PSEUDO = {
    b":method": b"GET",
    b":scheme": b"https",
    b":authority": b"click.example.com",
    b":path": b"/f/a",
}


def _fields(*fields: tuple[bytes, bytes], **pseudo: bytes | None) -> Fields:
    """
    Give a request's fields; *pseudo* replaces, or leaves out where it is None.
    """
    changed = {**PSEUDO, **{b":" + name.encode(): value for name, value in pseudo.items()}}
    return [*((name, value) for name, value in changed.items() if value is not None), *fields]


def _head(*fields: tuple[bytes, bytes], ends: bool = True, **pseudo: bytes | None) -> RequestHead:
    head = request_head(_fields(*fields, **pseudo), ends, LIMITS)
    assert isinstance(head, RequestHead)
    return head


def _status(fields: Fields, *, ends: bool = True, limits: LimitsConfig = LIMITS) -> int:
    head = request_head(fields, ends, limits)
    assert isinstance(head, Malformed)
    return head.status


def test_plain_request() -> None:
    """
    It becomes the value that HTTP/1 has.
    """
    head = _head((b"user-agent", b"Mail/1"), (b"x", b""))
    size = len(b"GET/f/auser-agentMail/1x") + 8
    fields = [(b"user-agent", b"Mail/1"), (b"x", b"")]
    host = b"click.example.com"
    line = b"GET /f/a HTTP/2.0"
    expected = RequestHead(
        b"GET", b"/f/a", b"2.0", fields, host, host, b"/f/a", None, False, True, False, size, line, ()
    )
    assert expected == head


@pytest.mark.parametrize(
    ("pseudo", "status"),
    [
        ({"method": None}, 400),
        ({"method": b"get"}, 400),
        ({"method": b"G ET"}, 400),
        ({"method": b"G\r\nX"}, 400),
        ({"method": b"A" * 33}, 501),
        ({"method": b"CONNECT"}, 405),
        ({"method": b"CONNECT", "path": None, "scheme": None}, 405),
        ({"path": None}, 400),
        ({"path": b""}, 400),
        ({"path": b"f"}, 400),
        ({"path": b"*"}, 400),
        ({"path": b"http://click.example.com/"}, 400),
        ({"path": b"/a b"}, 400),
        ({"path": b"/ HTTP/1.1\r\nHost: other\r\n\r\nGET /"}, 400),
        ({"path": b"/\x00"}, 400),
        ({"path": b"/\x7f"}, 400),
        ({"path": b"/" + b"a" * 8192}, 414),
        ({"scheme": None}, 400),
        ({"scheme": b"ftp"}, 400),
        ({"scheme": b""}, 400),
        ({"method": b"OPTIONS", "path": b"*"}, 400),
        ({"authority": b"click..example.com"}, 400),
        ({"scheme": b"https\r\n"}, 400),
        ({"authority": None}, 400),
        ({"authority": b""}, 400),
        ({"authority": b"user@click.example.com"}, 400),
        ({"authority": b"click.example.com:port"}, 400),
        ({"authority": b"click.example.com\r\nX: y"}, 400),
        ({"status": b"200"}, 400),
        ({"protocol": b"websocket"}, 400),
        ({"": b"x"}, 400),
    ],
)
def test_pseudo_fields_are_what_they_must_be(pseudo: dict[str, bytes | None], status: int) -> None:
    """
    The four of a request, once each, each with what HTTP/1 would take.
    """
    assert status == _status(_fields(**pseudo))


@pytest.mark.parametrize(
    "fields",
    [
        [*_fields(), (b":path", b"/x")],
        [_fields()[0], *_fields()],
        [*_fields(), (b"a", b"b"), (b":method", b"GET")],
        [(b"a", b"b"), *_fields()],
        [],
    ],
)
def test_pseudo_fields_come_first_and_once(fields: Fields) -> None:
    """
    Anything else is malformed (RFC 9113 §8.3).
    """
    assert 400 == _status(fields)


@pytest.mark.parametrize(
    "field",
    [
        (b"connection", b"close"),
        (b"keep-alive", b"5"),
        (b"proxy-connection", b"close"),
        (b"transfer-encoding", b"chunked"),
        (b"transfer-encoding", b""),
        (b"upgrade", b"h2c"),
        (b"te", b"gzip"),
        (b"te", b"trailers, gzip"),
        (b"User-Agent", b"x"),
        (b"", b"x"),
        (b"a b", b"x"),
        (b"a:", b"x"),
        (b"a\r\nb", b"x"),
        (b"a\x00", b"x"),
        (b"a\xe4", b"x"),
        (b"a", b"x\r\ny: z"),
        (b"a", b"x\ny"),
        (b"a", b"x\ry"),
        (b"a", b"x\x00"),
        (b"a", b"\x0b"),
        (b"host", b"other.example.com"),
        (b"content-length", b"+1"),
        (b"content-length", b"1, 1"),
        (b"content-length", b""),
    ],
)
def test_field_that_may_not_be_there_is_refused(field: tuple[bytes, bytes]) -> None:
    """
    What concerns a connection, what HTTP/1 couldn't hold, what could be read in two ways.
    """
    assert 400 == _status(_fields((b"x", b"y"), field), ends=False)


@pytest.mark.parametrize("name", [b"content-length", b"host"])
def test_second_one_is_refused(name: bytes) -> None:
    """
    Two lengths or two hosts are not merged, even if they are equal.
    """
    value = b"5" if name == b"content-length" else b"click.example.com"
    assert 400 == _status(_fields((name, value), (name, value)), ends=False)


@pytest.mark.parametrize(
    ("authority", "host", "expected"),
    [
        (b"click.example.com", None, b"click.example.com"),
        (None, b"click.example.com:443", b"click.example.com:443"),
        (b"Click.example.com", b"click.Example.com", b"Click.example.com"),
    ],
)
def test_host_is_either(authority: bytes | None, host: bytes | None, expected: bytes) -> None:
    """
    `:authority` or Host, or both when they say the same.
    """
    fields = [] if host is None else [(b"host", host)]
    assert expected == _head(*fields, authority=authority).authority


def test_crumbs_are_one_cookie() -> None:
    """
    Browsers send a cookie in pieces (RFC 9113 §8.2.3); HTTP/1 has one, where the first was.
    """
    head = _head((b"cookie", b"a=b"), (b"x", b"y"), (b"cookie", b"c=d"), (b"cookie", b"e=f"))
    assert [(b"cookie", b"a=b; c=d; e=f"), (b"x", b"y")] == head.fields


def test_space_round_a_value_is_not_part_of_it() -> None:
    """
    It is forgiven, as by nginx: the click is worth more.
    """
    assert [(b"a", b"x"), (b"te", b"Trailers")] == _head((b"a", b" x\t"), (b"te", b"Trailers ")).fields


@pytest.mark.parametrize(
    ("fields", "ends", "length", "chunked"),
    [
        ([], True, None, False),
        ([], False, None, True),
        ([(b"content-length", b"5")], False, 5, False),
        ([(b"content-length", b"0")], True, 0, False),
        ([(b"content-length", b"0")], False, 0, False),
    ],
)
def test_length(fields: Fields, ends: bool, length: int | None, chunked: bool) -> None:
    """
    Content of unknown length goes on in chunks.
    """
    head = _head(*fields, ends=ends)
    assert (length, chunked) == (head.content_length, head.chunked)


def test_content_that_can_not_come_is_refused() -> None:
    """
    A length and an end at once would let the upstream wait for what is the next request's.
    """
    assert 400 == _status(_fields((b"content-length", b"5")))


def test_limits() -> None:
    """
    Of fields in number and size, and of the content; the cookie counts as one.
    """
    assert 431 == _status(_fields(*[(b"a", b"b")] * 101))
    assert 431 == _status(_fields(*[(b"a", b"b" * 8000)] * 5))
    assert 413 == _status(_fields((b"content-length", b"11")), ends=False, limits=LimitsConfig(body_bytes=10))
    assert 1 == len(_head(*[(b"cookie", b"a")] * 200).fields)


def test_field_over_the_limit_is_431() -> None:
    """
    Counted as in HTTP/1, the cookie in one piece.
    """
    assert 1 == len(_head((b"a", b"b" * 8187)).fields)
    assert 431 == _status(_fields((b"c", b"d"), (b"a", b"b" * 8188)))
    assert 1 == len(_head(*[(b"cookie", b"a" * 1000)] * 8).fields)
    assert 431 == _status(_fields(*[(b"cookie", b"a" * 1000)] * 9))


@pytest.mark.parametrize("name", sorted(ONCE))
def test_field_that_says_one_thing_may_be_there_once(name: bytes) -> None:
    """
    As in HTTP/1.
    """
    field = (name, b"100-continue")
    assert 1 == len(_head(field, ends=False).fields)
    assert 400 == _status(_fields(field, field), ends=False)


@pytest.mark.parametrize(
    ("fields", "ends", "expects"),
    [
        ([(b"expect", b"100-Continue")], False, True),
        ([(b"expect", b"100-continue"), (b"content-length", b"1")], False, True),
        ([(b"expect", b"100-continue"), (b"content-length", b"0")], False, False),
        ([(b"expect", b"100-continue"), (b"content-length", b"0")], True, False),
        ([(b"expect", b"100-continue")], True, False),
    ],
)
def test_expectation(fields: Fields, ends: bool, expects: bool) -> None:
    """
    Only who has content waits for 100.
    """
    assert expects == _head(*fields, ends=ends).expects_continue


def test_other_expectations_are_refused() -> None:
    """
    As in HTTP/1.
    """
    assert 417 == _status(_fields((b"expect", b"200-ok")), ends=False)


@pytest.mark.parametrize("scheme", [b"https", b"HTTPS", b"http"])
def test_a_proxy_before_us_may_name_the_scheme_that_it_was_asked_with(scheme: bytes) -> None:
    """
    As with nginx; nothing depends on it: what the service is told is how we were asked.
    """
    assert b"/f/a" == _head(scheme=scheme).target


@pytest.mark.parametrize("value", [b" 5", b"5 ", b"\t5", b"5\t"])
def test_space_round_a_length_is_refused(value: bytes) -> None:
    """
    What could be read in two ways is not forgiven (RFC 9113 §8.2.1), by nginx neither.
    """
    assert 400 == _status(_fields((b"content-length", value)), ends=False)


@pytest.mark.parametrize("value", [b" click.example.com", b"click.example.com\t"])
def test_space_round_a_host_is_refused(value: bytes) -> None:
    """
    Nor is it round the host.
    """
    assert 400 == _status(_fields((b"host", value)))


@pytest.mark.parametrize(
    ("pseudo", "line"),
    [
        ({"path": b"x"}, b"GET x HTTP/2.0"),
        ({"path": b"/" + b"a" * 9000}, b"GET /" + b"a" * 1019),
        ({"path": None, "scheme": None, "authority": None}, b""),
    ],
)
def test_refused_request_has_a_line_for_the_log(pseudo: dict[str, bytes | None], line: bytes) -> None:
    """
    As much as is known of it, within bounds.
    """
    head = request_head(_fields(**pseudo), True, LIMITS)
    assert isinstance(head, Malformed)
    assert line == head.request_line


def test_trailers() -> None:
    """
    Any fields but pseudo-fields and the connection's, as many and as large as HTTP/1's may be.
    """
    taken: list[Fields] = [[], [(b"x-checksum", b"1")], [(b"a", b"b")] * 100, [(b"a", b"b" * 16379)]]
    refused: list[Fields] = [
        [(b":path", b"/")],
        [(b"x", b"\r\n")],
        [(b"X", b"y")],
        [(b"", b"y")],
        [(b"a", b"b"), (b"connection", b"close")],
        [(b"a", b"b")] * 101,
        [(b"a", b"b" * 16380)],
    ]
    assert ([True] * 4, [False] * 7) == ([*map(are_trailers, taken)], [*map(are_trailers, refused)])


@given(
    pseudo=st.fixed_dictionaries(
        {name: st.just(value) | st.binary(max_size=8) | st.none() for name, value in PSEUDO.items()}
    ),
    fields=st.lists(
        st.tuples(
            st.sampled_from([b"a", b"host", b"cookie", b"te", b"content-length", b"expect"]) | st.binary(max_size=5),
            st.binary(max_size=12) | st.sampled_from([b"click.example.com", b"5", b"trailers"]),
        ),
        max_size=4,
    ),
    ends=st.booleans(),
)
def test_whatever_is_taken_is_one_request_in_http1(
    pseudo: dict[bytes, bytes | None], fields: Fields, ends: bool
) -> None:
    """
    What goes to the upstream is read by HTTP/1's own parser as the same request, and as nothing after it.
    """
    given_fields = [(name, value) for name, value in pseudo.items() if value is not None] + fields
    head = request_head(given_fields, ends, LIMITS)
    if isinstance(head, Malformed):
        assert head.status in {400, 405, 414, 417}
        return
    raw = for_upstream(head, SITE, b"192.0.2.7", b"https")
    read = parse_request(raw, LIMITS)
    assert isinstance(read, RequestHead)
    assert (len(raw), head.method, head.target, head.authority) == (read.size, read.method, read.target, read.authority)
    assert (head.content_length, head.chunked) == (read.content_length, read.chunked)

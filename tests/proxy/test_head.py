from __future__ import annotations

from typing import TYPE_CHECKING

import h11
import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptls.config import LimitsConfig
from sptls.proxy.fields import ONCE
from sptls.proxy.head import (
    MAX_FIELDS,
    NEED_MORE,
    Malformed,
    NeedMore,
    RequestHead,
    ResponseHead,
    parse_request,
    parse_response,
)

if TYPE_CHECKING:
    from hypothesis.strategies import DrawFn

LIMITS = LimitsConfig()
SMALL = LimitsConfig(head_bytes=400, target_bytes=100, field_bytes=300, body_bytes=1000)
# Under which a field can be too long where the head isn't.
SHORT_FIELDS = LimitsConfig(head_bytes=80, target_bytes=20, field_bytes=30)


CLICK = (
    b"GET /f/a/Hcv1nwnOfCFeZmc3EvMwsQ~~/AALoUwA~?target=http%3A%2F%2Fwww.sparkpost.com HTTP/1.1\r\n"
    b"Host: click.example.com\r\n"
    b"User-Agent: Mozilla/5.0\r\n"
    b"accept:*/*\r\n"
    b"\r\n"
)


def request(first: bytes, *fields: bytes) -> bytes:
    """
    Give a request head; a Host field is added where *fields* have none.
    """
    if not any(field.lower().startswith(b"host") for field in fields):
        fields = (b"Host: click.example.com", *fields)
    return b"\r\n".join([first, *fields, b"", b""])


def accepted(data: bytes, limits: LimitsConfig = LIMITS) -> RequestHead:
    """
    Parse a request head that must be fine.
    """
    head = parse_request(data, limits)
    assert isinstance(head, RequestHead), head
    return head


def status(data: bytes, limits: LimitsConfig = LIMITS) -> int | None:
    """
    Give the status that refuses *data*, None when nothing does.
    """
    head = parse_request(data, limits)
    return head.status if isinstance(head, Malformed) else None


def test_a_click_is_read_as_sent() -> None:
    """
    All of a usual head, and not a byte after it.
    """
    target = CLICK.split(b" ")[1]
    expected = RequestHead(
        method=b"GET",
        target=target,
        version=b"1.1",
        fields=[(b"Host", b"click.example.com"), (b"User-Agent", b"Mozilla/5.0"), (b"accept", b"*/*")],
        host=b"click.example.com",
        authority=b"click.example.com",
        origin_target=target,
        content_length=None,
        chunked=False,
        keep_alive=True,
        expects_continue=False,
        size=len(CLICK),
        request_line=CLICK.split(b"\r\n")[0],
        connection_options=(),
    )
    assert expected == parse_request(CLICK + b"GET /next", LIMITS) == parse_request(bytearray(CLICK), LIMITS)


@pytest.mark.parametrize(
    "target",
    [
        b"/",
        b"//",
        b"/a%2Fb~~/%2e%2E/../x;p=1/%7Eu+v?target=http%3A%2F%2Fx&&=#frag",
        b"/\x80\xff\xc3\xa9",
        b"/\"<>\\^`{|}'",
        b"/%00%zz%",
        b"/?",
        b"/http://other.example/",
    ],
)
def test_targets_pass_byte_for_byte(target: bytes) -> None:
    """
    Only controls and spaces are no part of a target; what the rest means is the service's business.
    """
    head = accepted(request(b"GET " + target + b" HTTP/1.1"))
    assert (target, target) == (head.target, head.origin_target)


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (b"GET http://Other.example:80/p?q HTTP/1.1", (b"Other.example", b"Other.example:80", b"/p?q")),
        (b"GET HTTPS://other.example HTTP/1.1", (b"other.example", b"other.example", b"/")),
        (b"GET http://other.example?q/ HTTP/1.1", (b"other.example", b"other.example", b"/?q/")),
        (b"OPTIONS http://other.example HTTP/1.1", (b"other.example", b"other.example", b"/")),
        (b"OPTIONS http://other.example/ HTTP/1.1", (b"other.example", b"other.example", b"/")),
    ],
)
def test_other_forms_of_a_target(first: bytes, expected: tuple[bytes, bytes, bytes]) -> None:
    """
    An absolute-form target names the host, whatever Host says, and goes on in origin-form (RFC 9112 §3.2.2).
    """
    head = accepted(request(first))
    assert expected == (head.host, head.authority, head.origin_target)


@pytest.mark.parametrize(
    ("value", "host"),
    [
        (b"click.example.com:8443", b"click.example.com"),
        (b"CLICK.example.com.", b"CLICK.example.com."),
        (b"a_b.example:", b"a_b.example"),
        (b"192.0.2.1:80", b"192.0.2.1"),
        (b"[2001:db8::1]:443", b"[2001:db8::1]"),
        (b"[::]", b"[::]"),
    ],
)
def test_host_is_without_port(value: bytes, host: bytes) -> None:
    """
    The port is cut off, the spelling stays.
    """
    head = accepted(request(b"GET / HTTP/1.1", b"Host: " + value))
    assert (host, value) == (head.host, head.authority)


def test_http_1_0_needs_no_host() -> None:
    """
    Its head may name no host; an absolute target does then.
    """
    head = accepted(b"GET / HTTP/1.0\r\n\r\n")
    assert (None, b"", b"1.0", False) == (head.host, head.authority, head.version, head.keep_alive)
    assert b"x.example" == accepted(b"GET http://x.example/ HTTP/1.0\r\n\r\n").host


REFUSED = [
    # the request line
    (b"GET /  HTTP/1.1", (), 400),
    (b"GET  / HTTP/1.1", (), 400),
    (b" GET / HTTP/1.1", (), 400),
    (b"GET / HTTP/1.1 ", (), 400),
    (b"GET /a b HTTP/1.1", (), 400),
    (b"GET\t/ HTTP/1.1", (), 400),
    (b"GET /\tx HTTP/1.1", (), 400),
    (b"GET /\x7f HTTP/1.1", (), 400),
    (b"GET /\0 HTTP/1.1", (), 400),
    (b"GET /\x0b HTTP/1.1", (), 400),
    (b"get / HTTP/1.1", (), 400),
    (b"G:T / HTTP/1.1", (), 400),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", (), 400),
    (b"A" * 33 + b" / HTTP/1.1", (), 501),
    (b"A" * 33 + b"\0 / HTTP/1.1", (), 501),
    (b"GET /", (), 400),
    (b"GET / HTTP/0.9", (), 400),
    (b"GET / HTTP/2.0", (), 505),
    (b"GET / HTTP/3.7", (), 505),
    (b"GET / HTTP/1.10", (), 400),
    (b"GET / HTTP/11", (), 400),
    (b"GET / HTTP/1,1", (), 400),
    (b"GET / HTTP/x.1", (), 400),
    (b"GET / HTTP/1.x", (), 400),
    (b"GET / http/1.1", (), 400),
    (b"GET / RTSP/1.0", (), 400),
    (b"PRI * HTTP/2.0", (), 505),
    (b"GET * HTTP/1.1", (), 400),
    (b"OPTIONS * HTTP/1.1", (), 400),
    (b"GET path HTTP/1.1", (), 400),
    (b"GET click.example.com:80 HTTP/1.1", (), 400),
    (b"GET ftp://x.example/ HTTP/1.1", (), 400),
    (b"GET http:///p HTTP/1.1", (), 400),
    (b"GET http://user@x.example/ HTTP/1.1", (), 400),
    (b"GET http://x.example#f HTTP/1.1", (), 400),
    (b"GET http://x.example/ HTTP/1.1", (b"Host: a b",), 400),
    (b"CONNECT x.example:443 HTTP/1.1", (), 405),
    # Host
    (b"GET / HTTP/1.1", (b"Host: a", b"host: a"), 400),
    (b"GET / HTTP/1.0", (b"Host: a", b"host: b"), 400),
    (b"GET / HTTP/1.1", (b"Host:",), 400),
    (b"GET / HTTP/1.1", (b"Host: a/b",), 400),
    (b"GET / HTTP/1.1", (b"Host: a:b",), 400),
    (b"GET / HTTP/1.1", (b"Host: a:1:2",), 400),
    (b"GET / HTTP/1.1", (b"Host: a:999999",), 400),
    (b"GET / HTTP/1.1", (b"Host: \xc3\xa9.example",), 400),
    (b"GET / HTTP/1.1", (b"Host: u@a",), 400),
    (b"GET / HTTP/1.1", (b"Host: [::1",), 400),
    (b"GET / HTTP/1.1", (b"Host: []",), 400),
    (b"GET / HTTP/1.1", (b"Host: [x]",), 400),
    (b"GET / HTTP/1.1", (b"Host: [::1]80",), 400),
    (b"GET / HTTP/1.1", (b"Host: click.example.com..",), 400),
    (b"GET / HTTP/1.1", (b"Host: click..example.com",), 400),
    (b"GET http://x.example/ HTTP/1.1", (b"Host: click..example.com",), 400),
    (b"GET http://x..example/ HTTP/1.1", (), 400),
    (b"GET / HTTP/1.1", (b"Host:\tclick.example.com",), 400),
    (b"GET / HTTP/1.1", (b"HOST: click.example.com \t",), 400),
    # fields
    (b"GET / HTTP/1.1", (b"A : b",), 400),
    (b"GET / HTTP/1.1", (b"A: b", b" c"), 400),
    (b"GET / HTTP/1.1", (b"A: b\nC: d",), 400),
    (b"GET / HTTP/1.1\nX: y", (), 400),
    (b"GET / HTTP/1.1", (b"A: b",) * MAX_FIELDS, 431),
    # framing
    (b"POST / HTTP/1.1", (b"Content-Length: 5", b"Content-Length: 5"), 400),
    (b"POST / HTTP/1.1", (b"Content-Length: 5, 5",), 400),
    (b"POST / HTTP/1.1", (b"Content-Length: +5",), 400),
    (b"POST / HTTP/1.1", (b"Content-Length: " + b"1" * 20,), 400),
    (b"POST / HTTP/1.1", (b"Content-Length:\t5",), 400),
    (b"POST / HTTP/1.1", (b"content-length: 5\t",), 400),
    (b"POST / HTTP/1.1", (b"Transfer-Encoding:\tchunked",), 400),
    (b"POST / HTTP/1.1", (b"TRANSFER-ENCODING: chunked\t",), 400),
    (b"POST / HTTP/1.1", (b"Content-Length: 5", b"Transfer-Encoding: chunked"), 400),
    (b"POST / HTTP/1.1", (b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), 400),
    (b"POST / HTTP/1.0", (b"Transfer-Encoding: chunked",), 400),
    (b"POST / HTTP/1.1", (b"Transfer-Encoding: gzip, chunked",), 501),
    (b"POST / HTTP/1.1", (b"Transfer-Encoding: identity",), 501),
    (b"POST / HTTP/1.1", (b"Transfer-Encoding:",), 501),
    (b"POST / HTTP/1.1", (b"Expect: 200-ok",), 417),
]


@pytest.mark.parametrize(("first", "fields", "expected"), REFUSED)
def test_broken_requests_are_refused(first: bytes, fields: tuple[bytes, ...], expected: int) -> None:
    """
    Each fault has its status, and the start of the first line is kept for the access log.
    """
    refused = parse_request(request(first, *fields), LIMITS)
    assert isinstance(refused, Malformed)
    assert (expected, first.split(b"\n")[0]) == (refused.status, refused.request_line)


@pytest.mark.parametrize(("first", "fields", "expected"), REFUSED)
def test_a_fault_has_one_status_however_the_head_arrives(
    first: bytes, fields: tuple[bytes, ...], expected: int
) -> None:
    """
    Every beginning of a broken head needs more, or is refused with the whole one's status.
    """
    data = request(first, *fields)
    assert {status(data[:cut]) for cut in range(len(data))} <= {None, expected}


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"GET / HTTP/1.1\n",
        b"GET / HTTP/1.1\r\n\r\n"[:14] + b"x",
        b"\r\n\r\n",
        b" ",
    ],
)
def test_what_can_become_no_request_is_refused_at_once(data: bytes) -> None:
    """
    Nobody waits for the end of a head that isn't one.
    """
    assert 400 == status(data)


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\0", b"\v", b"\r\r\n", b"\n\r"])
@pytest.mark.parametrize("step", [1, 2, 7, 1000])
def test_end_of_a_line_that_is_none_is_refused_before_the_end_of_the_head(end: bytes, step: int) -> None:
    """
    Lines that end so may never have the end that is waited for; it is found however the head arrives.
    """
    good = b"GET / HTTP/1.1\r\nHost: a.example"
    data = good + end + b"X-A: b"
    cuts = (min(at, len(data)) for at in range(step, len(data) + step, step))
    refused = next(cut for cut in cuts if NEED_MORE is not parse_request(data[:cut], LIMITS, max(0, cut - step)))
    assert len(good) < refused <= len(good) + len(end) + step
    assert 400 == status(data[:refused])


@pytest.mark.parametrize("data", [b"", b"\r", b"\r\n", b"\r\nG", b"GET", b"GET /", CLICK[:-1], CLICK[:-2], CLICK[:-4]])
def test_unfinished_heads_need_more(data: bytes) -> None:
    """
    So does an empty line before the request line.
    """
    assert NEED_MORE is parse_request(data, LIMITS)


def test_one_empty_line_before_the_request_line_is_forgiven() -> None:
    """
    It counts as part of the head (RFC 9112 §2.2); a second one is refused.
    """
    head = accepted(b"\r\n" + CLICK)
    assert (len(CLICK) + 2, CLICK.split(b"\r\n")[0]) == (head.size, head.request_line)
    assert 400 == status(b"\r\n\r\n" + CLICK)


def test_later_minor_versions_are_as_good_as_1_1() -> None:
    """
    HTTP/1.7 is treated as the highest version we know (RFC 9110 §2.5).
    """
    assert b"1.1" == accepted(request(b"GET / HTTP/1.7")).version


def test_a_target_over_the_limit_is_414_before_it_ends() -> None:
    """
    The limit itself is fine; the first byte over it is enough.
    """
    longest = b"/" + b"x" * 99
    assert longest == accepted(request(b"GET " + longest + b" HTTP/1.1"), SMALL).target
    assert (None, 414) == (status(b"GET " + longest, SMALL), status(b"GET " + longest + b"x", SMALL))
    assert 414 == status(request(b"GET " + longest + b"x HTTP/1.1"), SMALL)
    assert (None, 400) == (
        status(b"GET " + longest + b"\r", SMALL),
        status(b"GET " + longest + b"\r\n", SMALL),
    )


def test_a_head_over_the_limit_is_431_before_it_ends() -> None:
    """
    The limit itself is fine; the first byte over it is enough.
    """
    frame = len(request(b"GET / HTTP/1.1", b"X: ", b"Y: " + b"z" * 200))
    longest = request(b"GET / HTTP/1.1", b"X: " + b"y" * (400 - frame), b"Y: " + b"z" * 200)
    assert 400 == accepted(longest, SMALL).size
    too_long = longest.replace(b"X: ", b"X: yy")
    assert (None, 431, 431) == (status(too_long[:400], SMALL), status(too_long[:401], SMALL), status(too_long, SMALL))


def test_a_field_over_the_limit_is_431_before_it_ends() -> None:
    """
    The limit itself is fine, its line's end not counted; the first byte over it is enough, wherever the field is.
    """
    longest = b"X: " + b"y" * 297
    assert longest[3:] == accepted(request(b"GET / HTTP/1.1", longest), SMALL).fields[1][1]
    begun = request(b"GET / HTTP/1.1")[:-2]
    whole = begun + longest + b"x\r\nY: z"
    assert {431} == {status(whole[: len(whole) - cut], SMALL) for cut in range(6)}
    assert 431 == getattr(parse_request(whole, SMALL, len(begun) + 1), "status", None)
    assert (None, None, 431) == tuple(status(begun + longest + more, SMALL) for more in (b"", b"\r", b"x"))
    assert 431 == status(begun + longest + b"x\r\n", SMALL)
    assert 431 == status(request(b"GET / HTTP/1.1", longest + b"x", b"Y: z"), SMALL)


def test_the_defaults_leave_nginx_its_lines() -> None:
    """
    What is longer than 8,190 bytes gets 414 or 431, as nginx 1.22 and Apache 2.4 refuse it, whatever the method.
    """
    target = b"/" + b"a" * (8190 - len(b"GET /" + b" HTTP/1.1") - 29)
    assert target == accepted(request(b"GET %b HTTP/1.1" % target)).target
    assert 8190 == len(b"%b %b HTTP/1.1" % (b"A" * 32, target))
    assert 414 == status(request(b"GET %ba HTTP/1.1" % target))
    assert (None, 431) == tuple(
        status(request(b"GET / HTTP/1.1", b"X:" + b" " * size)) for size in (8190 - 2, 8190 - 1)
    )


@pytest.mark.parametrize("name", sorted(ONCE))
def test_field_that_says_one_thing_twice_is_400(name: bytes) -> None:
    """
    As by nginx: the service might go by either.
    """
    field = b"%b: 100-continue" % name
    assert (None, 400) == tuple(status(request(b"GET / HTTP/1.1", *[field] * times)) for times in (1, 2))


def test_other_fields_may_be_there_twice() -> None:
    """
    Cookies among them, and what lists are made of (RFC 9110 §5.3): each goes on as it came.
    """
    fields = [b"%b: a" % name for name in (b"Cookie", b"Range", b"Referer", b"User-Agent", b"Content-Type", b"Accept")]
    assert 13 == len(accepted(request(b"GET / HTTP/1.1", *fields, *fields)).fields)


def test_content_over_the_limit_is_413() -> None:
    """
    Where a limit is configured.
    """
    post = request(b"POST / HTTP/1.1", b"Content-Length: 1001")
    assert (413, None) == (status(post, SMALL), status(post, LIMITS))
    assert 1000 == accepted(post.replace(b"1001", b"1000"), SMALL).content_length


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (b"X: y", (None, False)),
        (b"Content-Length: 0", (0, False)),
        (b"content-length: 12", (12, False)),
        (b"Transfer-Encoding: Chunked", (None, True)),
    ],
)
def test_framing_is_read(field: bytes, expected: tuple[int | None, bool]) -> None:
    """
    A request has a length, or chunks, or no content at all.
    """
    head = accepted(request(b"POST / HTTP/1.1", field))
    assert expected == (head.content_length, head.chunked)


@pytest.mark.parametrize(
    ("version", "fields", "expected"),
    [
        (b"1.1", (b"Content-Length: 3", b"Expect: 100-Continue"), True),
        (b"1.1", (b"Transfer-Encoding: chunked", b"Expect: 100-continue"), True),
        (b"1.1", (b"Content-Length: 0", b"Expect: 100-continue"), False),
        (b"1.1", (b"Expect: 100-continue",), False),
        (b"1.0", (b"Content-Length: 3", b"Expect: 100-continue"), False),
    ],
)
def test_only_content_is_waited_for(version: bytes, fields: tuple[bytes, ...], expected: bool) -> None:
    """
    100 is for HTTP/1.1 clients that have content to send (RFC 9110 §10.1.1).
    """
    assert expected == accepted(request(b"POST / HTTP/" + version, *fields)).expects_continue


def test_an_upgrade_stays_a_plain_request() -> None:
    """
    ``curl --http2``'s options are kept for those who drop the fields, and its content isn't lost.
    """
    fields = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"Content-Length: 3")
    head = accepted(request(b"POST / HTTP/1.1", *fields))
    assert ((b"upgrade", b"http2-settings"), 3, True) == (head.connection_options, head.content_length, head.keep_alive)


def test_http_1_1_needs_a_host() -> None:
    """
    Even with an absolute target (RFC 9112 §3.2).
    """
    heads = (b"GET / HTTP/1.1\r\n\r\n", b"GET http://x.example/ HTTP/1.1\r\nHos: x\r\n\r\n")
    assert [400, 400] == [status(head) for head in heads]


def test_malformed_has_no_path_in_its_repr() -> None:
    """
    What goes into a log by accident shows no tracking link.
    """
    refused = parse_request(request(b"GET /secret HTTP/9.9"), LIMITS)
    assert "secret" not in repr(refused)


# Heads near the rules' edges, and what random bytes do to them.
METHODS = st.sampled_from([b"GET", b"HEAD", b"POST", b"OPTIONS", b"M-SEARCH", b"get", b"CONNECT", b"A" * 40, b""])
TARGETS = st.sampled_from(
    [b"/", b"/a%2F~~?x=y", b"*", b"http://x.example:80/p", b"/\xff", b"x", b"", b"/" + b"y" * 120]
)
VERSIONS = st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/1.", b""])
NAMES = st.sampled_from(
    [b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Expect", b"Cookie", b"X", b"x-\xe9", b"A "]
)
VALUES = st.sampled_from(
    [
        b"x.example",
        b"0",
        b"5",
        b"5, 5",
        b"chunked",
        b"gzip",
        b"close",
        b"keep-alive",
        b"te, x",
        b"100-continue",
        b"",
        b"\x01",
    ]
)
FIELDS = st.builds(
    lambda name, white, value, more: name + b":" + white + value + more,
    NAMES,
    st.sampled_from([b" ", b"", b"\t "]),
    VALUES,
    st.sampled_from([b"", b"", b" ", b"\r\n "]),
)


@st.composite
def request_heads(draw: DrawFn) -> bytes:
    """
    Give a request head, mostly a good one, perhaps with some bytes changed.
    """
    good = draw(st.booleans())
    first = b"GET /a HTTP/1.1" if good else b" ".join([draw(METHODS), draw(TARGETS), draw(VERSIONS)])
    hosts = [b"Host: x.example"] if good else []
    data = b"\r\n".join([first, *hosts, *draw(st.lists(FIELDS, max_size=4)), b"", b""])
    if draw(st.booleans()):
        at = draw(st.integers(0, len(data)))
        data = data[:at] + draw(st.binary(max_size=3)) + data[at + draw(st.integers(0, 2)) :]
    return data


@given(st.binary(max_size=60))
def test_any_bytes_give_a_head_or_need_more_or_are_refused(data: bytes) -> None:
    """
    Nothing raises.
    """
    assert isinstance(parse_request(data, SMALL), RequestHead | NeedMore | Malformed)
    assert isinstance(parse_response(data, 50), ResponseHead | NeedMore | Malformed)


@given(request_heads(), st.sampled_from([SMALL, SHORT_FIELDS]))
def test_a_request_head_reads_the_same_however_it_arrives(data: bytes, limits: LimitsConfig) -> None:
    """
    A beginning of a head needs more or is refused as the whole one is; what was scanned need not be again.
    """
    whole = parse_request(data, limits)
    end = whole.size if isinstance(whole, RequestHead) else len(data)
    for cut in range(end):
        part = parse_request(data[:cut], limits)
        if isinstance(part, Malformed):
            assert isinstance(whole, Malformed)
            assert (part.status, part.reason) == (whole.status, whole.reason)
        else:
            assert NEED_MORE is part
            assert whole == parse_request(data, limits, cut)


@given(request_heads(), st.binary(max_size=20))
def test_what_follows_a_request_head_does_not_matter(data: bytes, more: bytes) -> None:
    """
    Content and pipelined requests are left alone.
    """
    head = parse_request(data, SMALL)
    if isinstance(head, RequestHead):
        assert head == parse_request(data[: head.size] + more, SMALL)


@given(request_heads())
def test_h11_reads_what_we_accept_as_we_do(data: bytes) -> None:
    """
    Nothing passes that h11 refuses, but for target bytes from 0x80 on and one empty line before the request line.
    """
    head = parse_request(data, LIMITS)
    if not isinstance(head, RequestHead) or not head.target.isascii() or data.startswith(b"\r\n"):
        return
    oracle = h11.Connection(h11.SERVER)
    oracle.receive_data(data[: head.size])
    event = oracle.next_event()
    assert isinstance(event, h11.Request)
    assert (head.method, head.target) == (event.method, event.target)
    assert head.fields == event.headers.raw_items()
    assert head.version == (b"1.0" if event.http_version == b"1.0" else b"1.1")
    ends = oracle.next_event()
    assert (ends == h11.EndOfMessage()) == (not head.chunked and not head.content_length)


class HttptoolsEvents:
    """
    What httptools reports of a message.
    """

    def __init__(self) -> None:
        self.url, self.complete, self.keep_alive = b"", False, False
        self.fields: list[tuple[bytes, bytes]] = []
        self.parser = httptools.HttpRequestParser(self)

    def on_url(self, url: bytes) -> None:
        """
        Take a piece of the target.
        """
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """
        Take a field.
        """
        self.fields.append((name, value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        """
        Ask what is only known now.
        """
        self.keep_alive = self.parser.should_keep_alive()

    def on_message_complete(self) -> None:
        """
        Take note that there is no (more) content.
        """
        self.complete = True


@given(
    st.sampled_from([b"GET", b"HEAD", b"POST", b"OPTIONS"]),
    st.sampled_from([b"/", b"/a%2F~~?x=y", b"http://x.example/p"]),
    st.sampled_from([b"HTTP/1.1", b"HTTP/1.0"]),
    st.lists(
        st.sampled_from(
            [
                b"Connection: close",
                b"connection: Keep-Alive",
                b"Cookie:a=b ",
                b"X:",
                b"Content-Length: 0",
                b"Content-Length: 5",
                b"Transfer-Encoding: chunked",
                b"Expect: 100-continue",
                b"A: \xe9",
            ]
        ),
        max_size=4,
        unique_by=lambda field: field.split(b":")[0].lower(),
    ),
)
def test_httptools_reads_what_we_accept_as_we_do(
    method: bytes, target: bytes, version: bytes, fields: list[bytes]
) -> None:
    """
    Persistence and framing too, on requests without the things that it is known to refuse.
    """
    data = request(b" ".join([method, target, version]), *fields)
    head = parse_request(data, LIMITS)
    if not isinstance(head, RequestHead):
        return
    events = HttptoolsEvents()
    events.parser.feed_data(data)
    assert (head.target, head.fields) == (events.url, events.fields)
    assert (head.method, head.version) == (events.parser.get_method(), events.parser.get_http_version().encode())
    assert (head.keep_alive, not head.chunked and not head.content_length) == (events.keep_alive, events.complete)


REDIRECT = (
    b"HTTP/1.1 302 Moved Temporarily\r\n"
    b"Server: msys-http\r\n"
    b"Set-Cookie: a\r\nset-cookie: b\r\n"
    b"Content-Length: 0\r\n"
    b"Connection: X-Own\r\n"
    b"\r\n"
)


def answered(data: bytes) -> ResponseHead:
    """
    Parse a response head that must be fine.
    """
    head = parse_response(data, 32768)
    assert isinstance(head, ResponseHead), head
    return head


def test_a_redirect_is_read_as_sent() -> None:
    """
    All of a usual response head, and not a byte after it.
    """
    expected = ResponseHead(
        status=302,
        reason=b"Moved Temporarily",
        version=b"1.1",
        fields=[
            (b"Server", b"msys-http"),
            (b"Set-Cookie", b"a"),
            (b"set-cookie", b"b"),
            (b"Content-Length", b"0"),
            (b"Connection", b"X-Own"),
        ],
        content_length=0,
        chunked=False,
        keep_alive=True,
        size=len(REDIRECT),
        connection_options=(b"x-own",),
    )
    assert expected == parse_response(REDIRECT + b"more", 32768) == parse_response(bytearray(REDIRECT), 32768)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"HTTP/1.1 200 OK", (200, b"OK", b"1.1")),
        (b"HTTP/1.0 204 ", (204, b"", b"1.0")),
        (b"HTTP/1.1 204", (204, b"", b"1.1")),
        (b"HTTP/1.2 999 \xff\x01 x ", (999, b"\xff\x01 x ", b"1.1")),
        (b"HTTP/1.1 100 Continue", (100, b"Continue", b"1.1")),
    ],
)
def test_status_lines_are_read(line: bytes, expected: tuple[int, bytes, bytes]) -> None:
    """
    Any reason is fine, and none.
    """
    head = answered(line + b"\r\n\r\n")
    assert expected == (head.status, head.reason, head.version)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/2.0 200 OK\r\n\r\n",
        b"HTTP/1.x 200 OK\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"HTTP/1.10 200 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 200\tOK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"<html>",
        b"\r\n\r\n",
        b"HTTP/1.1 200 O\nK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        b"HTTP/1.1 200 OK\n",
        b"HTTP/1.1 200 OK\rContent-Length: 2\r\rok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\n\nok",
        b"HTTP/1.1 302 Found\r\nLocation: /a\nSet-Cookie: b=c\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 32768,
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 32768 + b"\r\n\r\n",
    ],
)
def test_broken_responses_are_502(data: bytes) -> None:
    """
    The client hears of a bad gateway, whatever it was.
    """
    refused = parse_response(data, 32768)
    assert isinstance(refused, Malformed)
    assert 502 == refused.status


@pytest.mark.parametrize(
    ("first", "field", "expected"),
    [
        (b"HTTP/1.1 200 OK", b"Transfer-Encoding: Chunked", (None, True, True)),
        (b"HTTP/1.0 200 OK", b"Transfer-Encoding: chunked\r\nConnection: keep-alive", (None, True, False)),
        (b"HTTP/1.0 200 OK", b"Content-Length: 7\r\nConnection: keep-alive", (7, False, True)),
        (b"HTTP/1.1 200 OK", b"Connection: close", (None, False, False)),
    ],
)
def test_response_framing_is_read(first: bytes, field: bytes, expected: tuple[int | None, bool, bool]) -> None:
    """
    Chunks under HTTP/1.0 are read, but their connection isn't used again (RFC 9112 §6.1).
    """
    head = answered(b"\r\n".join([first, field, b"", b""]))
    assert expected == (head.content_length, head.chunked, head.keep_alive)


RESPONSE_FIELDS = st.sampled_from(
    [
        b"Content-Length: 5",
        b"Content-Length: 0",
        b"Transfer-Encoding: chunked",
        b"Connection: close",
        b"Set-Cookie: a=b",
        b"set-cookie: \x01",
        b"X:",
        b"A : b",
        b" c",
        b"Keep-Alive: x\xff",
    ]
)


@given(
    st.sampled_from([b"HTTP/1.1 200 OK", b"HTTP/1.0 302 Found", b"HTTP/1.1 304", b"HTTP/1.1 103 Early", b"HTTP/1.1 2"]),
    st.lists(RESPONSE_FIELDS, max_size=4),
    st.binary(max_size=3),
    st.integers(0, 60),
)
def test_a_response_head_reads_as_h11_does_however_it_arrives(
    line: bytes, fields: list[bytes], change: bytes, at: int
) -> None:
    """
    Nothing passes that h11 refuses, and every beginning needs more or is refused as the whole is.
    """
    data = b"\r\n".join([line, *fields, b"", b""])
    data = data[:at] + change + data[at:] if at < len(data) else data
    head = parse_response(data, 32768)
    end = head.size if isinstance(head, ResponseHead) else len(data)
    parts = {type(parse_response(data[:cut], 32768)) for cut in range(end)}
    assert parts <= ({NeedMore, Malformed} if isinstance(head, Malformed) else {NeedMore})
    if isinstance(head, ResponseHead):
        oracle = h11.Connection(h11.CLIENT)
        oracle.send(h11.Request(method=b"GET", target=b"/", headers=[(b"Host", b"x.example")]))
        oracle.receive_data(data[: head.size])
        event = oracle.next_event()
        assert isinstance(event, h11.Response | h11.InformationalResponse)
        assert (head.status, head.reason, head.fields) == (event.status_code, event.reason, event.headers.raw_items())

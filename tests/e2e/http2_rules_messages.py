"""
Messages in HTTP/2 (RFC 9113 §8), their fields' compression (RFC 7541), and what other documents say.
"""

from __future__ import annotations

from typing import Final

from tests.e2e.http2_rules import CLOSED, OPEN, rules
from tests.e2e.http2_wire import (
    Acknowledged,
    Answered,
    Began,
    Either,
    Gone,
    Reset,
    Script,
    block,
    get,
    headers,
    integer,
    literal,
    post,
)
from tests.proxy.http2_client import (
    CALM,
    COMPRESSION_ERROR,
    END_HEADERS,
    END_STREAM,
    NO_ERROR,
    PROTOCOL_ERROR,
    data,
    frame,
    reset,
    settings,
)

# A malformed request is a stream's error, which may be answered (RFC 9113 §8.1.1).
MALFORMED: Final = Answered(400)
INDEXED: Final = b"\x82\x87"  # :method GET, :scheme https
AUTHORITY: Final = b"\x01\x11click.example.com"
PATH: Final = b"\x04\x04/q/x"
PRIORITY_UPDATE: Final = 0x10


def _malformed(**cases: Script) -> list[tuple[str, Script]]:
    return [(what.replace("_", " "), (*script, MALFORMED)) for what, script in cases.items()]


def _name(name: bytes, value: bytes = b"y") -> Script:
    return (get(1, (name, value)),)


MESSAGES: Final = [
    *rules(
        "RFC 9113 §8.1",
        ("GET", (get(1), Answered(200))),
        ("HEAD has no content", (get(1, method=b"HEAD"), Answered(200, content=b""))),
        ("POST", (post(1) + data(1, b"content", ends=True), Answered(200, content=b"content"))),
        ("POST with trailers", (OPEN + data(1, b"x") + headers(1, literal(b"x-sum", b"1")),
                                Answered(200, content=b"x"))),
        ("an empty block of trailers", (OPEN + data(1, b"x") + headers(1, b""), Answered(200, content=b"x"))),
        ("a second HEADERS that isn't the end", (OPEN + headers(1, literal(b"x", b"y"), END_HEADERS),
                                                 Reset((PROTOCOL_ERROR,)))),
        ("204 and 304 have no content", (get(1, path=b"/no-content") + get(3, path=b"/not-modified"),
                                         Answered(204, content=b""), Answered(304, 3, content=b""))),
        ("an answer in chunks", (get(1, path=b"/chunked"), Answered(200, content=b"hello world"))),
        ("an answer before the request's end", (post(1, authority=b"other.example"), Answered(421),
                                                Reset((NO_ERROR,)))),
    ),
    *rules(
        "RFC 9113 §8.1.1",
        *_malformed(content_length_without_content=(get(1, (b"content-length", b"1")),)),
        ("more content than Content-Length", (post(1, (b"content-length", b"1")) + data(1, b"xx", ends=True),
                                              Reset((PROTOCOL_ERROR,)))),
        ("less content than Content-Length", (post(1, (b"content-length", b"9")) + data(1, b"x") * 2
                                              + data(1, b"x", ends=True), Reset((PROTOCOL_ERROR,)))),
        ("less content than Content-Length, and trailers", (
            post(1, (b"content-length", b"9")) + data(1, b"x") + headers(1, literal(b"x", b"y")),
            Reset((PROTOCOL_ERROR,)))),
        ("padding is no content", (
            post(1, (b"content-length", b"1")) + frame(0, 0x8 | END_STREAM, 1, b"\1x\0"), Answered(200, content=b"x"))),
        ("Content-Length 0", (get(1, (b"content-length", b"0")), Answered(200))),
    ),
    *rules(
        "RFC 9113 §8.2.1",
        *_malformed(
            upper_case=_name(b"X-Test"),
            a_space_in_a_name=_name(b"x y"),
            a_control_in_a_name=_name(b"x\x01"),
            DEL_in_a_name=_name(b"x\x7f"),
            a_byte_over_0x7F_in_a_name=_name(b"\xe9"),
            a_colon_in_a_name=_name(b"x:y"),
            no_name=_name(b""),
            NUL_in_a_value=_name(b"x", b"a\0b"),
            LF_in_a_value=_name(b"x", b"a\nb"),
            CR_in_a_value=_name(b"x", b"a\rb"),
        ),
        ("no value", (get(1, (b"x", b"")), Answered(200))),
    ),
    *rules(
        "RFC 9113 §8.2.2",
        *_malformed(
            Connection=_name(b"connection", b"keep-alive"),
            Keep_Alive=_name(b"keep-alive", b"1"),
            Proxy_Connection=_name(b"proxy-connection", b"keep-alive"),
            Transfer_Encoding=_name(b"transfer-encoding", b"chunked"),
            Upgrade=_name(b"upgrade", b"h2c"),
            TE_gzip=_name(b"te", b"gzip"),
            TE_trailers_and_more=_name(b"te", b"trailers, gzip"),
        ),
        ("TE: trailers", (get(1, (b"te", b"trailers")), Answered(200))),
        ("Transfer-Encoding in trailers", (OPEN + data(1, b"x") + headers(1, literal(b"transfer-encoding", b"chunked")),
                                           Reset((PROTOCOL_ERROR,)))),
    ),
    *rules("RFC 9113 §8.2.3", ("crumbs", (get(1, (b"cookie", b"a=b"), (b"cookie", b"c=d")), Answered(200)))),
    *rules(
        "RFC 9113 §8.3",
        *_malformed(
            an_unknown_one=_name(b":test"),
            an_answers_own=_name(b":status", b"200"),
            one_behind_a_field=(headers(1, block(path=None) + literal(b"x", b"y") + literal(b":path", b"/")),),
        ),
        ("one in trailers", (OPEN + data(1, b"x") + headers(1, literal(b":method", b"GET")),
                             Reset((PROTOCOL_ERROR,)))),
    ),
    *rules(
        "RFC 9113 §8.3.1",
        *_malformed(
            no_method=(get(1, method=None),),
            no_scheme=(get(1, scheme=None),),
            no_path=(get(1, path=None),),
            an_empty_path=(get(1, path=b""),),
            a_path_without_slash=(get(1, path=b"q"),),
            no_authority_and_no_Host=(get(1, authority=None),),
            another_Host_than_the_authority=(get(1, (b"host", b"other.example")),),
            a_user_in_the_authority=(get(1, authority=b"me@click.example.com"),),
            two_methods=_name(b":method", b"GET"),
            two_schemes=_name(b":scheme", b"https"),
            two_paths=_name(b":path", b"/"),
            two_authorities=_name(b":authority", b"click.example.com"),
        ),
        ("Host instead of the authority", (get(1, (b"host", b"click.example.com"), authority=None), Answered(200))),
        ("Host like the authority", (get(1, (b"host", b"click.example.com")), Answered(200))),
    ),
    *rules("RFC 9113 §8.4", ("a reset before the answer", (OPEN + reset(1) + get(3), Answered(200, 3)))),
    *rules(
        "RFC 9113 §8.5, RFC 8441",
        ("CONNECT", (headers(1, literal(b":method", b"CONNECT") + AUTHORITY, END_HEADERS), Answered(405))),
        ("extended CONNECT that was never allowed", (
            headers(1, block((b":protocol", b"websocket"), method=b"CONNECT"), END_HEADERS),
            Either(Answered(400), Answered(405)))),
    ),
    *rules(
        "RFC 9110 §10.1.1",
        ("100-continue", (post(1, (b"expect", b"100-continue"), (b"content-length", b"1")), Began(100),
                          data(1, b"x", ends=True), Answered(200, content=b"x"))),
        ("another expectation", (post(1, (b"expect", b"tea")), Answered(417))),
    ),
    *rules(
        "RFC 9110 §15.2",
        ("interim answers of the upstream", (get(1, path=b"/interim"), Answered(200, content=b"final"))),
    ),
    *rules(
        "RFC 9218 §7.1",
        ("PRIORITY_UPDATE", (frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\1u=1") + get(1), Answered(200))),
        ("PRIORITY_UPDATE on a stream", (OPEN + frame(PRIORITY_UPDATE, 0, 1, b"\0\0\0\1u=1") + data(1, ends=True),
                                         Answered(200))),
        ("Priority", (get(1, (b"priority", b"u=0, i")), Answered(200))),
    ),
    *rules(
        "RFC 9113 §10.5",
        ("empty DATA without end (CVE-2019-9518)", (OPEN, data(1) * 1100, Gone((CALM,)))),
        ("PING without end (CVE-2019-9512)", (frame(6, 0, 0, b"pingping") * 1100, Gone((CALM,)))),
        ("SETTINGS without end (CVE-2019-9515)", (settings(_4=9) * 1100, Gone((CALM,)))),
        ("PRIORITY without end (CVE-2019-9513)", (frame(2, 0, 1, b"\0\0\0\0\1") * 1100, Gone((CALM,)))),
        ("WINDOW_UPDATE without end", (frame(8, 0, 0, b"\0\0\0\1") * 1100, Gone((CALM,)))),
        ("resets without end (CVE-2023-44487)", (
            b"".join(get(stream_id, path=b"/hang") + reset(stream_id) for stream_id in range(1, 401, 2)),
            Gone((CALM,)))),
        ("a list of fields too large", (
            headers(1, block() + literal(b"x", b"y" * 4000, 0x40) + b"\xbe" * 20), Gone((CALM,)))),
        ("a list of fields somewhat too large", (headers(1, block() + literal(b"x", b"y" * 9000)), Answered(431))),
    ),
]  # fmt: skip

HPACK: Final = [
    *rules(
        "RFC 7541 §2.3.3",
        ("an index behind the tables", (headers(1, block() + b"\xbe"), Gone((COMPRESSION_ERROR,)))),
        ("the last index of the static table", (headers(1, block() + b"\xbd"), Answered(200))),
        ("a name's index behind the tables", (headers(1, block() + b"\x7f\x00\x01y"), Gone((COMPRESSION_ERROR,)))),
    ),
    *rules(
        "RFC 7541 §4.2",
        ("a table size behind a field", (headers(1, block() + b"\x20"), Gone((COMPRESSION_ERROR,)))),
        ("two table sizes", (headers(1, b"\x20\x3f\xe1\x1f" + block()), Answered(200))),
        ("a smaller table drops what is in it", (
            headers(1, block() + literal(b"x", b"y", 0x40)), Answered(200), headers(3, b"\x20" + block() + b"\xbe"),
            Gone((COMPRESSION_ERROR,)))),
        ("the client's table of no bytes", (settings(_1=0) + get(1), Answered(200), get(3), Answered(200, 3))),
        ("the client's table gone and back", (
            *CLOSED, settings(_1=0) + settings(_1=4096), Acknowledged(3), get(3), Answered(200, 3))),
        ("the client's table of 4 GiB", (settings(_1=2**32 - 1) + get(1), Answered(200))),
    ),
    *rules(
        "RFC 7541 §5.1",
        ("a long integer with zeros", (headers(1, block() + b"\0\x01x\x7f\x81\x80\x00" + b"y" * 128), Answered(200))),
        ("an integer without end", (headers(1, b"\xff" + b"\x80" * 20 + b"\0"), Gone((COMPRESSION_ERROR,)))),
        ("an integer over 2^32", (headers(1, b"\xff\xff\xff\xff\xff\xff\x0f"), Gone((COMPRESSION_ERROR,)))),
        ("an integer that breaks off", (headers(1, block() + b"\xff"), Gone((COMPRESSION_ERROR,)))),
    ),
    *rules(
        "RFC 7541 §5.2",
        ("Huffman", (headers(1, INDEXED + AUTHORITY + b"\x04\x84c\xb3\x1e\x7f"), Answered(200))),
        ("more padding than 7 bits", (headers(1, block() + b"\0\x01x\x82\x1f\xff"), Gone((COMPRESSION_ERROR,)))),
        ("padding of zeros", (headers(1, block() + b"\0\x01x\x81\x18"), Gone((COMPRESSION_ERROR,)))),
        ("the end-of-string symbol", (headers(1, block() + b"\0\x01x\x84\xff\xff\xff\xff"),
                                      Gone((COMPRESSION_ERROR,)))),
        ("a string that breaks off", (headers(1, block() + b"\0\x01x\x05y"), Gone((COMPRESSION_ERROR,)))),
    ),
    *rules(
        "RFC 7541 §6.1",
        ("indexed fields", (headers(1, INDEXED + AUTHORITY + PATH), Answered(200))),
        ("index 0", (headers(1, block() + b"\x80"), Gone((COMPRESSION_ERROR,)))),
    ),
    *rules(
        "RFC 7541 §6.2",
        ("incremental indexing, and its index", (
            headers(1, INDEXED + b"\x41\x11click.example.com" + b"\x44\x04/q/x"), Answered(200),
            headers(3, b"\xbe\xbf" + INDEXED), Answered(200, 3))),
        ("a new name", (headers(1, block() + literal(b"x-new", b"y", 0x40)), Answered(200),
                        headers(3, block() + b"\xbe"), Answered(200, 3))),
        ("without indexing", (headers(1, block() + literal(b"x", b"y")), Answered(200))),
        ("never indexed", (headers(1, block() + literal(b"x", b"y", 0x10) + b"\x1f\x08\x03abc"), Answered(200))),
        ("a field larger than the table empties it", (
            headers(1, block() + literal(b"x", b"y", 0x40)), Answered(200),
            headers(3, block() + literal(b"x", b"y" * 4100, 0x40)), Answered(200, 3),
            headers(5, block() + b"\xbe"), Gone((COMPRESSION_ERROR,)))),
    ),
    *rules(
        "RFC 7541 §6.3",
        ("a table size", (headers(1, b"\x3f\xe1\x1f" + block()), Answered(200))),
        ("a table size over our setting", (headers(1, integer(4097, 5, 0x20) + block()), Gone((COMPRESSION_ERROR,)))),
    ),
]  # fmt: skip

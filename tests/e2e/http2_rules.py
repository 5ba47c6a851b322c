"""
The rules of HTTP/2 and HPACK, section by section: what a client sends against each, and what must come of it.

What h2spec checks is in it, written anew from RFC 9113 and RFC 7541, and more. Where the RFC leaves a choice, what we
chose is expected; where both may happen, `Either`. The table is in three: here frames and streams (RFC 9113 §3 to §5),
in `http2_rules_frames` §6 and §7, in `http2_rules_messages` §8, HPACK, and other documents.
"""

from __future__ import annotations

from typing import Final

import attrs

from tests.e2e.http2_wire import (
    HELLO,
    Acknowledged,
    Answered,
    Either,
    Gone,
    Ponged,
    Reset,
    Script,
    block,
    get,
    headers,
    literal,
    post,
)
from tests.proxy.http2_client import (
    ACK,
    COMPRESSION_ERROR,
    CONTINUATION,
    END_HEADERS,
    END_STREAM,
    FRAME_SIZE_ERROR,
    NO_ERROR,
    PING,
    PREFACE,
    PRIORITY,
    PRIORITY_FLAG,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    SETTINGS,
    STREAM_CLOSED,
    data,
    frame,
    reset,
    settings,
    window_update,
)


@attrs.frozen
class Rule:
    """
    One rule: the *section* that has it, *what* is sent, and the conversation.
    """

    section: str
    what: str
    script: Script

    @property
    def name(self) -> str:
        """
        Give what the test is called by.
        """
        return f"{self.section}: {self.what}"


def rules(section: str, *cases: tuple[str, Script]) -> list[Rule]:
    """
    Give the rules of a section; the client's preface and SETTINGS are sent first.
    """
    return [Rule(section, what, (HELLO, *script)) for what, script in cases]


# What streams are in when they are done with, or wait.
CLOSED: Final[Script] = (get(1), Answered(200))
HALF_CLOSED: Final = get(1, path=b"/hang")
OPEN: Final = post(1)
UNFINISHED: Final = headers(1, block()[:10], END_STREAM)
REST: Final = frame(CONTINUATION, END_HEADERS, 1, block()[10:])
WEIGHT: Final = b"\0\0\0\0\x10"

# Nothing was sent before these.
BEGINNINGS: Final[list[tuple[str, Script]]] = [
    ("the preface, SETTINGS and a request in one piece", (HELLO + get(1), Answered(200), Acknowledged(1))),
    ("the preface byte by byte", (*(bytes((byte,)) for byte in HELLO), get(1), Answered(200))),
    ("another preface", (b"PRI * HTTP/2.0\r\n\r\nSN\r\n\r\n" + settings(), Gone((PROTOCOL_ERROR,)))),
    ("HTTP/1.1", (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", Gone((PROTOCOL_ERROR,)))),
    ("no SETTINGS after it", (PREFACE + get(1), Gone((PROTOCOL_ERROR,)))),
    ("only the acknowledgement of SETTINGS", (PREFACE + frame(SETTINGS, ACK), Gone((PROTOCOL_ERROR,)))),
    ("PING before SETTINGS", (PREFACE + frame(PING, 0, 0, b"12345678"), Gone((PROTOCOL_ERROR,)))),
]
STREAMS: Final = [
    *(Rule("RFC 9113 §3.4", what, script) for what, script in BEGINNINGS),
    # -- frames
    *rules(
        "RFC 9113 §4.1",
        ("a frame of an unknown type", (frame(0xFF, 0xFF, 0, b"x" * 100), get(1), Answered(200))),
        ("a frame of an unknown type on a stream", (OPEN, frame(0x20, 0, 1, b"x"), data(1, ends=True), Answered(200))),
        ("undefined flags", (frame(PING, 0xFE, 0, b"flagged!"), Ponged(b"flagged!"))),
        ("undefined flags of HEADERS", (headers(1, block(), END_HEADERS | END_STREAM | 0x12), Answered(200))),
        ("the reserved bit", (frame(PING, 0, 1 << 31, b"reserved"), Ponged(b"reserved"))),
        ("the reserved bit of a stream", (get(1 | 1 << 31), Answered(200))),
    ),
    *rules(
        "RFC 9113 §4.2",
        ("DATA of 16,384 octets", (OPEN + data(1, b"x" * 16384, ends=True), Answered(200, content=b"x" * 16384))),
        ("DATA of 16,385 octets", (OPEN + data(1, b"x" * 16385), Gone((FRAME_SIZE_ERROR,)))),
        ("HEADERS of 16,385 octets", (headers(1, b"x" * 16385), Gone((FRAME_SIZE_ERROR,)))),
        ("SETTINGS of 16,386 octets", (frame(SETTINGS, 0, 0, b"\0\x63\0\0\0\0" * 2731), Gone((FRAME_SIZE_ERROR,)))),
        ("an unknown frame of 16,385 octets", (frame(0xFF, 0, 0, b"x" * 16385), Gone((FRAME_SIZE_ERROR,)))),
        ("a frame that is never finished, and its end", (b"\0\0\x08\x06\0\0", b"\0\0\0pingpong", Ponged(b"pingpong"))),
    ),
    *rules(
        "RFC 9113 §4.3",
        ("a block that can't be decoded", (headers(1, b"\x40"), Gone((COMPRESSION_ERROR,)))),
        ("a block that can't be decoded, behind the content", (OPEN, headers(1, b"\x40"), Gone((COMPRESSION_ERROR,)))),
        ("PRIORITY within a block", (UNFINISHED + frame(PRIORITY, 0, 1, WEIGHT), Gone((PROTOCOL_ERROR,)))),
        ("PING within a block", (UNFINISHED + frame(PING, 0, 0, b"12345678"), Gone((PROTOCOL_ERROR,)))),
        ("HEADERS of another stream within a block", (UNFINISHED + get(3), Gone((PROTOCOL_ERROR,)))),
        ("a refused stream's block is decoded", (
            headers(1, b"\x82\x87\x84" + literal(b"x-n", b"y" * 50, 0x40)), Answered(400),
            headers(3, block() + b"\xbe"), Answered(200, 3))),
        ("the block of a stream that was reset is decoded", (
            OPEN + reset(1) + headers(1, literal(b"x-n", b"y", 0x40)) + headers(3, block() + b"\xbe"),
            Answered(200, 3))),
    ),
    # -- streams
    *rules(
        "RFC 9113 §5.1 idle",
        ("DATA", (data(1, b"x", ends=True), Gone((PROTOCOL_ERROR,)))),
        ("RST_STREAM", (reset(1), Gone((PROTOCOL_ERROR,)))),
        ("WINDOW_UPDATE", (window_update(1, 1), Gone((PROTOCOL_ERROR,)))),
        ("CONTINUATION", (frame(CONTINUATION, END_HEADERS, 1, block()), Gone((PROTOCOL_ERROR,)))),
        ("PRIORITY", (frame(PRIORITY, 0, 1, WEIGHT), get(1), Answered(200))),
        ("DATA on a stream of ours", (data(2, b"x"), Gone((PROTOCOL_ERROR,)))),
        ("WINDOW_UPDATE on a stream of ours", (window_update(2, 1), Gone((PROTOCOL_ERROR,)))),
    ),
    *rules(
        "RFC 9113 §5.1 half-closed (remote)",
        ("DATA", (HALF_CLOSED + data(1, b"x", ends=True), Reset((STREAM_CLOSED,)))),
        ("empty DATA", (HALF_CLOSED + data(1), Reset((STREAM_CLOSED,)))),
        ("HEADERS", (HALF_CLOSED + get(1), Reset((STREAM_CLOSED, PROTOCOL_ERROR)))),
        ("CONTINUATION", (HALF_CLOSED + REST, Gone((PROTOCOL_ERROR, STREAM_CLOSED)))),
        ("WINDOW_UPDATE", (HALF_CLOSED + window_update(1, 1) + get(3), Answered(200, 3))),
        ("PRIORITY", (HALF_CLOSED + frame(PRIORITY, 0, 1, WEIGHT) + get(3), Answered(200, 3))),
        ("RST_STREAM", (HALF_CLOSED + reset(1) + get(3), Answered(200, 3))),
    ),
    *rules(
        "RFC 9113 §5.1 closed",
        ("DATA", (*CLOSED, data(1, b"x", ends=True), Gone((STREAM_CLOSED,), 1))),
        ("HEADERS", (*CLOSED, get(1), Gone((STREAM_CLOSED, PROTOCOL_ERROR), 1))),
        ("CONTINUATION", (*CLOSED, REST, Gone((STREAM_CLOSED, PROTOCOL_ERROR), 1))),
        ("WINDOW_UPDATE", (*CLOSED, window_update(1, 1))),
        ("PRIORITY", (*CLOSED, frame(PRIORITY, 0, 1, WEIGHT))),
        ("RST_STREAM", (*CLOSED, reset(1))),
        # It may have crossed: RFC 9113 allows both.
        ("DATA behind RST_STREAM", (OPEN + reset(1) + data(1, b"x") + get(3),
                                    Either(Answered(200, 3), Gone((STREAM_CLOSED,))))),
        ("HEADERS behind RST_STREAM", (OPEN + reset(1) + headers(1, literal(b"x", b"y")) + get(3),
                                       Either(Answered(200, 3), Gone((STREAM_CLOSED,))))),
        ("CONTINUATION behind RST_STREAM", (OPEN + reset(1) + REST, Gone((PROTOCOL_ERROR, STREAM_CLOSED)))),
        ("DATA that crosses an early answer", (post(1, authority=b"other.example") + data(1, b"x") * 3, Answered(421),
                                               Reset((NO_ERROR,)), data(1, b"x", ends=True))),
    ),
    *rules(
        "RFC 9113 §5.1.1",
        ("an even stream", (get(2), Gone((PROTOCOL_ERROR,)))),
        ("a stream below one that was begun", (get(5, path=b"/hang") + get(3),
                                               Gone((PROTOCOL_ERROR, STREAM_CLOSED), 5))),
        ("streams that are left out", (get(1) + get(9), Answered(200), Answered(200, 9))),
        ("the last stream there is", (get(2**31 - 1), Answered(200, 2**31 - 1))),
    ),
    *rules(
        "RFC 9113 §5.1.2",
        ("one stream more than there may be", (
            b"".join(post(stream_id) for stream_id in range(1, 203, 2)), Reset((REFUSED_STREAM,), 201),
            data(1, ends=True), Answered(200), get(203), Answered(200, 203))),
    ),
    *rules(
        "RFC 9113 §5.3",
        ("HEADERS with a priority", (headers(1, WEIGHT + block(), END_HEADERS | END_STREAM | PRIORITY_FLAG),
                                     Answered(200))),
        ("a stream that depends on itself", (
            headers(1, b"\0\0\0\1\xff" + block(), END_HEADERS | END_STREAM | PRIORITY_FLAG),
            Either(Answered(200), Reset((PROTOCOL_ERROR,))))),
        ("PRIORITY of a stream on itself", (frame(PRIORITY, 0, 1, b"\0\0\0\1\xff") + get(1), Answered(200))),
        ("an exclusive dependency", (frame(PRIORITY, 0, 3, b"\x80\0\0\1\xff") + get(1), Answered(200))),
        ("dependencies in a ring", (
            frame(PRIORITY, 0, 3, b"\x80\0\0\5\1") + frame(PRIORITY, 0, 5, b"\x80\0\0\3\1") + get(7),
            Answered(200, 7))),
    ),
    *rules(
        "RFC 9113 §5.4.1",
        ("an error names the highest stream", (*CLOSED, get(3), Answered(200, 3), frame(PING, 0, 0, b"x"),
                                               Gone((FRAME_SIZE_ERROR,), 3))),
        ("nothing is read behind an error", (frame(PING, 0, 0, b"x") + get(1), Gone((FRAME_SIZE_ERROR,), 0))),
    ),
    *rules(
        "RFC 9113 §5.5",
        ("an extension's frame within a block", (UNFINISHED + frame(0x20, 0, 1, b"x"), Gone((PROTOCOL_ERROR,)))),
        ("ORIGIN and ALTSVC", (frame(0xC, 0, 0, b"\0\1x") + frame(0xA, 0, 0, b"\0\1xh2") + get(1), Answered(200))),
    ),
]  # fmt: skip

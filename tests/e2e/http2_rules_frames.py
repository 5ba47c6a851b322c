"""
What each frame may be (RFC 9113 §6), and the error codes (§7).
"""

from __future__ import annotations

from typing import Final

from tests.e2e.http2_rules import OPEN, REST, UNFINISHED, WEIGHT, rules
from tests.e2e.http2_wire import Acknowledged, Answered, Gone, Ponged, Reset, Sized, block, get, headers, post
from tests.proxy.http2_client import (
    ACK,
    CALM,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    GOAWAY,
    NO_ERROR,
    PADDED,
    PING,
    PRIORITY,
    PRIORITY_FLAG,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    data,
    frame,
    reset,
    settings,
    window_update,
)

MOST: Final = 2**31 - 1
# Asked for where nothing else may come, and answered after all that came before it.
ASK: Final = frame(PING, 0, 0, b"anything")
NOTHING_MORE: Final = Ponged(b"anything")
# An answer of so many bytes.
GIF_BYTES: Final = 44


def _padded(stream_id: int, content: bytes, padding: int, flags: int = END_STREAM) -> bytes:
    return frame(DATA, PADDED | flags, stream_id, bytes((padding,)) + content + b"\0" * padding)


FRAMES: Final = [
    *rules(
        "RFC 9113 §6.1",
        ("DATA", (OPEN + data(1, b"x", ends=True), Answered(200, content=b"x"))),
        ("many DATA, some empty", (OPEN + data(1, b"x") * 9 + data(1) + data(1, ends=True),
                                   Answered(200, content=b"x" * 9))),
        ("padding", (OPEN + _padded(1, b"x", 255), Answered(200, content=b"x"))),
        ("padding of no bytes", (OPEN + _padded(1, b"x", 0), Answered(200, content=b"x"))),
        ("nothing but padding", (OPEN + _padded(1, b"", 100, 0) + data(1, b"x", ends=True),
                                 Answered(200, content=b"x"))),
        ("more padding than there are bytes", (OPEN + frame(DATA, PADDED, 1, b"\xffabcd"), Gone((PROTOCOL_ERROR,)))),
        ("as much padding as there are bytes", (OPEN + frame(DATA, PADDED, 1, b"\5abcd"), Gone((PROTOCOL_ERROR,)))),
        ("padding without its length", (OPEN + frame(DATA, PADDED, 1), Gone((PROTOCOL_ERROR, FRAME_SIZE_ERROR)))),
        ("DATA on stream 0", (data(0, b"x"), Gone((PROTOCOL_ERROR,)))),
    ),
    *rules(
        "RFC 9113 §6.2",
        ("HEADERS", (get(1), Answered(200))),
        ("padding", (headers(1, b"\4" + block() + b"\0" * 4, END_HEADERS | END_STREAM | PADDED), Answered(200))),
        ("padding and a priority", (
            headers(1, b"\4" + WEIGHT + block() + b"\0" * 4, END_HEADERS | END_STREAM | PADDED | PRIORITY_FLAG),
            Answered(200))),
        ("more padding than there are bytes", (headers(1, b"\xff" + block(), END_HEADERS | END_STREAM | PADDED),
                                               Gone((PROTOCOL_ERROR,)))),
        ("a priority in part", (headers(1, b"\0\0\0", END_HEADERS | END_STREAM | PRIORITY_FLAG),
                                Gone((FRAME_SIZE_ERROR, PROTOCOL_ERROR)))),
        ("padding that eats the priority", (
            headers(1, b"\5" + WEIGHT + b"\0" * 4, END_HEADERS | END_STREAM | PADDED | PRIORITY_FLAG),
            Gone((FRAME_SIZE_ERROR, PROTOCOL_ERROR)))),
        ("HEADERS on stream 0", (get(0), Gone((PROTOCOL_ERROR,)))),
        ("a block without its end, and DATA", (UNFINISHED + data(1, b"x"), Gone((PROTOCOL_ERROR,)))),
        ("no fields at all", (headers(1, b""), Answered(400))),
    ),
    *rules(
        "RFC 9113 §6.3",
        ("PRIORITY with the least weight", (frame(PRIORITY, 0, 1, b"\0\0\0\0\0") + get(1), Answered(200))),
        ("PRIORITY with the greatest", (frame(PRIORITY, 0, 1, b"\0\0\0\0\xff") + get(1), Answered(200))),
        ("PRIORITY on stream 0", (frame(PRIORITY, 0, 0, WEIGHT), Gone((PROTOCOL_ERROR,)))),
        ("PRIORITY of 4 octets", (frame(PRIORITY, 0, 1, WEIGHT[:4]), Gone((FRAME_SIZE_ERROR,)))),
        ("PRIORITY of 6 octets", (frame(PRIORITY, 0, 1, WEIGHT + b"\0"), Gone((FRAME_SIZE_ERROR,)))),
    ),
    *rules(
        "RFC 9113 §6.4",
        ("RST_STREAM", (OPEN + reset(1) + get(3), Answered(200, 3))),
        ("RST_STREAM on stream 0", (reset(0), Gone((PROTOCOL_ERROR,)))),
        ("RST_STREAM of 3 octets", (OPEN + frame(RST_STREAM, 0, 1, b"\0" * 3), Gone((FRAME_SIZE_ERROR,)))),
        ("RST_STREAM of 5 octets", (OPEN + frame(RST_STREAM, 0, 1, b"\0" * 5), Gone((FRAME_SIZE_ERROR,)))),
    ),
    *rules(
        "RFC 9113 §6.5",
        ("SETTINGS", (settings(_3=100, _4=70000, _6=65536), Acknowledged(2))),
        ("SETTINGS without any", (settings(), Acknowledged(2))),
        ("an acknowledgement", (frame(SETTINGS, ACK),)),
        ("an acknowledgement with settings", (frame(SETTINGS, ACK, 0, b"\0\3\0\0\0\1"), Gone((FRAME_SIZE_ERROR,)))),
        ("SETTINGS on a stream", (frame(SETTINGS, 0, 1, b"\0\3\0\0\0\1"), Gone((PROTOCOL_ERROR,)))),
        ("SETTINGS of 5 octets", (frame(SETTINGS, 0, 0, b"\0\3\0\0\0"), Gone((FRAME_SIZE_ERROR,)))),
    ),
    *rules(
        "RFC 9113 §6.5.2",
        ("ENABLE_PUSH 0 and 1", (settings(_2=0) + settings(_2=1), Acknowledged(3))),
        ("ENABLE_PUSH 2", (settings(_2=2), Gone((PROTOCOL_ERROR,)))),
        ("INITIAL_WINDOW_SIZE of 2^31", (settings(_4=2**31), Gone((FLOW_CONTROL_ERROR,)))),
        ("MAX_FRAME_SIZE under 16,384", (settings(_5=16383), Gone((PROTOCOL_ERROR,)))),
        ("MAX_FRAME_SIZE over 16,777,215", (settings(_5=2**24), Gone((PROTOCOL_ERROR,)))),
        ("MAX_FRAME_SIZE at both ends", (settings(_5=16384) + settings(_5=2**24 - 1), Acknowledged(3))),
        ("no larger frames than MAX_FRAME_SIZE", (settings(_4=MOST, _5=16384) + get(1, path=b"/bytes/60000"),
                                                  Sized(60000, most=16384))),
        ("an unknown setting", (settings(_255=1, _0=9), Acknowledged(2), get(1), Answered(200))),
        ("ENABLE_CONNECT_PROTOCOL and NO_RFC7540_PRIORITIES", (settings(_8=1, _9=1), Acknowledged(2))),
        ("MAX_CONCURRENT_STREAMS 0 is about push", (settings(_3=0) + get(1), Answered(200))),
    ),
    *rules(
        "RFC 9113 §6.5.3",
        ("the last of several values", (
            frame(SETTINGS, 0, 0, b"\0\4\0\0\0\x64\0\4\0\0\0\1") + get(1), Sized(1), ASK, NOTHING_MORE, Sized(1))),
        ("every SETTINGS is acknowledged", (settings() * 20, Acknowledged(21))),
    ),
    *rules(
        "RFC 9113 §6.6",
        ("PUSH_PROMISE", (OPEN + frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\2" + block()), Gone((PROTOCOL_ERROR,)))),
    ),
    *rules(
        "RFC 9113 §6.7",
        ("PING", (frame(PING, 0, 0, b"\0\1\2\3\4\5\6\7"), Ponged(b"\0\1\2\3\4\5\6\7"))),
        ("an answer to no PING", (frame(PING, ACK, 0, b"no reply"), ASK, NOTHING_MORE)),
        ("PING on a stream", (OPEN + frame(PING, 0, 1, b"12345678"), Gone((PROTOCOL_ERROR,)))),
        ("PING of 6 octets", (frame(PING, 0, 0, b"123456"), Gone((FRAME_SIZE_ERROR,)))),
        ("PING of 9 octets", (frame(PING, 0, 0, b"123456789"), Gone((FRAME_SIZE_ERROR,)))),
    ),
    *rules(
        "RFC 9113 §6.8",
        ("GOAWAY", (frame(GOAWAY, 0, 0, b"\0" * 8), Gone((NO_ERROR,)))),
        ("GOAWAY with a reason", (frame(GOAWAY, 0, 0, b"\0" * 8 + b"bye"), Gone((NO_ERROR,)))),
        ("GOAWAY while an answer is awaited", (
            post(1) + frame(GOAWAY, 0, 0, b"\0" * 8) + data(1, b"x", ends=True), Answered(200), Gone((NO_ERROR,)))),
        ("GOAWAY on a stream", (OPEN + frame(GOAWAY, 0, 1, b"\0" * 8), Gone((PROTOCOL_ERROR,)))),
        ("GOAWAY of 7 octets", (frame(GOAWAY, 0, 0, b"\0" * 7), Gone((FRAME_SIZE_ERROR,)))),
    ),
    *rules(
        "RFC 9113 §6.9",
        ("WINDOW_UPDATE of the connection", (window_update(0, 1) + get(1), Answered(200))),
        ("WINDOW_UPDATE of a stream", (settings(_4=0) + get(1) + window_update(1, 100), Answered(200))),
        ("the reserved bit", (frame(WINDOW_UPDATE, 0, 0, b"\x80\0\0\1") + get(1), Answered(200))),
        ("the connection's window is widened by nothing", (window_update(0, 0), Gone((PROTOCOL_ERROR,)))),
        # Of the stream alone, by the RFC, which lets any stream's error be the connection's (§5.4.1).
        ("a stream's window is widened by nothing", (OPEN + window_update(1, 0), Gone((PROTOCOL_ERROR,)))),
        ("WINDOW_UPDATE of 3 octets", (frame(WINDOW_UPDATE, 0, 0, b"\0\0\1"), Gone((FRAME_SIZE_ERROR,)))),
        ("WINDOW_UPDATE of 5 octets", (frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\0\1"), Gone((FRAME_SIZE_ERROR,)))),
    ),
    *rules(
        "RFC 9113 §6.9.1",
        ("no more than the stream's window", (settings(_4=1) + get(1), Sized(1), ASK, NOTHING_MORE, Sized(1),
                                              window_update(1, 9), Sized(10))),
        ("no more than the connection's window", (
            settings(_4=MOST) + get(1, path=b"/bytes/65500"), Sized(65500), get(3), Sized(35, 3), ASK, NOTHING_MORE,
            Sized(35, 3), window_update(0, 9), Answered(200, 3))),
        ("the connection's window over 2^31-1", (window_update(0, MOST), Gone((FLOW_CONTROL_ERROR,)))),
        ("the connection's window over 2^31-1 bit by bit", (
            window_update(0, MOST - 65535) + window_update(0, 1), Gone((FLOW_CONTROL_ERROR,)))),
        ("the connection's window of 2^31-1", (window_update(0, MOST - 65535) + get(1), Answered(200))),
        ("a stream's window over 2^31-1", (OPEN + window_update(1, MOST), Reset((FLOW_CONTROL_ERROR,)))),
        ("an answer without content needs no window", (settings(_4=0) + get(1, path=b"/no-content"), Answered(204))),
        ("the end of an answer needs no window", (settings(_4=GIF_BYTES) + get(1), Answered(200))),
    ),
    *rules(
        "RFC 9113 §6.9.2",
        ("streams that are there get a larger window", (
            settings(_4=0) + get(1), ASK, NOTHING_MORE, Sized(0), settings(_4=1), Sized(1))),
        ("a window can be negative", (
            settings(_4=9) + get(1), Sized(9), settings(_4=4) + window_update(1, 5), ASK, NOTHING_MORE, Sized(9),
            window_update(1, 1), Sized(10))),
        ("the connection's window stays", (settings(_4=0) + settings(_4=65535) + get(1), Answered(200))),
        ("a stream's window over 2^31-1", (OPEN + window_update(1, 1) + settings(_4=MOST),
                                           Gone((FLOW_CONTROL_ERROR,)))),
    ),
    *rules(
        "RFC 9113 §6.10",
        ("CONTINUATION", (UNFINISHED + REST, Answered(200))),
        ("many CONTINUATION, some empty", (
            headers(1, b"", END_STREAM)
            + b"".join(frame(CONTINUATION, 0, 1, block()[at : at + 5]) for at in range(0, 60, 5))
            + frame(CONTINUATION, 0, 1) + frame(CONTINUATION, END_HEADERS, 1, block()[60:]), Answered(200))),
        ("CONTINUATION behind a whole block", (OPEN + REST, Gone((PROTOCOL_ERROR,)))),
        ("CONTINUATION behind the last", (UNFINISHED + REST + REST, Gone((PROTOCOL_ERROR,)))),
        ("CONTINUATION on stream 0", (UNFINISHED + frame(CONTINUATION, END_HEADERS, 0, b"x"), Gone((PROTOCOL_ERROR,)))),
        ("CONTINUATION on another stream", (UNFINISHED + frame(CONTINUATION, END_HEADERS, 3, b"x"),
                                            Gone((PROTOCOL_ERROR,)))),
        ("CONTINUATION behind DATA", (OPEN + data(1, b"x") + REST, Gone((PROTOCOL_ERROR,)))),
        ("CONTINUATION without end (CVE-2024-27316)", (UNFINISHED + frame(CONTINUATION, 0, 1) * 20, Gone((CALM,)))),
        ("a block too large", (headers(1, b"", END_STREAM) + frame(CONTINUATION, 0, 1, b"\0" * 16384) * 2,
                               Gone((CALM,)))),
    ),
    *rules(
        "RFC 9113 §7",
        ("RST_STREAM with an unknown code", (OPEN + reset(1, 0xFFFF) + get(3), Answered(200, 3))),
        ("GOAWAY with an unknown code", (frame(GOAWAY, 0, 0, b"\0\0\0\0\0\0\xff\xff"), Gone((NO_ERROR,)))),
    ),
]  # fmt: skip

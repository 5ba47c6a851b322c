"""
An HTTP/2 client in memory, frame by frame, which may do what no good client does. Its HPACK is jh2's in Python.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from jh2.hpack.hpack import Decoder, Encoder

from sptls.proxy.http2 import Http2
from tests.proxy.wire import CLICK, TlsWire

if TYPE_CHECKING:
    from tests.proxy.wire import Stage

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS, PADDED, PRIORITY_FLAG = 0x4, 0x8, 0x20
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = 0, 1, 2, 3
STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, CALM = 5, 6, 7, 8, 9, 11


def frame(kind: int, flags: int = 0, stream_id: int = 0, payload: bytes = b"") -> bytes:
    """
    Give a frame as it is on the wire.
    """
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream_id.to_bytes(4, "big") + payload


def settings(**values: int) -> bytes:
    """
    Give a SETTINGS frame; ``_4=1`` is setting 4 with the value 1.
    """
    pairs = ((int(name[1:]), value) for name, value in values.items())
    return frame(
        SETTINGS, payload=b"".join(name.to_bytes(2, "big") + value.to_bytes(4, "big") for name, value in pairs)
    )


def window_update(stream_id: int, increment: int) -> bytes:
    """
    Give a WINDOW_UPDATE frame.
    """
    return frame(WINDOW_UPDATE, 0, stream_id, increment.to_bytes(4, "big"))


def reset(stream_id: int, code: int = CANCEL) -> bytes:
    """
    Give an RST_STREAM frame.
    """
    return frame(RST_STREAM, 0, stream_id, code.to_bytes(4, "big"))


def data(stream_id: int, content: bytes = b"", *, ends: bool = False) -> bytes:
    """
    Give a DATA frame.
    """
    return frame(DATA, END_STREAM if ends else 0, stream_id, content)


class Said(NamedTuple):
    """
    One frame that the proxy sent; *fields* of its header block, else none.
    """

    kind: int
    flags: int
    stream_id: int
    payload: bytes
    fields: dict[bytes, bytes]

    @property
    def ends(self) -> bool:
        """
        Tell whether it ends the stream.
        """
        return self.kind in {DATA, HEADERS} and bool(self.flags & END_STREAM)

    @property
    def number(self) -> int:
        """
        Give its last four bytes as a number: an error code, an increment.
        """
        return int.from_bytes(self.payload[-4:], "big")


class Http2Client:
    """
    A client on a connection to *stage*'s gateway; its preface is sent unless *bare*.
    """

    def __init__(self, stage: Stage, wire: TlsWire | None = None, *, bare: bool = False, **values: int) -> None:
        self.wire = wire or TlsWire()
        self.connection = Http2(stage.gateway)
        self.connection.makeConnection(self.wire)
        self.connection.connectionMade()
        self._encoder, self._decoder = Encoder(), Decoder()
        if not bare:
            self.send(PREFACE, settings(**values))
            self.said()

    def send(self, *frames: bytes) -> None:
        """
        Send *frames* in one piece.
        """
        self.connection.dataReceived(b"".join(frames))

    def block(self, *fields: tuple[bytes, bytes]) -> bytes:
        """
        Give *fields* encoded.
        """
        block: bytes = self._encoder.encode(list(fields))
        return block

    def request(
        self,
        stream_id: int,
        *fields: tuple[bytes, bytes],
        method: bytes = b"GET",
        path: bytes = b"/f/a",
        host: bytes = CLICK.encode(),
        ends: bool = True,
    ) -> bytes:
        """
        Give a request's HEADERS frame.
        """
        pseudo = (b":method", method), (b":scheme", b"https"), (b":authority", host), (b":path", path)
        flags = END_HEADERS | (END_STREAM if ends else 0)
        return frame(HEADERS, flags, stream_id, self.block(*pseudo, *fields))

    def said(self) -> list[Said]:
        """
        Give what the proxy sent since the last time.
        """
        sent, said, at = self.wire.taken(), [], 0
        while at < len(sent):
            size = int.from_bytes(sent[at : at + 3], "big")
            kind, flags, stream_id = sent[at + 3], sent[at + 4], int.from_bytes(sent[at + 5 : at + 9], "big")
            payload = sent[at + 9 : at + 9 + size]
            at += 9 + size
            fields = {}
            if kind == HEADERS:
                block = payload
                while not flags & END_HEADERS:  # what follows is CONTINUATION, and nothing else
                    size, flags = int.from_bytes(sent[at : at + 3], "big"), flags | sent[at + 4] & END_HEADERS
                    assert (CONTINUATION, stream_id) == (sent[at + 3], int.from_bytes(sent[at + 5 : at + 9], "big"))
                    block += sent[at + 9 : at + 9 + size]
                    at += 9 + size
                fields = dict(self._decoder.decode(block, raw=True))
            said.append(Said(kind, flags, stream_id, payload, fields))
        return said

    def told(self) -> list[tuple[int, ...]]:
        """
        Give kind and stream of what the proxy sent since the last time, and the code of resets and GOAWAY.
        """
        coded = {RST_STREAM, GOAWAY}
        return [(one.kind, one.stream_id, *((one.number,) if one.kind in coded else ())) for one in self.said()]

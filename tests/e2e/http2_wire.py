"""
A conversation in HTTP/2 frames over a real TLS socket: what is sent, and what must come of it before the next is sent.

Nothing that is sent is checked or tidied, so that every rule of RFC 9113 can be broken. Every wait has a deadline.
"""

from __future__ import annotations

import ssl
import time
from typing import TYPE_CHECKING, Final, Protocol, Self

import attrs
from jh2.hpack.hpack import Decoder

from tests.e2e.conftest import CLICK
from tests.e2e.daemon import connect
from tests.proxy.http2_client import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    Said,
    frame,
    settings,
)

if TYPE_CHECKING:
    import trustme

# A machine with other things to do may take seconds; what hangs takes for ever.
_SECONDS: Final = 20.0
Field = tuple[bytes, bytes]


def integer(value: int, prefix_bits: int, first: int = 0) -> bytes:
    """
    Give *value* behind the bits of *first* (RFC 7541 §5.1).
    """
    most = (1 << prefix_bits) - 1
    if value < most:
        return bytes((first | value,))
    value -= most
    octets = [first | most]
    while value > 0x7F:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*octets, value))


def literal(name: bytes, value: bytes, first: int = 0) -> bytes:
    """
    Give a field whose name and value are written out (RFC 7541 §6.2); *first* says what becomes of it in the table.
    """
    return bytes((first,)) + integer(len(name), 7) + name + integer(len(value), 7) + value


def block(*fields: Field, **pseudo: bytes | None) -> bytes:
    """
    Give a click's header block with other *pseudo* values, None for none, and *fields*.
    """
    usual = {"method": b"GET", "scheme": b"https", "authority": CLICK.encode(), "path": b"/q/x"}
    named = [(b":" + name.encode(), value) for name, value in (usual | pseudo).items() if value is not None]
    return b"".join(literal(*field) for field in [*named, *fields])


def headers(stream_id: int, payload: bytes, flags: int = END_HEADERS | END_STREAM) -> bytes:
    """
    Give a HEADERS frame.
    """
    return frame(HEADERS, flags, stream_id, payload)


def get(stream_id: int, *fields: Field, **pseudo: bytes | None) -> bytes:
    """
    Give a whole request.
    """
    return headers(stream_id, block(*fields, **pseudo))


def post(stream_id: int, *fields: Field, **pseudo: bytes | None) -> bytes:
    """
    Give a request whose content is to come.
    """
    return headers(stream_id, block(*fields, **{"method": b"POST", "path": b"/echo", **pseudo}), END_HEADERS)


class Peer:
    """
    A client on a connection of its own; *said* is every frame that came, *over* whether the connection ended.
    """

    def __init__(self, port: int, authority: trustme.CA) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        authority.configure_trust(context)
        context.set_alpn_protocols(["h2"])
        self._socket = connect(port, CLICK, context)
        self._decoder = Decoder()
        self._rest = self._block = b""
        self.said: list[Said] = []
        self.over = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._socket.close()

    def hold(self, script: tuple[bytes | Expected, ...]) -> None:
        """
        Send what is bytes, wait for what is expected; see in the end that the connection is there still, or is gone.
        """
        for part in script:
            if isinstance(part, bytes):
                self.send(part)
            else:
                self.expect(part)
        if not isinstance(script[-1], Gone):
            self.send(frame(PING, 0, 0, b"are you?"))
            self.expect(Ponged(b"are you?"))
            assert not any(one.kind == GOAWAY for one in self.said), self._told()

    def send(self, message: bytes) -> None:
        """
        Send *message*; a proxy that has closed already says why by what it sent.
        """
        try:
            self._socket.sendall(message)
        except (ConnectionError, ssl.SSLError):
            return

    def expect(self, expected: Expected) -> None:
        """
        Read until *expected* has come.

        Raises:
            AssertionError: it didn't, and won't.
        """
        until = time.monotonic() + _SECONDS
        while not expected.has_come(self):
            assert not self.over, f"{expected} did not come before the end; {self._told()}"
            assert time.monotonic() < until, f"{expected} did not come; {self._told()}"
            self._receive(until - time.monotonic())

    def content(self, stream_id: int) -> bytes:
        """
        Give the content that came on a stream so far.
        """
        return b"".join(one.payload for one in self.said if (one.kind, one.stream_id) == (DATA, stream_id))

    def _told(self) -> str:
        return f"said: {[(one.kind, one.flags, one.stream_id, one.payload[-40:], one.fields) for one in self.said]}"

    def _receive(self, seconds: float) -> None:
        self._socket.settimeout(max(seconds, 0.01))
        try:
            received = self._socket.recv(65536)
        except TimeoutError:
            return
        except (ConnectionError, ssl.SSLError):
            received = b""
        self.over = not received
        self._rest += received
        while len(self._rest) >= 9 and len(self._rest) >= 9 + (size := int.from_bytes(self._rest[:3], "big")):
            kind, flags, stream_id = self._rest[3], self._rest[4], int.from_bytes(self._rest[5:9], "big")
            payload, self._rest = self._rest[9 : 9 + size], self._rest[9 + size :]
            self._take(kind, flags, stream_id, payload)

    def _take(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        fields: dict[bytes, bytes] = {}
        if kind in {HEADERS, CONTINUATION}:
            self._block += payload
            if flags & END_HEADERS:
                fields, self._block = dict(self._decoder.decode(self._block, raw=True)), b""
        self.said.append(Said(kind, flags, stream_id, payload, fields))


class Expected(Protocol):
    """
    Something that is to come.
    """

    def has_come(self, peer: Peer) -> bool:
        """
        Tell whether it has.
        """


@attrs.frozen
class Answered:
    """
    A whole answer with *status* on a stream, and with *content* if it is given.
    """

    status: int
    stream_id: int = 1
    content: bytes | None = None

    def has_come(self, peer: Peer) -> bool:
        """
        Tell whether it has.
        """
        mine = [one for one in peer.said if one.stream_id == self.stream_id]
        statuses = [one.fields[b":status"] for one in mine if b":status" in one.fields]
        whole = any(one.ends for one in mine) and statuses[-1:] == [b"%d" % self.status]
        return whole and self.content in {None, peer.content(self.stream_id)}


@attrs.frozen
class Reset:
    """
    The end of a stream, for one of the reasons *codes*.
    """

    codes: tuple[int, ...]
    stream_id: int = 1

    def has_come(self, peer: Peer) -> bool:
        """
        Tell whether it has.
        """
        return any(
            (one.kind, one.stream_id) == (RST_STREAM, self.stream_id) and one.number in self.codes for one in peer.said
        )


@attrs.frozen
class Gone:
    """
    GOAWAY for one of the reasons *codes* with the highest stream that was begun, and the end of the connection.
    """

    codes: tuple[int, ...]
    last_stream_id: int | None = None

    def has_come(self, peer: Peer) -> bool:
        """
        Tell whether it has.
        """
        last = [one for one in peer.said if one.kind == GOAWAY][-1:]
        return peer.over and any(
            int.from_bytes(one.payload[4:8], "big") in self.codes
            and self.last_stream_id in {None, int.from_bytes(one.payload[:4], "big")}
            for one in last
        )


@attrs.frozen
class Ponged:
    """
    The answer to PING.
    """

    payload: bytes

    def has_come(self, peer: Peer) -> bool:
        """
        Tell whether it has.
        """
        return any((one.kind, one.flags, one.payload) == (PING, ACK, self.payload) for one in peer.said)


@attrs.frozen
class Acknowledged:
    """
    As many answers to SETTINGS; the handshake has one.
    """

    times: int

    def has_come(self, peer: Peer) -> bool:
        """
        Tell whether they have.
        """
        return self.times == sum((one.kind, one.flags) == (SETTINGS, ACK) for one in peer.said)


@attrs.frozen
class Began:
    """
    An answer's head with *status*; interim ones count.
    """

    status: int
    stream_id: int = 1

    def has_come(self, peer: Peer) -> bool:
        """
        Tell whether it has.
        """
        return any(
            one.stream_id == self.stream_id and one.fields.get(b":status") == b"%d" % self.status for one in peer.said
        )


@attrs.frozen
class Sized:
    """
    Exactly so many bytes of content, in frames of at most *most*.
    """

    size: int
    stream_id: int = 1
    most: int = 16384

    def has_come(self, peer: Peer) -> bool:
        """
        Tell whether they have.
        """
        pieces = [len(one.payload) for one in peer.said if (one.kind, one.stream_id) == (DATA, self.stream_id)]
        assert sum(pieces) <= self.size
        assert max(pieces, default=0) <= self.most
        return sum(pieces) == self.size


@attrs.frozen
class Either:
    """
    One of two things that the RFC leaves the choice of.
    """

    one: Expected
    other: Expected

    def has_come(self, peer: Peer) -> bool:
        """
        Tell whether one of them has.
        """
        return self.one.has_come(peer) or self.other.has_come(peer)


Script = tuple[bytes | Expected, ...]
HELLO: Final = PREFACE + settings()

"""
A raw origin over plain TCP: keeps every byte it is sent, and reads requests by the letter of RFC 9112 and no other way.

What it can't read so is kept in `Recorder.broken`: a request that became two on its way, or half of one, shows there.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Final

import attrs

OK: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

_REQUEST_LINE = re.compile(rb"([A-Z_-]{1,32}) ([\x21-\x7e\x80-\xff]+) HTTP/1\.1")
_FIELD = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*([^\x00\r\n\v\f]*)")
_CHUNK_SIZE = re.compile(rb"[0-9a-f]{1,15}")


@attrs.frozen
class Request:
    """
    One whole request; *fields* without the white space round their values, *content* without its framing.

    *trailers* are the fields behind it.
    """

    method: bytes
    target: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    content: bytes
    trailers: tuple[tuple[bytes, bytes], ...] = ()

    def values(self, name: bytes) -> list[bytes]:
        """
        Give the values of all fields called *name*, in lower case.
        """
        return [value for key, value in self.fields if key.lower() == name]


class Farewell(bytes):
    """
    An answer behind which the connection is closed.
    """


class _Kept:
    """
    The bytes of one connection, all of them, and how far they were read.
    """

    def __init__(self, connection: socket.socket, stream: bytearray) -> None:
        self._connection, self._stream, self._at = connection, stream, 0

    def line(self) -> bytes:
        """
        Give what comes before the next CRLF.

        Raises:
            EOFError: the connection ends before.
        """
        while (end := self._stream.find(b"\r\n", self._at)) < 0:
            self._receive()
        line, self._at = bytes(self._stream[self._at : end]), end + 2
        return line

    def exactly(self, size: int) -> bytes:
        """
        Give the next *size* bytes.

        Raises:
            EOFError: the connection ends before.
        """
        while len(self._stream) < self._at + size:
            self._receive()
        self._at += size
        return bytes(self._stream[self._at - size : self._at])

    def _receive(self) -> None:
        received = self._connection.recv(65536)
        if not received:
            raise EOFError
        self._stream += received


class Recorder:
    """
    The running origin: every connection's bytes, the requests in them, and what is none.

    *answer* gives the raw answer to a request, None to close the connection.
    """

    def __init__(self) -> None:
        self.streams: list[bytearray] = []
        self.requests: list[Request] = []
        self.broken: list[str] = []
        self.answer: Callable[[Request], bytes | None] = lambda request: OK
        self._sockets: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def drain(self) -> list[Request]:
        """
        Give the whole requests that came since the last time.
        """
        requests, self.requests = self.requests, []
        return requests

    def stop(self) -> None:
        """
        Listen no more and close everything.
        """
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._sockets):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        stream = bytearray()
        self.streams.append(stream)
        self._sockets.add(connection)
        try:
            self._exchanges(connection, _Kept(connection, stream))
        except (EOFError, OSError):
            pass
        except ValueError as error:
            self.broken.append(f"{error}: {bytes(stream)!r}")
        finally:
            self._sockets.discard(connection)
            connection.close()

    def _exchanges(self, connection: socket.socket, kept: _Kept) -> None:
        while True:
            request = _request(kept)
            self.requests.append(request)
            answer = self.answer(request)
            if answer is None:
                return
            connection.sendall(answer)
            if isinstance(answer, Farewell):
                return


def _request(kept: _Kept) -> Request:
    """
    Read the next request.

    Raises:
        ValueError: this is none.
        EOFError: the connection ends before it.
    """
    line = _REQUEST_LINE.fullmatch(kept.line())
    if line is None:
        raise ValueError("no request line")
    head = Request(line[1], line[2], _fields(kept), b"")
    if len(head.values(b"host")) != 1:
        raise ValueError("not one Host")
    content = b"".join(_content(head, kept))
    trailers = _fields(kept) if head.values(b"transfer-encoding") else ()
    return attrs.evolve(head, content=content, trailers=trailers)


def _fields(kept: _Kept) -> tuple[tuple[bytes, bytes], ...]:
    """
    Read fields and the empty line behind them.
    """
    fields = []
    while text := kept.line():
        field = _FIELD.fullmatch(text)
        if field is None:
            raise ValueError("no field")
        fields.append((field[1], field[2].rstrip(b" \t")))
    return tuple(fields)


def _content(head: Request, kept: _Kept) -> Iterator[bytes]:
    lengths, codings = head.values(b"content-length"), head.values(b"transfer-encoding")
    if codings:
        if lengths or codings != [b"chunked"]:
            raise ValueError("a length in doubt")
        while size := _chunk_size(kept.line()):
            yield kept.exactly(size)
            if kept.line():
                raise ValueError("a chunk without end")
    elif lengths:
        if len(lengths) > 1 or not lengths[0].isdigit():
            raise ValueError("a length in doubt")
        yield kept.exactly(int(lengths[0]))


def _chunk_size(line: bytes) -> int:
    if _CHUNK_SIZE.fullmatch(line) is None:
        raise ValueError("no chunk size")
    return int(line, 16)


@contextlib.contextmanager
def recorder() -> Iterator[Recorder]:
    """
    Run one until the end of the block.
    """
    running = Recorder()
    try:
        yield running
    finally:
        running.stop()

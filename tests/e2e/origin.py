"""
A tracking service of the tests' own: real TLS over real sockets, a thread per connection, and every byte recorded.

What it answers is told by the first segment of the path; ``/f/…`` and ``/q/…`` are answered as the real one does.
"""

from __future__ import annotations

import base64
import contextlib
import random
import select
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import trustme

GIF = base64.b64decode("R0lGODlhAQABAIAAAP///wAAACH5BAEAAAAALAAAAAABAAEAAAICRAEAOwA=")
LANDING = b"https://www.example.com/landing"


@attrs.frozen
class Received:
    """
    One request as the origin got it: head bytes to the last, content with its framing removed, connection number.
    """

    head: bytes
    content: bytes
    connection: int

    @property
    def target(self) -> bytes:
        """
        Give the request target, byte for byte.
        """
        return self.head.split(b"\r\n")[0].split(b" ", 1)[1].rsplit(b" ", 1)[0]

    def field(self, name: bytes) -> list[bytes]:
        """
        Give the values of all fields called *name*.
        """
        lines = (line.partition(b":") for line in self.head.split(b"\r\n")[1:])
        return [value.strip() for key, _, value in lines if key.lower() == name.lower()]


class Origin:
    """
    The running origin: where it listens, the CA to trust, what it received.
    """

    def __init__(
        self, directory: Path, port: int = 0, host: str = "127.0.0.1", authority: trustme.CA | None = None
    ) -> None:
        self.authority = authority or trustme.CA(key_type=trustme.KeyType.ECDSA)
        issued = self.authority.issue_cert("localhost", "127.0.0.1", key_type=trustme.KeyType.ECDSA)
        self.trust = directory / "origin-ca.pem"
        self.authority.cert_pem.write_to_path(str(self.trust))
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        issued.configure_cert(self._context)
        self.received: list[Received] = []
        self.connections = 0
        self.open_sockets: set[socket.socket] = set()
        self.stall = threading.Event()  # set: whoever waits in /hang goes on
        self._listener = socket.create_server((host, port), backlog=512)
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @property
    def configuration(self) -> str:
        """
        Give the lines of ``[upstream]`` that lead here.
        """
        return f'url = "https://localhost:{self.port}"\ntrust = "{self.trust}"'

    def requests(self, start: bytes) -> list[Received]:
        """
        Give what was received whose target starts with *start*.
        """
        return [received for received in self.received if received.target.startswith(start)]

    def close_idle(self) -> None:
        """
        Close every connection, as a service that restarts does.
        """
        for connection in list(self.open_sockets):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """
        Listen no more and close everything.
        """
        self.stall.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.close_idle()
        self._thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(plain, self.connections), daemon=True).start()

    def _serve(self, plain: socket.socket, number: int) -> None:
        self.open_sockets.add(plain)
        try:
            plain.settimeout(120)
            with self._context.wrap_socket(plain, server_side=True) as connection:
                self.open_sockets.discard(plain)
                self.open_sockets.add(connection)
                try:
                    self._exchanges(connection, number)
                finally:
                    self.open_sockets.discard(connection)
        except OSError:
            pass
        finally:
            self.open_sockets.discard(plain)
            plain.close()

    def _exchanges(self, connection: ssl.SSLSocket, number: int) -> None:
        reader = connection.makefile("rb")
        while head := _read_head(reader.readline):
            received = Received(head, b"", number)
            name = received.target.split(b"?")[0].split(b"/")[1].decode("latin-1").replace("-", "_")
            answer: Callable[[ssl.SSLSocket, Received], bool] = getattr(self, f"answer_{name}", self.answer_f)
            if name == "early":
                self.received.append(received)
                connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nearly")
                while reader.read1(65536):  # closing with unread bytes would reset the answer away
                    pass
                return
            received = attrs.evolve(received, content=b"".join(_content(received, reader.read, reader.readline)))
            self.received.append(received)
            if not answer(connection, received):
                return

    def answer_f(self, connection: ssl.SSLSocket, received: Received) -> bool:
        """
        A click.
        """
        connection.sendall(
            b"HTTP/1.1 302 Moved Temporarily\r\nServer: msys-http\r\nLocation: " + LANDING
            + b"\r\nX-Robots-Tag: noindex\r\nContent-Length: 0\r\n\r\n"
        )  # fmt: skip
        return True

    def answer_q(self, connection: ssl.SSLSocket, received: Received) -> bool:
        """
        An open: the GIF.
        """
        head = b"HTTP/1.1 200 OK\r\nContent-Type: image/gif\r\nContent-Length: %d\r\n\r\n" % len(GIF)
        connection.sendall(head if received.head.startswith(b"HEAD ") else head + GIF)
        return True

    def answer_echo(self, connection: ssl.SSLSocket, received: Received) -> bool:
        """
        The content that came.
        """
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(received.content) + received.content)
        return True

    def answer_count(self, connection: ssl.SSLSocket, received: Received) -> bool:
        """
        How many bytes of content came.
        """
        content = b"%d" % len(received.content)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content)
        return True

    def answer_bytes(self, connection: ssl.SSLSocket, received: Received) -> bool:
        """
        As many bytes as the path says, with a length.
        """
        size = int(received.target.split(b"/")[2])
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        piece = b"x" * 65536
        while size > 0:
            connection.sendall(piece[:size])
            size -= len(piece)
        return True

    def answer_chunked(self, connection: ssl.SSLSocket, received: Received) -> bool:
        """
        Two chunks, repeated fields, hop-by-hop fields, a trailer.
        """
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nKeep-Alive: timeout=5\r\n"
            b"Connection: x-private\r\nX-Private: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"5\r\nhello\r\n6\r\n world\r\n0\r\nX-Trailer: 1\r\n\r\n"
        )
        return True

    def answer_interim(self, connection: ssl.SSLSocket, received: Received) -> bool:
        """
        Two interim answers, and then one.
        """
        connection.sendall(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n"
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfinal"
        )
        return True

    def answer_until_close(self, connection: ssl.SSLSocket, received: Received) -> bool:
        """
        Content that ends with the connection.
        """
        connection.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the end")
        connection.unwrap()
        return False

    def answer_no_content(self, connection: ssl.SSLSocket, received: Received) -> bool:
        """
        204.
        """
        connection.sendall(b"HTTP/1.1 204 No Content\r\nX-Mark: 1\r\n\r\n")
        return True

    def answer_not_modified(self, connection: ssl.SSLSocket, received: Received) -> bool:
        """
        304 with the length that a 200 would have.
        """
        connection.sendall(b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\nContent-Length: 44\r\n\r\n')
        return True

    def answer_break(self, connection: ssl.SSLSocket, received: Received) -> bool:
        """
        Nothing: the connection is closed.
        """
        return False

    def answer_short(self, connection: ssl.SSLSocket, received: Received) -> bool:
        """
        Less content than announced.
        """
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")
        return False

    def answer_garbage(self, connection: ssl.SSLSocket, received: Received) -> bool:
        """
        Something that isn't HTTP.
        """
        connection.sendall(b"\x00\x01garbage\r\n\r\n")
        return False

    def answer_hang(self, connection: ssl.SSLSocket, received: Received) -> bool:
        """
        Nothing until the test says so.
        """
        self.stall.wait(60)
        return self.answer_f(connection, received)


class FickleOrigin(Origin):
    """
    An origin that ends connections at random once they have had an answer, as services and balancers do.

    Right after an answer, a moment later, or when the next request has come and before a byte of its answer; by FIN
    or by RST. *dropped* counts the requests that were thrown away so.
    """

    def __init__(self, directory: Path, seed: int = 1) -> None:
        self._chance = random.Random(seed)  # noqa: S311 - a dice, not a key
        self.closed = self.dropped = 0
        super().__init__(directory)

    def _exchanges(self, connection: ssl.SSLSocket, number: int) -> None:
        # RST throws away what Nagle's algorithm holds back: an answer behind the session tickets.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader = connection.makefile("rb")
        answered = False
        while _read_head(reader.readline):
            if answered and self._chance.random() < 0.2:
                self.dropped += 1
                break
            self.answer_q(connection, Received(b"GET ", b"", number))
            answered = True
            fate = self._chance.random()
            if fate < 0.2:
                if fate < 0.1:
                    # Also in the middle of a request that comes meanwhile, and is never read.
                    select.select([], [], [], self._chance.uniform(0, 0.005))
                break
        self.closed += 1
        if self._chance.random() < 0.5:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _read_head(readline: Callable[[int], bytes]) -> bytes:
    head = b""
    while line := readline(1 << 20):
        head += line
        if line == b"\r\n":
            return head
    return b""


def _content(received: Received, read: Callable[[int], bytes], readline: Callable[[int], bytes]) -> Iterator[bytes]:
    """
    Read what the head announces, piece by piece.
    """
    if received.field(b"transfer-encoding"):
        while size := int(readline(100).strip(), 16):
            yield read(size)
            read(2)
        while readline(8192) not in (b"\r\n", b""):
            pass
        return
    left = int((received.field(b"content-length") or [b"0"])[0])
    while left > 0 and (piece := read(min(left, 65536))):
        left -= len(piece)
        yield piece


@contextlib.contextmanager
def origin(directory: Path) -> Iterator[Origin]:
    """
    Run an origin until the end of the block.
    """
    running = Origin(directory)
    try:
        yield running
    finally:
        running.stop()

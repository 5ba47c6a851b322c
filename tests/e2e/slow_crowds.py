"""
Crowds that have a daemon hold content for them: answers that nobody reads, uploads that never end.

And a tracking service without TLS for them, as large answers over many connections cost a real one next to nothing.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from typing import TYPE_CHECKING, Final

from tests.e2e.http2_wire import Peer, get, post
from tests.proxy.http2_client import PREFACE, data, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    import trustme

    from tests.e2e.daemon import Daemon

STREAMS: Final = 100
# As much as a request's content may have before a connection to the upstream is looked for.
UPLOAD_BYTES: Final = 16_000


class PlainOrigin(socketserver.ThreadingTCPServer):
    """
    Answers ``/bytes/N`` with N bytes, all else as a click; *answers* tells how many it has answered.
    """

    allow_reuse_address = daemon_threads = True
    block_on_close = False
    request_queue_size = 2048

    def __init__(self) -> None:
        self.answers = 0
        super().__init__(("127.0.0.1", 0), _Connection)

    @property
    def configuration(self) -> str:
        """
        Give the line of ``[upstream]`` that leads here.
        """
        return f'url = "http://127.0.0.1:{self.server_address[1]}"'


class _Connection(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        """
        Answer one request after the other.
        """
        assert isinstance(self.server, PlainOrigin)
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError):
            while line := self.rfile.readline():
                content_bytes = 0
                while (field := self.rfile.readline()) not in {b"\r\n", b""}:
                    if field.lower().startswith(b"content-length:"):
                        content_bytes = int(field.split(b":")[1])
                self.rfile.read(content_bytes)
                self.wfile.write(_answer(line.split(b" ")[1]))
                self.server.answers += 1


def _answer(target: bytes) -> bytes:
    if target.startswith(b"/bytes/"):
        size = int(target.rpartition(b"/")[2])
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)
    return b"HTTP/1.1 302 Found\r\nLocation: https://www.example.com/\r\nContent-Length: 0\r\n\r\n"


@contextlib.contextmanager
def plain_origin() -> Iterator[PlainOrigin]:
    """
    Give a tracking service that runs until the end of the block.
    """
    threading.stack_size(256 * 1024)
    try:
        with PlainOrigin() as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.05,))
            thread.start()
            try:
                yield server
            finally:
                server.shutdown()
                thread.join()
    finally:
        threading.stack_size(0)


def unread(daemon: Daemon, authority: trustme.CA, size: int, window_bytes: int = 0) -> Peer:
    """
    Give a client that has asked for as many answers of *size* bytes as it may, and takes *window_bytes* of each.
    """
    peer = Peer(daemon.https, authority)
    target = b"/bytes/%d" % size
    peer.send(PREFACE + settings(_4=window_bytes) + b"".join(get(2 * at + 1, path=target) for at in range(STREAMS)))
    return peer


def unfinished(daemon: Daemon, authority: trustme.CA) -> Peer:
    """
    Give a client that has sent a good part of as many requests' content as it may, and sends no more.
    """
    peer = Peer(daemon.https, authority)
    peer.send(PREFACE + settings())
    for at in range(STREAMS):
        peer.send(post(2 * at + 1) + data(2 * at + 1, bytes(UPLOAD_BYTES)))
    return peer

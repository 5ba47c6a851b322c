"""
The clients: one process each, blocking, so that they cost the servers nothing but their requests.

*cold*: a new TLS 1.3 connection per request, full handshake, as mail clients do. *keep*: one connection, many requests.
"""

from __future__ import annotations

import multiprocessing
import socket
import ssl

NAME = "localhost"
TARGET = (
    "/f/a/Hcv1nwnOfCFeZmc3EvMwsQ~~/AALoUwA~/RgRestfaPwRXA3NwY0IKABvaUtBcfA5Pw1IbbmF0aGFuLmR1cmFudEBzcGFya3Bvc3QuY29tWAQAAAAA"
    "?target=http%3A%2F%2Fwww.sparkpost.com"
)
REQUEST = (
    f"GET {TARGET} HTTP/1.1\r\nHost: {NAME}\r\n"
    "User-Agent: Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
    "Accept-Language: en-GB,en;q=0.9\r\nAccept-Encoding: gzip, deflate, br\r\nReferer: https://mail.example.com/\r\n"
)
ONE = (REQUEST + "Connection: close\r\n\r\n").encode()
MORE = (REQUEST + "\r\n").encode()


def cold(port: int, ca: str, requests: int) -> None:
    """
    Make *requests* requests, each on a connection of its own.
    """
    context = _context(ca)
    for _ in range(requests):
        with _connect(context, port) as connection:
            connection.sendall(ONE)
            answer = b""
            while piece := connection.recv(16384):
                answer += piece
            _check(answer)


def keep(port: int, ca: str, requests: int) -> None:
    """
    Make *requests* requests on one connection.
    """
    with _connect(_context(ca), port) as connection:
        for _ in range(requests):
            connection.sendall(MORE)
            answer = connection.recv(16384)
            while not _complete(answer):
                answer += connection.recv(16384)
            _check(answer)


def run(mode: str, port: int, ca: str, requests: int, clients: int) -> int:
    """
    Share *requests* among *clients* processes in *mode*; give how many were made.

    Raises:
        RuntimeError: a client met something other than a click's answer.
    """
    each = requests // clients
    context = multiprocessing.get_context("fork")
    processes = [
        context.Process(target={"cold": cold, "keep": keep}[mode], args=(port, ca, each)) for _ in range(clients)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise RuntimeError(f"a client failed in mode {mode}")
    return each * clients


def _context(ca: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["http/1.1"])
    return context


def _connect(context: ssl.SSLContext, port: int) -> ssl.SSLSocket:
    connection = socket.create_connection(("127.0.0.1", port), 10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(connection, server_hostname=NAME)


def _complete(answer: bytes) -> bool:
    head, separator, content = answer.partition(b"\r\n\r\n")
    if not separator:
        return False
    fields = head.lower()
    if b"content-length:" in fields:
        return len(content) >= int(fields.split(b"content-length:")[1].split(b"\r\n")[0])
    return content.endswith(b"0\r\n\r\n")


def _check(answer: bytes) -> None:
    if not answer.startswith(b"HTTP/1.1 302"):
        raise RuntimeError(f"not a click's answer: {answer[:200]!r}")

"""
The clients of HTTP/2: a request on each new connection, by jh2, or ten at a time on each of a few connections, by
h2load.

What a client that comes once sends is sent here: preface, settings and request in one piece, the acknowledgement of the
server's settings, and GOAWAY before it closes.
"""

from __future__ import annotations

import re
import ssl
import subprocess
from typing import Final

from jh2.connection import H2Connection
from jh2.events import ConnectionTerminated, ResponseReceived, StreamEnded, StreamReset

from bench.load import FIELDS, NAME, TARGET, connected

STREAMS: Final = 10
_READ_BYTES: Final = 16384
_STREAM: Final = 1
_FOUND: Final = b"302"
_ENDS: Final = (StreamEnded, StreamReset, ConnectionTerminated)
_TIMEOUT_SECONDS: Final = 120.0


def cold(port: int, ca: str, requests: int) -> None:
    """
    Make *requests* requests, each on a connection of its own with a full handshake.

    Raises:
        RuntimeError: an answer was not a click's.
    """
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols(["h2", "http/1.1"])
    for _ in range(requests):
        with context.wrap_socket(connected(port), server_hostname=NAME) as sock:
            _ask(sock)


def _ask(sock: ssl.SSLSocket) -> None:
    connection = H2Connection()
    connection.initiate_connection()
    connection.send_headers(_STREAM, [*_pseudo_fields(), *_fields()], end_stream=True)
    sock.sendall(connection.data_to_send())
    status = b""
    while True:
        received = sock.recv(_READ_BYTES)
        if not received:
            raise RuntimeError("the server closed an HTTP/2 connection without an answer")
        events = connection.receive_data(received)
        status = next((dict(event.headers)[b":status"] for event in events if type(event) is ResponseReceived), status)
        if any(isinstance(event, _ENDS) for event in events):
            break
        sock.sendall(connection.data_to_send())
    if status != _FOUND:
        raise RuntimeError(f"not a click's answer: {status!r}")
    connection.close_connection()
    sock.sendall(connection.data_to_send())


def busy(port: int, requests: int, clients: int) -> int:
    """
    Make *requests* requests on *clients* connections, `STREAMS` at a time on each; give how many were made.

    Raises:
        RuntimeError: not all were answered as a click is.
    """
    fields = [option for name, value in FIELDS for option in ("-H", f"{name.lower()}: {value}")]
    call = ["h2load", "-n", str(requests), "-c", str(clients), "-m", str(STREAMS), *fields]
    call.append(f"https://{NAME}:{port}{TARGET}")
    ran = subprocess.run(call, check=False, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS)
    if redirected(ran.stdout) != requests:
        raise RuntimeError(f"h2load met something other than a click's answer:\n{ran.stdout}{ran.stderr}")
    return requests


def redirected(printed: str) -> int:
    """
    Give how many answers were redirects, of what h2load *printed*.
    """
    found = re.search(r"status codes: \d+ 2xx, (\d+) 3xx", printed)
    return int(found[1]) if found else 0


def _pseudo_fields() -> list[tuple[str, str]]:
    return [(":method", "GET"), (":path", TARGET), (":scheme", "https"), (":authority", NAME)]


def _fields() -> list[tuple[str, str]]:
    return [(name.lower(), value) for name, value in FIELDS]

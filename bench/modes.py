"""
The modes of the comparison: what the clients do in each, and which servers take part.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import attrs

from bench import load, load_http2
from bench.load import Tls

# Clients' OpenSSL, port, CA file, requests, clients: makes the requests, and gives how many it made.
Load = Callable[[Tls, int, str, int, int], int]


@attrs.frozen
class Mode:
    """
    A way to load a server, with so many *requests* a turn by default; *servers* takes part, or all where it is None.
    """

    load: Load
    requests: int
    described: str
    servers: frozenset[str] | None = None


def _http1(client: Callable[[Tls, int, str, int], None]) -> Load:
    def made(tls: Tls, port: int, ca: str, requests: int, clients: int) -> int:
        return load.shared(partial(client, tls, port, ca), requests, clients)

    return made


def _cold_http2(_: Tls, port: int, ca: str, requests: int, clients: int) -> int:
    return load.shared(partial(load_http2.cold, port, ca), requests, clients)


def _busy_http2(_: Tls, port: int, _ca: str, requests: int, clients: int) -> int:
    return load_http2.busy(port, requests, clients)


# The nginx, Apache and HAProxy of the comparison are configured as the guide has it: for HTTP/1.1.
_HTTP_2: Final = frozenset({"sptls", "Caddy"})
MODES: Final = {
    "cold": Mode(_http1(load.cold), 1200, "a new connection each"),
    "keep": Mode(_http1(load.keep), 6000, "kept-alive connections"),
    "cold-h2": Mode(_cold_http2, 1200, "a new HTTP/2 connection each", _HTTP_2),
    "busy-h2": Mode(_busy_http2, 6000, "HTTP/2, ten at a time on each connection", _HTTP_2),
}

"""
Tests for `sptls.ops.admin`, through twisted.web in memory.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from sptls.ops.admin import admin_site

ADDRESS = IPv4Address("TCP", "127.0.0.1", 9180)


def _ask(request: bytes, *, healthy: bool = True, status: dict[str, Any] | None = None) -> bytes:
    """
    Give the answer to *request*.
    """
    site = admin_site(Clock(), lambda: healthy, lambda: status or {})
    protocol = site.buildProtocol(ADDRESS)
    transport = StringTransport(peerAddress=ADDRESS)
    protocol.makeConnection(transport)
    protocol.dataReceived(request)
    written: bytes = transport.value()
    protocol.connectionLost(Failure(ConnectionDone()))
    return written


def _get(path: bytes, **what: Any) -> bytes:
    return _ask(b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", **what)


@pytest.mark.parametrize(
    ("healthy", "line"), [(True, b"HTTP/1.1 200 OK"), (False, b"HTTP/1.1 503 Service Unavailable")]
)
def test_health_is_the_status_code(healthy: bool, line: bytes) -> None:
    """
    /healthz answers 200 while serving and 503 otherwise.
    """
    assert line == _get(b"/healthz", healthy=healthy).split(b"\r\n")[0]


def test_status_is_json() -> None:
    """
    /status answers what it is told, as JSON that is not cached.
    """
    head, _, content = _get(b"/status", status={"domains": []}).partition(b"\r\n\r\n")
    assert {"domains": []} == json.loads(content)
    assert b"application/json" in head.lower()
    assert b"no-store" in head.lower()


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"DELETE"])
def test_only_reading_is_allowed(method: bytes) -> None:
    """
    Nothing can be changed here.
    """
    answer = _ask(method + b" /status HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    assert b"405" in answer.split(b"\r\n")[0]


def test_other_paths_are_not_found() -> None:
    """
    There is nothing else.
    """
    assert b"404" in _get(b"/metrics").split(b"\r\n")[0]

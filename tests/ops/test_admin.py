"""
Tests for `sptls.ops.admin`, through twisted.web in memory.
"""

from __future__ import annotations

import json

import pytest
from twisted.internet.task import Clock

from sptls.ops.admin import admin_site
from tests.ops.web import ask, content


def _ask(method: bytes, path: bytes, *, healthy: bool = True) -> bytes:
    return ask(admin_site(Clock(), lambda: healthy, lambda: iter(['{"domains": ', "[]}"])), method, path)


@pytest.mark.parametrize(
    ("healthy", "line"), [(True, b"HTTP/1.1 200 OK"), (False, b"HTTP/1.1 503 Service Unavailable")]
)
def test_health_is_the_status_code(healthy: bool, line: bytes) -> None:
    """
    /healthz answers 200 while serving and 503 otherwise.
    """
    assert line == _ask(b"GET", b"/healthz", healthy=healthy).split(b"\r\n")[0]


def test_status_is_json() -> None:
    """
    /status answers what it is told, as JSON that is not cached.
    """
    answer = _ask(b"GET", b"/status")
    assert {"domains": []} == json.loads(content(answer))
    assert b"application/json" in answer.lower()
    assert b"no-store" in answer.lower()


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"DELETE"])
def test_only_reading_is_allowed(method: bytes) -> None:
    """
    Nothing can be changed here.
    """
    assert b"405" in _ask(method, b"/status").split(b"\r\n")[0]


def test_other_paths_are_not_found() -> None:
    """
    There is nothing else.
    """
    assert b"404" in _ask(b"GET", b"/metrics").split(b"\r\n")[0]

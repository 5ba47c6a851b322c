"""
Tests for `sptls.ops.admin`, through twisted.web in memory.
"""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from sptls.ops.admin import admin_site, is_own
from tests.ops.web import Talk, ask, content


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


def _status_line(*hosts: bytes, path: bytes = b"/status", version: bytes = b"1.1") -> bytes:
    talk = Talk(admin_site(Clock(), lambda: True, lambda: iter(["{}"])))
    fields = b"".join(b"Host: %b\r\n" % host for host in hosts)
    answer = talk.say(b"GET %b HTTP/%b\r\n%bConnection: close\r\n\r\n" % (path, version, fields))
    talk.end()
    return answer.split(b"\r\n")[0].partition(b" ")[2]


@pytest.mark.parametrize(
    "host",
    [
        b"127.0.0.1:9180",
        b"192.0.2.1",
        b"[::1]:9180",
        b"[2001:db8::1]",
        b"localhost",
        b"LOCALHOST:9180",
        b"localhost.",
        b"sptls:9180",
        b"my_sptls-1",
    ],
)
def test_status_is_for_who_says_where_this_is(host: bytes) -> None:
    """
    By an address, or by a name that no stranger's zone can have.
    """
    assert (b"200 OK", True) == (_status_line(host), is_own(host))


@pytest.mark.parametrize(
    "host",
    [
        b"evil.example",
        b"evil.example:9180",
        b"127.0.0.1.evil.example",
        b"127.0.0.1.",
        b"localhost.evil.example",
        b"evil.example.",
        b"::1",
        b"[::1",
        b"[evil.example]",
        b"[::1]evil.example",
        b"user@localhost",
        b"localhost:9180, evil.example",
        b"localhost:x",
        b"a..",
        b"",
        b"\xe9",
    ],
)
def test_status_is_for_no_page_of_another_site(host: bytes) -> None:
    """
    Its name may lead here (DNS rebinding), but its browser says it.
    """
    assert (b"403 Forbidden", False) == (_status_line(host), is_own(host))
    assert b"403 Forbidden" == _status_line(b"localhost", host)


def test_no_browser_leaves_host_out() -> None:
    """
    HTTP/1.0 may, as some monitors do.
    """
    assert b"200 OK" == _status_line(version=b"1.0")


def test_health_is_for_everyone() -> None:
    """
    It tells what a connection tells too, and monitors ask by whatever name.
    """
    assert b"200 OK" == _status_line(b"sptls.service.example", path=b"/healthz")


@given(st.binary(max_size=30))
def test_any_host_is_ours_or_not(host: bytes) -> None:
    """
    Nothing raises, and a dot is an address's.
    """
    assert not is_own(b"a.b%b" % host)
    is_own(host)

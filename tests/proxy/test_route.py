from __future__ import annotations

import pytest

from sptls.config import LimitsConfig, UpstreamConfig
from sptls.names import HostName, NameTable
from sptls.proxy.head import RequestHead, parse_request
from sptls.proxy.route import Answer, Forward, Refuse, Site, decide

CLICK = Site(HostName.parse("click.example.com"), UpstreamConfig())
WILD = Site(HostName.parse("*.example.org"), UpstreamConfig(host="eu.spgo.io"))
SITES = NameTable({site.name: site for site in (CLICK, WILD)})
TOKENS = {"tok_en-1": "tok_en-1.thumbprint"}
PATH = b"/.well-known/acme-challenge/"


def request(method: bytes = b"GET", target: bytes = b"/f/a", host: bytes | None = b"click.example.com") -> RequestHead:
    """
    Give a request's head; without *host* it is HTTP/1.0's.
    """
    field = b"" if host is None else b"Host: %b\r\n" % host
    version = b"1.0" if host is None else b"1.1"
    head = parse_request(b"%b %b HTTP/%b\r\n%b\r\n" % (method, target, version, field), LimitsConfig())
    assert isinstance(head, RequestHead)
    return head


@pytest.mark.parametrize(
    ("host", "site"),
    [
        (b"click.example.com", CLICK),
        (b"CLICK.Example.com.:443", CLICK),
        (b"a.example.org", WILD),
    ],
)
def test_a_configured_host_is_forwarded(host: bytes, site: Site) -> None:
    """
    In any spelling, to its own tracking service.
    """
    assert Forward(site) == decide(request(host=host), SITES, {}, None)


@pytest.mark.parametrize(
    "host", [b"example.com", b"click.example.com.evil.example", b"a.b.example.org", b"[::1]", None]
)
def test_any_other_host_is_misdirected(host: bytes | None) -> None:
    """
    421, never a redirect; no host at all as well.
    """
    answer = decide(request(host=host), SITES, {}, None)
    assert isinstance(answer, Refuse)
    assert 421 == answer.status


def test_the_connection_s_certificate_must_cover_the_host() -> None:
    """
    A reused connection serves the names of its certificate only; the certificate is asked with the host as received.
    """
    asked: list[bytes] = []

    def covers(host: bytes) -> bool:
        asked.append(host)
        return host == b"Click.example.com"

    good = decide(request(host=b"Click.example.com:443"), SITES, {}, covers)
    bad = decide(request(host=b"a.example.org"), SITES, {}, covers)
    assert (Forward(CLICK), [b"Click.example.com", b"a.example.org"]) == (good, asked)
    assert isinstance(bad, Refuse)
    assert 421 == bad.status


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize("host", [b"click.example.com", b"new.example.net", None])
def test_an_open_challenge_is_answered_whatever_the_host(method: bytes, host: bytes | None) -> None:
    """
    Before anything else, on TLS too (a CA may follow a redirect there).
    """
    expected = Answer(200, b"application/octet-stream", b"tok_en-1.thumbprint")
    head = request(method, PATH + b"tok_en-1", host)
    assert expected == decide(head, SITES, TOKENS, None) == decide(head, SITES, TOKENS, lambda _: False)


@pytest.mark.parametrize(
    ("method", "target"),
    [
        (b"GET", PATH + b"other"),
        (b"GET", PATH),
        (b"GET", PATH + b"tok_en-1/"),
        (b"GET", PATH + b"tok_en-1?x"),
        (b"GET", PATH + b"\xff"),
        (b"POST", PATH + b"tok_en-1"),
    ],
)
def test_other_challenge_paths_belong_to_the_service(method: bytes, target: bytes) -> None:
    """
    It may run an ACME client of its own.
    """
    assert Forward(CLICK) == decide(request(method, target), SITES, TOKENS, None)


def test_trace_is_not_allowed() -> None:
    """
    It would show fields that scripts must not see.
    """
    answer = decide(request(b"TRACE"), SITES, {}, None)
    assert isinstance(answer, Refuse)
    assert 405 == answer.status

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptls.config import LimitsConfig, UpstreamConfig
from sptls.names import HostName, NameTable
from sptls.proxy.head import RequestHead, parse_request
from sptls.proxy.route import Answer, Forward, Redirect, Refuse, Site, decide

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
    assert (405, CLICK) == (answer.status, answer.site)


SECURE = Site(HostName.parse("secure.example.com"), UpstreamConfig(), redirect_http=True)
SECURE_WILD = Site(HostName.parse("*.secure.example"), UpstreamConfig(), redirect_http=True)
BOTH = NameTable({site.name: site for site in (CLICK, SECURE, SECURE_WILD)})
HOST = b"secure.example.com"


def redirected(
    target: bytes = b"/f/a", host: bytes = HOST, *, method: bytes = b"GET", https_port: int = 443
) -> bytes | None:
    """
    Give where a request at port 80 is sent, every host having a certificate; None when it is forwarded.
    """
    decision = decide(request(method, target, host), BOTH, TOKENS, None, lambda _: True, https_port)
    if isinstance(decision, Redirect):
        assert 308 == decision.status
        return decision.location
    assert isinstance(decision, Forward)
    return None


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"POST", b"OPTIONS"])
def test_plain_http_is_sent_to_https_where_the_domain_asks_for_it(method: bytes) -> None:
    """
    Whatever is asked; 308 keeps method and content.
    """
    assert b"https://secure.example.com/f/a" == redirected(method=method)
    assert redirected(host=b"click.example.com", method=method) is None


def test_a_host_without_a_certificate_is_not_redirected() -> None:
    """
    A click that is answered over http is better than none; the certificate is asked with the host as received.
    """
    asked: list[bytes] = []
    decision = decide(request(host=b"Secure.example.com:80"), BOTH, {}, None, asked.append)  # type: ignore[arg-type] # None is no
    assert (Forward(SECURE), [b"Secure.example.com"]) == (decision, asked)
    assert Forward(SECURE) == decide(request(host=HOST), BOTH, {}, None)


def test_https_is_not_redirected() -> None:
    """
    It is there already.
    """
    assert Forward(SECURE) == decide(request(host=HOST), BOTH, {}, lambda _: True, lambda _: True)


def test_https_that_a_proxy_took_off_is_not_redirected() -> None:
    """
    It would come back for ever.
    """
    assert Forward(SECURE) == decide(request(host=HOST), BOTH, {}, None, lambda _: True, is_secure=True)


@pytest.mark.parametrize(
    ("host", "https_port", "location"),
    [
        (HOST, 443, b"https://secure.example.com/f/a"),
        (b"SECURE.Example.com.", 443, b"https://secure.example.com/f/a"),
        (b"secure.example.com:8080", 443, b"https://secure.example.com/f/a"),
        (b"secure.example.com:8080", 8443, b"https://secure.example.com:8443/f/a"),
        (b"secure.example.com", 8443, b"https://secure.example.com/f/a"),
        (b"secure.example.com:80", 8443, b"https://secure.example.com/f/a"),
        (b"secure.example.com:", 8443, b"https://secure.example.com/f/a"),
        (b"A.secure.example:8080", 8443, b"https://a.secure.example:8443/f/a"),
    ],
)
def test_the_location_is_the_configured_name_at_the_port_that_the_client_can_reach(
    host: bytes, https_port: int, location: bytes
) -> None:
    """
    Who came to port 80 goes to 443: both are mapped, or none.
    """
    assert location == redirected(host=host, https_port=https_port)


@pytest.mark.parametrize(
    ("target", "location"),
    [
        (b"/", b"https://secure.example.com/"),
        (b"//evil.example/x", b"https://secure.example.com//evil.example/x"),
        (b"/%2F~~/a?target=https://x/&y=%00", b"https://secure.example.com/%2F~~/a?target=https://x/&y=%00"),
        (b"/\\evil.example\xff", b"https://secure.example.com/\\evil.example\xff"),
        (b"http://secure.example.com/a?b", b"https://secure.example.com/a?b"),
        (b"http://secure.example.com:80?b", b"https://secure.example.com/?b"),
        (b"http://secure.example.com", b"https://secure.example.com/"),
    ],
)
def test_the_target_goes_along_byte_for_byte(target: bytes, location: bytes) -> None:
    """
    Links are signed; and it never leads to another host.
    """
    assert location == redirected(target)


@given(st.binary(max_size=30).map(lambda path: b"/" + bytes(byte for byte in path if 0x20 < byte != 0x7F)))
def test_no_target_leads_to_another_host(target: bytes) -> None:
    """
    Whatever a link holds, it follows the host and a slash.
    """
    location = redirected(target)
    expected = None if b"#" in target or target.startswith(PATH) else b"https://secure.example.com" + target
    assert expected == location


@pytest.mark.parametrize(
    ("method", "target", "host"),
    [
        (b"GET", PATH + b"other", HOST),
        (b"POST", PATH + b"tok_en-1", HOST),
        (b"GET", b"/a#b", HOST),
        (b"GET", b"/", b"a_b.secure.example"),
    ],
)
def test_what_a_url_can_not_say_or_a_ca_asks_is_forwarded(method: bytes, target: bytes, host: bytes) -> None:
    """
    As if nobody had asked for a redirect.
    """
    assert redirected(target, host, method=method) is None


def test_an_open_challenge_is_answered_and_not_redirected() -> None:
    """
    The CA asks at port 80.
    """
    head = request(b"GET", PATH + b"tok_en-1", HOST)
    assert isinstance(decide(head, BOTH, TOKENS, None, lambda _: True), Answer)


@pytest.mark.parametrize(("method", "host", "status"), [(b"TRACE", HOST, 405), (b"GET", b"evil.example", 421)])
def test_what_is_refused_is_refused_first(method: bytes, host: bytes, status: int) -> None:
    """
    A host that isn't configured is sent nowhere.
    """
    answer = decide(request(method, host=host), BOTH, {}, None, lambda _: True)
    assert isinstance(answer, Refuse)
    assert status == answer.status

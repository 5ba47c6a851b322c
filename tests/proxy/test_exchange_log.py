from __future__ import annotations

from ipaddress import ip_network

from sptls.addresses import Networks
from sptls.proxy.exchange_log import note
from sptls.proxy.head import RequestHead, parse_request
from sptls.proxy.log_line import LogEntry
from tests.proxy.wire import Stage, TlsWire

RAW = (
    b"GET /q/x HTTP/1.1\r\nHost: click.example.com\r\nReferrer: no\r\nreferer: http://a/\r\n"
    b"Referer: second\r\nuser-agent: Mail/1\r\nUser-Agent: second\r\nX-10-bytes: z\r\n\r\n"
)


def test_entry_has_the_facts_of_the_exchange() -> None:
    """
    The first Referer and User-Agent, whatever their case; time from the clocks.
    """
    stage = Stage()
    connection, _ = stage.connect(TlsWire())
    request = parse_request(RAW, stage.gateway.limits)
    assert isinstance(request, RequestHead)
    stage.clock.advance(0.25)
    note(connection, request, b"GET /q/x HTTP/1.1", 302, 7, 0.0)
    expected = LogEntry(
        1603396784.25,
        b"192.0.2.7",
        b"click.example.com",
        b"GET /q/x HTTP/1.1",
        302,
        7,
        b"http://a/",
        b"Mail/1",
        0.25,
        True,
    )
    assert [expected] == stage.log.entries
    assert 1 == stage.counters.answers[3]


def test_entry_of_a_request_that_could_not_be_read() -> None:
    """
    What isn't known is left out.
    """
    stage = Stage()
    connection, _ = stage.connect()
    note(connection, None, b"nonsense", 400, 0, 0.0)
    (entry,) = stage.log.entries
    assert (None, b"nonsense", None, None, False) == (
        entry.host,
        entry.request_line,
        entry.referer,
        entry.user_agent,
        entry.tls,
    )


def test_entry_has_the_client_that_a_trusted_proxy_named() -> None:
    """
    Where the head could not be read, nobody was named.
    """
    stage = Stage()
    stage.gateway.trusted_proxies = Networks([ip_network("192.0.2.0/24")])
    connection, _ = stage.connect()
    request = parse_request(RAW[:-2] + b"X-Forwarded-For: 203.0.113.9\r\n\r\n", stage.gateway.limits)
    assert isinstance(request, RequestHead)
    note(connection, request, b"GET /q/x HTTP/1.1", 302, 7, 0.0)
    note(connection, None, b"nonsense", 400, 0, 0.0)
    assert [b"203.0.113.9", b"192.0.2.7"] == [entry.peer for entry in stage.log.entries]

"""
Tests for `sptls.serving`: who meets whom. What the parts do together is in tests/e2e.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from sptls.clock import wall_time
from sptls.config import Config, DomainConfig, HandshakeConfig, ListenConfig, LogConfig, UpstreamConfig
from sptls.names import HostName
from sptls.proxy.http1 import Http1
from sptls.proxy.http2 import Http2
from sptls.serving import DRAIN_SECONDS, Serving, upstreams_of
from sptls.tls.alpn_challenge import TlsAlpn01Responder
from sptls.tls.contexts import ContextCache, client_trust
from sptls.tls.served import ServedCertificates
from tests.certs.stored import outcome
from tests.doubles import InlineReactor
from tests.proxy.wire import Wire, logged

NAME = HostName("click.example.com")


def _config(tmp_path: Path, **more: Any) -> Config:
    more.setdefault("domains", (DomainConfig(NAME),))
    return Config(state_dir=tmp_path, **more)


def _made(config: Config, reactor: InlineReactor | None = None) -> Serving:
    reactor = reactor or InlineReactor()
    contexts = ContextCache(config.tls.policy, 1, reactor.seconds)
    served = ServedCertificates(config.domains, None, contexts, wall_time, lambda _: None, lambda *_: None)
    return Serving.make(reactor, config, {None: client_trust(None)}, served, TlsAlpn01Responder(wall_time), {})


def test_every_domain_has_its_site_and_upstream(tmp_path: Path) -> None:
    """
    Requests for a domain go to its own upstream; upstreams that are the same are served once.
    """
    own = UpstreamConfig(host="eu.spgo.io")
    names = [HostName(f"{at}.example") for at in range(3)]
    domains = (DomainConfig(names[0]), DomainConfig(names[1]), DomainConfig(names[2], own))
    config = _config(tmp_path, domains=domains)
    site = _made(config).gateway.sites.get(b"2.example")
    assert site is not None
    assert own == site.upstream
    assert [UpstreamConfig(), own] == upstreams_of(config)


def test_renewal_daemon_proxies_nothing(tmp_path: Path) -> None:
    """
    It has no tracking service, and port 80 answers challenges only.
    """
    config = _config(tmp_path, renew_only=True)
    assert ([], None) == (upstreams_of(config), _made(config).gateway.sites.get(NAME.wire))


@pytest.mark.parametrize(("access", "expected"), [("", "access.log"), ("/var/log/sptls.log", "/var/log/sptls.log")])
def test_access_log_lies_where_the_configuration_says(tmp_path: Path, access: str, expected: str) -> None:
    """
    "" is access.log in the state directory.
    """
    serving = _made(_config(tmp_path, log=LogConfig(access=access)))
    assert str(tmp_path / expected) == serving.access_log._writer.path


def test_drain_that_is_over_says_how_many_were_cut_off(tmp_path: Path) -> None:
    """
    A client in the middle of a request is waited for, then closed, and the log has it; nothing fails.
    """
    reactor = InlineReactor()
    serving = _made(_config(tmp_path), reactor)
    connection, transport = Http1(serving.gateway), Wire()
    connection.makeConnection(transport)
    connection.dataReceived(b"GET / HT")
    with logged() as events:
        draining = Deferred.fromCoroutine(serving.drain())
        reactor.advance(DRAIN_SECONDS)
    assert None is draining.result
    assert ["1 connections were cut off after 10.0 s"] == [text for level, text in events if level == "warn"]
    assert transport.aborted


def test_protocol_is_what_was_agreed(tmp_path: Path) -> None:
    """
    HTTP/2 where the client took it, HTTP/1.1 without ALPN too, and nothing on a CA's validation.
    """
    protocol_for = _made(_config(tmp_path)).tls._protocol_for
    assert [Http2, Http1, Http1, type(None)] == [
        type(protocol_for(alpn)) for alpn in (b"h2", b"http/1.1", b"", b"acme-tls/1")
    ]


def test_goes_over_to_another_configuration_at_once(tmp_path: Path) -> None:
    """
    Sites, upstreams, the wait for certificates and the proxies before us are the new ones.
    """
    other, upstream = HostName("other.example"), UpstreamConfig(host="192.0.2.1")
    new = _config(tmp_path, domains=(DomainConfig(other, upstream),), handshake=HandshakeConfig(3.0))
    serving = _made(_config(tmp_path))
    serving.go_over(new)
    assert (None, True) == (serving.gateway.sites.get(NAME.wire), serving.gateway.sites.get(other.wire) is not None)
    assert (["https://192.0.2.1"], 3.0) == (
        [one["url"] for one in serving.traffic().upstreams],
        serving.tls.hold_deadline.seconds,
    )
    assert None is outcome(serving.settled())


def test_traffic_is_what_was_counted(tmp_path: Path) -> None:
    """
    Connections, TLS, HTTP, upstreams and lost lines, as the status has them; nobody else has workers.
    """
    serving = _made(_config(tmp_path, listen=ListenConfig()))
    serving.gateway.counters.requests = 3
    serving.tls.counts.accepted = 4
    sections = serving.traffic().sections
    assert (3, 4, {"dropped_lines": 0}) == (
        sections["http"]["requests"],
        sections["tls"]["accepted"],
        sections["access_log"],
    )
    assert ([], True) == (serving.rows, serving.is_serving)

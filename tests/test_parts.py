"""
Tests for `sptls.parts`: who meets whom. What the parts do together is in tests/e2e.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trustme
from twisted.internet.defer import Deferred

from sptls.certs.own import OwnCertificates
from sptls.clock import wall_time
from sptls.config import AcmeConfig, Config, DomainConfig, LogConfig, UpstreamConfig
from sptls.keeping import trust_roots
from sptls.names import HostName
from sptls.parts import DRAIN_SECONDS, Parts, upstreams_of
from sptls.proxy.http1 import Http1
from sptls.proxy.http2 import Http2
from tests.certs.stored import outcome
from tests.doubles import InlineReactor
from tests.proxy.wire import Wire, logged

NAME = HostName("click.example.com")


def _config(tmp_path: Path, **more: Any) -> Config:
    more.setdefault("domains", (DomainConfig(NAME),))
    return Config(state_dir=tmp_path, acme=AcmeConfig(directory="internal"), **more)


def _made(config: Config, reactor: InlineReactor | None = None) -> Parts:
    reactor = reactor or InlineReactor()
    in_thread: Any = None  # nothing is looked at before the start
    own = OwnCertificates(config.domains, clock=reactor, wall_clock=wall_time, in_thread=in_thread)
    return Parts.make(reactor, config, own, trust_roots(config))


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
    parts = _made(_config(tmp_path, log=LogConfig(access=access)))
    assert str(tmp_path / expected) == parts.access_log._writer.path


def test_status_tells_of_every_domain(tmp_path: Path) -> None:
    """
    Before the start a name is not taken care of; then it is listed with its state.
    """
    from sptls.certs.records import Loaded

    parts = _made(_config(tmp_path))
    assert [] == json.loads("".join(parts.report.status()))["domains"]
    parts.keeping.renewer._is_stopping = True  # it plans, and begins no order
    parts.keeping.renewer.start([NAME], Loaded())
    (domain,) = json.loads("".join(parts.report.status()))["domains"]
    assert ("click.example.com", "internal", None) == (domain["name"], domain["source"], domain["not_after"])


def test_roots_that_changed_in_their_file_are_gone_by(tmp_path: Path) -> None:
    """
    The tracking service and the CA get new connections; a reload with the same roots leaves both alone.
    """
    from sptls.certs.records import Loaded

    roots = tmp_path / "roots.pem"
    trustme.CA().cert_pem.write_to_path(str(roots))
    config = Config(
        state_dir=tmp_path,
        domains=(DomainConfig(NAME, UpstreamConfig(host="192.0.2.1", trust=roots)),),
        acme=AcmeConfig(directory="https://ca.example/", trust=roots),
    )
    parts = _made(config)
    parts.keeping.renewer._is_stopping = True  # it plans, and begins no order
    parts.keeping.renewer.start([NAME], Loaded())
    parts.upstreams.serve(upstreams_of(config))
    in_use = [_change(parts, config)]
    trustme.CA().cert_pem.write_to_path(str(roots))
    in_use += [_change(parts, config), _change(parts, config)]
    assert in_use[0] != in_use[1] == in_use[2]
    assert all(before is not after for before, after in zip(in_use[0], in_use[1], strict=True))


def _change(parts: Parts, config: Config) -> list[object]:
    """
    Read *config*'s files again, and give the origin and the CA's issuer that are in use then.
    """
    in_thread: Any = None  # no domain brings its certificate
    own = OwnCertificates(config.domains, clock=InlineReactor(), wall_clock=wall_time, in_thread=in_thread)
    outcome(parts.change(config, own, trust_roots(config)))
    return [*parts.upstreams._origins.values(), parts.keeping.authorities[0].issuer]


def test_drain_that_is_over_says_how_many_were_cut_off(tmp_path: Path) -> None:
    """
    A client in the middle of a request is waited for, then closed, and the log has it; nothing fails.
    """
    reactor = InlineReactor()
    parts = _made(_config(tmp_path), reactor)
    connection, transport = Http1(parts.gateway), Wire()
    connection.makeConnection(transport)
    connection.dataReceived(b"GET / HT")
    with logged() as events:
        draining = Deferred.fromCoroutine(parts.drain(reactor))
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

"""
Tests for `sptls.parts`: who meets whom. What the parts do together is in tests/e2e.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trustme
from twisted.internet.defer import Deferred

from sptls.certs.own import OwnCertificates
from sptls.clock import wall_time
from sptls.config import AcmeConfig, Config, DomainConfig, ListenConfig, LogConfig, UpstreamConfig
from sptls.errors import StartError
from sptls.interfaces import Hold, Refuse
from sptls.names import HostName
from sptls.parts import DRAIN_SECONDS, Parts, trust_roots
from sptls.proxy.http1 import Http1
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


def test_configured_name_is_held_and_wanted(tmp_path: Path) -> None:
    """
    A hello for a configured name without certificate waits; another name is refused.
    """
    parts = _made(_config(tmp_path))
    assert Hold(NAME) == parts.served.answer(b"Click.Example.COM")
    assert isinstance(parts.served.answer(b"stranger.example"), Refuse)


def test_default_name_answers_clients_without_a_server_name(tmp_path: Path) -> None:
    """
    `listen.default_name` is what no server name gets.
    """
    assert isinstance(_made(_config(tmp_path)).served.answer(None), Refuse)
    named = _made(_config(tmp_path, listen=ListenConfig(default_name=NAME)))
    assert Hold(NAME) == named.served.answer(None)


def test_every_domain_has_its_site_and_upstream(tmp_path: Path) -> None:
    """
    Requests for a domain go to its own upstream; upstreams that are the same are served once.
    """
    own = UpstreamConfig(host="eu.spgo.io")
    names = [HostName(f"{at}.example") for at in range(3)]
    domains = (DomainConfig(names[0]), DomainConfig(names[1]), DomainConfig(names[2], own))
    parts = _made(_config(tmp_path, domains=domains))
    site = parts.gateway.sites.get(b"2.example")
    assert site is not None
    assert own == site.upstream
    assert (UpstreamConfig(), own) == parts.upstream_configs


def test_trust_files_are_read_once_each(tmp_path: Path) -> None:
    """
    Every file that is named has its roots; none is the system's alone.
    """
    path = tmp_path / "roots.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    config = _config(tmp_path, domains=(DomainConfig(NAME, UpstreamConfig(trust=path)),))
    assert {None, path} == set(trust_roots(config))


def test_trust_file_that_is_gone_is_named(tmp_path: Path) -> None:
    """
    The message has the file.
    """
    config = _config(tmp_path, domains=(DomainConfig(NAME, UpstreamConfig(trust=tmp_path / "gone.pem")),))
    with pytest.raises(StartError, match=r"gone\.pem"):
        trust_roots(config)


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
    assert [] == parts.report.status()["domains"]
    parts.renewer._is_stopping = True  # it plans, and begins no order
    parts.renewer.start([NAME], Loaded())
    (domain,) = parts.report.status()["domains"]
    assert ("click.example.com", "internal", None) == (domain["name"], domain["source"], domain["not_after"])


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

"""
What a configuration that was read again changes at once, what waits for a restart, and that both fit together.
"""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptls.config import (
    AcmeConfig,
    Address,
    Config,
    DeployConfig,
    DomainConfig,
    HandshakeConfig,
    LimitsConfig,
    ListenConfig,
    LogConfig,
    NotifyConfig,
    TlsConfig,
    UpstreamConfig,
)
from sptls.config_change import ConfigChange, change
from sptls.errors import ConfigError
from sptls.names import HostName
from tests.full_config import FULL, loaded

A, B, C, D = (HostName(f"{label}.example") for label in "abcd")
OLD = Config((DomainConfig(A), DomainConfig(B), DomainConfig(C)))

# Pieces of files that are read one after the other.
LISTEN = st.sampled_from(["", "listen.https = []", "listen.http = []", "listen.http = [':8080']", "listen.admin = ''"])
CHALLENGES = st.sampled_from(["", "acme.challenges = ['http-01']", "acme.challenges = ['tls-alpn-01']"])
DEPLOY = st.sampled_from(["", "deploy.directory = 'live'", "deploy = {directory = 'live', webroot = 'ok'}"])
OTHERS = st.sampled_from(
    ["", "log.access = 'x'", "limits.connections = 5", "tls.policy = 'modern'", "acme.directory = 'internal'"]
)
DOMAINS = st.lists(
    st.sampled_from(["a.b", "c.d", "e.f"]).flatmap(
        lambda name: st.sampled_from([f"'{name}'", f"{{name = '{name}', redirect_http = true}}"])
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda text: text.split("'")[1],
).map(lambda entries: f"domains = [{', '.join(entries)}]")


def read(pieces: tuple[str, ...], *, renew_only: bool) -> Config | None:
    """
    Load the file of *pieces*; None when it can't be used.
    """
    try:
        return loaded("\n".join(pieces), renew_only=renew_only, agree_to_terms=True)
    except ConfigError:
        return None


CONFIGS = (
    st.tuples(
        st.tuples(DOMAINS, LISTEN, CHALLENGES, DEPLOY, OTHERS),
        st.booleans(),
    )
    .map(lambda drawn: read(drawn[0], renew_only=drawn[1]))
    .filter(lambda config: config is not None)
)


def test_who_is_believed_is_live() -> None:
    """
    Networks of proxies take effect at once, beside sockets that do not.
    """
    ten = (ip_network("10.0.0.0/8"),)
    new = attrs.evolve(OLD, listen=ListenConfig(https=(), proxy_protocol=ten, trusted_proxies=ten))
    found = change(OLD, new)
    assert attrs.evolve(new.listen, https=OLD.listen.https) == found.config.listen
    assert ("listen.proxy_protocol", "listen.trusted_proxies") == found.settings
    assert ("listen.https",) == found.needs_restart


def test_the_same_again_changes_nothing() -> None:
    """
    Whatever there is.
    """
    config = loaded(FULL)
    assert ConfigChange(config) == change(config, loaded(FULL))


def test_domains_are_told_by_name() -> None:
    """
    Added and changed ones in the order of the new file.
    """
    upstream = UpstreamConfig(host="eu.spgo.io")
    new = Config((DomainConfig(D), DomainConfig(C), DomainConfig(B, upstream), DomainConfig(HostName("e.example"))))
    changed = change(OLD, new)
    assert ((D, HostName("e.example")), (B,), (A,)) == (changed.added, changed.changed, changed.removed)
    assert (new, (), ()) == (changed.config, changed.settings, changed.needs_restart)


@pytest.mark.parametrize(
    "changed",
    [
        DomainConfig(A, redirect_http=True),
        DomainConfig(A, certificate=Path("/a.pem"), key=Path("/a.key")),
        DomainConfig(A, UpstreamConfig("http")),
    ],
)
def test_all_that_belongs_to_a_domain_is_live(changed: DomainConfig) -> None:
    """
    Its service, its own certificate, its redirect.
    """
    found = change(OLD, Config((changed, *OLD.domains[1:])))
    assert (changed, (A,)) == (found.config.domains[0], found.changed)


@pytest.mark.parametrize(
    ("settings", "places"),
    [
        ({"tls": TlsConfig("modern")}, ("tls.policy",)),
        ({"handshake": HandshakeConfig(5)}, ("handshake.hold_seconds",)),
        ({"domains_file": Path("/names.txt")}, ("domains_file",)),
        ({"listen": ListenConfig(default_name=B)}, ("listen.default_name",)),
        ({"deploy": DeployConfig(Path("/live"), None, ("/x",))}, ("deploy.directory", "deploy.command")),
        ({"notify": NotifyConfig(("/x",), "https://hook.example/")}, ("notify.command", "notify.webhook")),
        (
            {"acme": AcmeConfig("internal", contact=("a@b.c",), challenges=("http-01",), key_type="rsa-4096")},
            ("acme.directory", "acme.contact", "acme.challenges", "acme.key_type"),
        ),
    ],
)
def test_a_live_setting_is_in_force_and_told(settings: dict[str, Any], places: tuple[str, ...]) -> None:
    """
    Key by key.
    """
    new = attrs.evolve(OLD, **settings)
    assert ConfigChange(new, settings=places) == change(OLD, new)


@pytest.mark.parametrize(
    ("settings", "places"),
    [
        ({"listen": ListenConfig(https=(Address("", 8443),))}, ("listen.https",)),
        ({"listen": ListenConfig(http=(Address("::", 80),))}, ("listen.http",)),
        ({"listen": ListenConfig(admin=None)}, ("listen.admin",)),
        ({"listen": ListenConfig(admin=Address("127.0.0.1", 9181))}, ("listen.admin",)),
        ({"state_dir": Path("/srv")}, ("state_dir",)),
        ({"limits": LimitsConfig(connections=5, idle_seconds=5)}, ("limits.connections", "limits.idle_seconds")),
        ({"log": LogConfig("-", "json")}, ("log.access", "log.format")),
        ({"workers": "auto"}, ("workers",)),
    ],
)
def test_what_was_set_up_at_start_stays_and_is_named(settings: dict[str, Any], places: tuple[str, ...]) -> None:
    """
    Nothing is bound or moved while serving.
    """
    assert ConfigChange(OLD, needs_restart=places) == change(OLD, attrs.evolve(OLD, **settings))


def test_a_challenge_type_waits_for_its_socket() -> None:
    """
    Every try without would cost one of the CA's failures.
    """
    old = attrs.evolve(OLD, listen=ListenConfig(http=()), acme=AcmeConfig(challenges=("tls-alpn-01",)))
    found = change(old, OLD)
    assert (("tls-alpn-01",), ("listen.http", "acme.challenges")) == (found.config.acme.challenges, found.needs_restart)


def test_where_no_new_challenge_type_can_be_answered_the_old_ones_stay() -> None:
    """
    They can.
    """
    old = attrs.evolve(OLD, listen=ListenConfig(http=()), acme=AcmeConfig(challenges=("tls-alpn-01",)))
    new = attrs.evolve(OLD, listen=ListenConfig(https=()), acme=AcmeConfig(challenges=("http-01",)))
    found = change(old, new)
    assert ("tls-alpn-01",) == found.config.acme.challenges
    assert ("listen.https", "listen.http", "acme.challenges") == found.needs_restart


@pytest.mark.parametrize(
    ("before", "after"),
    [((), (AcmeConfig("internal"),)), ((AcmeConfig("internal"),), ()), ((AcmeConfig("a"),), (AcmeConfig("b"),))],
)
def test_several_cas_are_live_and_told_as_one(before: tuple[AcmeConfig, ...], after: tuple[AcmeConfig, ...]) -> None:
    """
    They may have changed places, so no key of one would say what happened.
    """
    old, new = attrs.evolve(OLD, more_cas=before), attrs.evolve(OLD, more_cas=after)
    assert ConfigChange(new, settings=("acme",)) == change(old, new)
    assert ConfigChange(new) == change(new, new)


def test_a_challenge_type_of_each_ca_waits_for_its_socket() -> None:
    """
    Not the first one's alone.
    """
    old = attrs.evolve(OLD, listen=ListenConfig(http=()), acme=AcmeConfig(challenges=("tls-alpn-01",)))
    found = change(old, attrs.evolve(OLD, more_cas=(AcmeConfig("https://ca.example/dir"),)))
    assert [("tls-alpn-01",)] * 2 == [acme.challenges for acme in found.config.cas]
    assert ("listen.http", "acme") == found.needs_restart


def test_nobody_is_sent_to_a_port_443_that_is_not_open_yet() -> None:
    """
    The redirect comes with it.
    """
    old = attrs.evolve(OLD, listen=ListenConfig(https=()))
    found = change(old, Config((DomainConfig(A, redirect_http=True), *OLD.domains[1:])))
    assert (OLD.domains, ()) == (found.config.domains, found.changed)
    assert ("domains[].redirect_http", "listen.https") == found.needs_restart[:2]


RENEWING = attrs.evolve(
    OLD,
    listen=ListenConfig(https=()),
    acme=AcmeConfig(challenges=("http-01",)),
    deploy=DeployConfig(Path("/live")),
    renew_only=True,
)
WEBROOT = attrs.evolve(
    RENEWING, listen=ListenConfig(https=(), http=()), deploy=DeployConfig(Path("/new"), Path("/www"))
)


@pytest.mark.parametrize(("old", "new", "webroot"), [(RENEWING, WEBROOT, None), (WEBROOT, RENEWING, Path("/www"))])
def test_a_webroot_comes_and_goes_with_a_restart(old: Config, new: Config, webroot: Path | None) -> None:
    """
    It decides which sockets there are; the rest of the table is live.
    """
    found = change(old, new)
    assert DeployConfig(new.deploy.directory, webroot) == found.config.deploy
    assert (old.listen, ("http-01",)) == (found.config.listen, found.config.acme.challenges)
    assert (("deploy.directory",), ("deploy.webroot",)) == (found.settings, found.needs_restart)


def test_a_webroot_may_move() -> None:
    """
    No socket depends on where it is.
    """
    new = attrs.evolve(WEBROOT, deploy=DeployConfig(Path("/new"), Path("/srv")))
    assert ConfigChange(new, settings=("deploy.webroot",)) == change(WEBROOT, new)


def test_the_way_of_running_is_the_start_s() -> None:
    """
    And the copies that it needs stay with it.
    """
    found = change(RENEWING, OLD)
    assert RENEWING == found.config
    assert {"renew_only", "listen.https", "deploy.directory"} <= set(found.needs_restart)


@given(CONFIGS, CONFIGS)
def test_what_is_in_force_stays_so_until_something_else_is_read(old: Config, new: Config) -> None:
    """
    Reading the same file twice changes nothing the second time, and names the same places.
    """
    first = change(old, new)
    again = change(first.config, new)
    assert ConfigChange(first.config) == change(first.config, first.config)
    assert ConfigChange(first.config, needs_restart=first.needs_restart) == again


@given(CONFIGS, CONFIGS)
def test_what_is_in_force_fits_the_sockets_there_are(old: Config, new: Config) -> None:
    """
    Whatever was read.
    """
    config = change(old, new).config
    assert attrs.evolve(config.listen, default_name=old.listen.default_name) == old.listen
    assert config.acme.challenges
    for kind in config.acme.challenges:
        sockets = config.listen.https if kind == "tls-alpn-01" else config.listen.http or config.deploy.webroot
        assert sockets or config.acme.directory == "internal" or old.acme.directory == "internal"
    assert config.listen.https or not any(domain.redirect_http for domain in config.domains) or config.renew_only


@given(CONFIGS, CONFIGS)
def test_every_name_is_the_same_or_told(old: Config, new: Config) -> None:
    """
    Once, in one of three ways.
    """
    found = change(old, new)
    before, after = ({domain.name for domain in config.domains} for config in (old, found.config))
    assert (set(found.added), set(found.removed)) == (after - before, before - after)
    assert set(found.changed) <= before & after

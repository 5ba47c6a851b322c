"""
What a configuration that was read again changes: what takes effect now, and what waits for a restart.

Decides which settings are live: domains and all that belongs to them, the CAs, copies of certificates, TLS, which
proxies are believed. Sockets, the state directory, limits and logs were set up at start. Where a live setting was
judged beside one that is not (a challenge type and its socket), it is judged again beside the old one, so that what is
in force always fits together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sptls.config import AcmeConfig, ChallengeType, Config, DeployConfig, DomainConfig, ListenConfig
    from sptls.names import HostName

# The tables and keys whose new value is in force at once; domains are told by name.
_LIVE: Final = (
    *("listen.default_name", "listen.proxy_protocol", "listen.trusted_proxies"),
    *("tls", "acme", "handshake", "deploy", "notify", "domains_file"),
)
# Those that keep their old value until a restart.
_FIXED: Final = ("renew_only", "state_dir", "listen.https", "listen.http", "listen.admin", "limits", "log", "workers")
# Those of both that are told key by key.
_TABLES: Final = frozenset({"tls", "acme", "handshake", "deploy", "notify", "limits", "log"})


@attrs.frozen
class ConfigChange:
    """
    What came of reading again: *config* is in force from now on.

    *added*, *changed* and *removed* are domains; *settings* are the places of other keys whose new value is in force,
    *needs_restart* of those whose new value is not (``listen.https``).
    """

    config: Config
    added: tuple[HostName, ...] = ()
    changed: tuple[HostName, ...] = ()
    removed: tuple[HostName, ...] = ()
    settings: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()


def change(old: Config, new: Config) -> ConfigChange:
    """
    Tell what becomes of *old*, which is in force, now that *new* was read.
    """
    listen = attrs.evolve(new.listen, https=old.listen.https, http=old.listen.http, admin=old.listen.admin)
    deploy = _deploy_in_force(old, new)
    acme, *more_cas = (_acme_in_force(old.acme, ca, listen, deploy) for ca in new.cas)
    config = attrs.evolve(
        old,
        domains=_domains_in_force(new, listen),
        domains_file=new.domains_file,
        listen=listen,
        tls=new.tls,
        acme=acme,
        more_cas=tuple(more_cas),
        handshake=new.handshake,
        deploy=deploy,
        notify=new.notify,
    )
    before = {domain.name: domain for domain in old.domains}
    after = {domain.name: domain for domain in config.domains}
    return ConfigChange(
        config,
        added=tuple(name for name in after if name not in before),
        changed=tuple(name for name, domain in after.items() if before.get(name, domain) != domain),
        removed=tuple(name for name in before if name not in after),
        settings=tuple(_differences(old, config, _LIVE)),
        needs_restart=tuple(_left(config, new)),
    )


def _deploy_in_force(old: Config, new: Config) -> DeployConfig:
    """
    Give the new ``[deploy]``; but whether there is a webroot decides which sockets there are, so that stays.
    """
    if old.renew_only != new.renew_only:
        return old.deploy
    if (old.deploy.webroot is None) != (new.deploy.webroot is None):
        return attrs.evolve(new.deploy, webroot=old.deploy.webroot)
    return new.deploy


def _domains_in_force(new: Config, listen: ListenConfig) -> tuple[DomainConfig, ...]:
    """
    Give the new domains; none sends its clients to a port 443 that is not open yet.
    """
    if listen.https or not any(domain.redirect_http for domain in new.domains):
        return new.domains
    return tuple(attrs.evolve(domain, redirect_http=False) for domain in new.domains)


def _acme_in_force(old: AcmeConfig, new: AcmeConfig, listen: ListenConfig, deploy: DeployConfig) -> AcmeConfig:
    """
    Give a new CA, less the challenge types that can't be answered yet; if none is left, with those of the *old* one.
    """
    challenges: tuple[ChallengeType, ...] = tuple(
        kind for kind in new.challenges if (listen.https if kind == "tls-alpn-01" else listen.http or deploy.webroot)
    )
    return attrs.evolve(new, challenges=challenges or old.challenges)


def _left(config: Config, new: Config) -> Iterator[str]:
    """
    Give the places at which *config*, which is in force, differs from *new*.
    """
    if config.domains is not new.domains:
        yield "domains[].redirect_http"
    for place in _differences(config, new, _FIXED + _LIVE):
        # Where a webroot comes or goes, so does the socket; nobody wrote that.
        if place != "listen.http" or (config.deploy.webroot is None) == (new.deploy.webroot is None):
            yield place


def _differences(one: Config, other: Config, places: tuple[str, ...]) -> Iterator[str]:
    """
    Give the places at which both differ, of the tables and keys in *places*; a table's are told key by key.

    Several CAs are told as a whole: they may have changed places.
    """
    for place in places:
        if place == "acme" and (one.more_cas or other.more_cas):
            if one.cas != other.cas:
                yield place
            continue
        keys = (field.name for field in attrs.fields(type(_at(one, place)))) if place in _TABLES else ()
        for each in [f"{place}.{key}" for key in keys] or [place]:
            if _at(one, each) != _at(other, each):
                yield each


def _at(config: Config, place: str) -> Any:
    value: Any = config
    for key in place.split("."):
        value = getattr(value, key)
    return value

"""
The only door from a configuration's text and the command line to a `Config`.

Decides what the values mean together, and which of text and command line goes before. All faults come at once, each
with its place (``domains[1].name``, ``--domain``). Reads no file: it is told whether one can be read.

Flags go before what the file says; ``--domain`` adds to the file's domains; ``--upstream`` replaces the common
``upstream.url``, not that of a domain which has its own; of several CAs, flags are about the first.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any, Final

import attrs

from sptls import config_acme, config_deploy, config_domains, config_file, config_values
from sptls.config import (
    MAX_WORKERS,
    RANGES,
    STATE_DIR,
    Address,
    Config,
    DomainConfig,
    ListenConfig,
    LogConfig,
    NotifyConfig,
)
from sptls.config_file import AcmeTable, DomainTable
from sptls.config_inspection import Inspection
from sptls.names import HostName, NameTable

if TYPE_CHECKING:
    from pathlib import Path

    from sptls.addresses import Network
    from sptls.config import Workers
    from sptls.config_file import File, ListenTable, Strings
    from sptls.config_inspection import Files

# Which key of the file each override replaces; a fault in one is then the flag's.
_REPLACES: Final = {
    "state_dir": "state_dir",
    "https": "listen.https",
    "http": "listen.http",
    "directory": "acme.directory",
    "contact": "acme.contact",
    "agree_to_terms": "acme.agree_to_terms",
    "upstream": "upstream.url",
}
# Keys of a domain that mean nothing without HTTPS, and why.
_NEEDS_HTTPS: Final = {
    "redirect_http": "to send clients to",
    "passthrough": "whose connections could be passed on",
    "hsts_seconds": "for browsers to insist on",
}


@attrs.frozen
class Overrides:
    """
    What the command line says, as text; None, () and False stand for flags that were not given.

    A relative *state_dir* is taken from the file's directory, like one in the file: a shell makes it absolute first.
    """

    domains: tuple[str, ...] = ()
    contact: tuple[str, ...] = ()
    agree_to_terms: bool = False
    state_dir: str | None = None
    directory: str | None = None
    upstream: str | None = None
    https: tuple[str, ...] = ()
    http: tuple[str, ...] = ()
    renew_only: bool = False


def load(
    text: str, *, overrides: Overrides, base: Path, foreground: bool, files: Files, path: Path | None = None
) -> Config:
    """
    Give the configuration that *text* (TOML) and *overrides* amount to.

    Relative paths are taken from *base*, the file's directory. *foreground* says that standard output is the
    operator's. *files* is asked what is on the disk. *path* is where *text* was found, for a message.

    Raises:
        ConfigError: with all faults.
    """
    file, misfits = config_file.read(text, str(path or ""))
    replaced = {
        _place(file, key): f"--{field.replace('_', '-')}"
        for field, key in _REPLACES.items()
        if _is_given(overrides, field)
    }
    look = Inspection(misfits, replaced, base, files)
    config = _config(look, _overridden(file, overrides), overrides, foreground=foreground)
    look.end()
    return config


def state_directory(text: str, overrides: Overrides, base: Path) -> Path:
    """
    Give the state directory of a configuration whatever faults it has elsewhere; see `load`.
    """
    file, _ = config_file.read(text)
    value = _overridden(file, overrides).state_dir
    return base / value if value else STATE_DIR


def _is_given(overrides: Overrides, field: str) -> bool:
    return getattr(overrides, field) not in {None, (), False}


def _place(file: File, key: str) -> str:
    """
    Give the place in *file* that the key of an override replaces: of several CAs, the first one's.
    """
    table, _, rest = key.partition(".")
    return f"acme[0].{rest}" if table == "acme" and not isinstance(file.acme, AcmeTable) else key


def _overridden(file: File, overrides: Overrides) -> File:
    for field, place in _REPLACES.items():
        if _is_given(overrides, field):
            table, _, key = place.rpartition(".")
            change: dict[str, Any] = {key: getattr(overrides, field)}
            file = attrs.evolve(file, **({table: _changed(getattr(file, table), change)} if table else change))
    return file


def _changed(table: Any, change: dict[str, Any]) -> Any:
    """
    Give *table* with its *change*; of several tables, the first is changed.
    """
    if not isinstance(table, tuple):
        return attrs.evolve(table, **change)
    return (attrs.evolve(table[0], **change), *table[1:]) if table and table[0] is not None else table


def _config(look: Inspection, file: File, overrides: Overrides, *, foreground: bool) -> Config:
    """
    Give the whole; it holds only if no fault was noted.
    """
    _check_ranges(look, file)
    renew_only = overrides.renew_only
    domains_file = look.path("domains_file", file.domains_file)
    domains = config_domains.domains(look, file, overrides.domains, domains_file)
    state_dir = _state_dir(look, file.state_dir)
    deploy = config_deploy.deploy(look, file.deploy, state_dir, renew_only=renew_only)
    listen = _listen(look, file.listen, domains, renew_only=renew_only, has_webroot=bool(file.deploy.webroot))
    _check_https(look, file, listen, renew_only=renew_only)
    _check_loops(look, file, listen, domains)
    # An entry that makes no sense may well be meant as a domain to be ordered: all faults at once.
    is_ordering = (
        None in file.domains or not look.is_sound("domains_file") or any(domain.is_ordered for domain in domains)
    )
    if renew_only and domains and not is_ordering:
        look.note("domains", "none has its certificate ordered here: nothing to renew with --renew-only")
    acme, *more_cas = config_acme.cas(look, file.acme, listen, deploy, is_ordering=is_ordering, renew_only=renew_only)
    return Config(
        domains=domains,
        state_dir=state_dir,
        listen=listen,
        tls=file.tls,
        acme=acme,
        handshake=file.handshake,
        limits=file.limits,
        log=_log(look, file.log, foreground=foreground),
        deploy=deploy,
        notify=NotifyConfig(
            command=look.command("notify.command", file.notify.command),
            webhook=look.take("notify.webhook", file.notify.webhook or None, config_values.webhook) or "",
            command_seconds=file.notify.command_seconds,
        ),
        domains_file=domains_file,
        renew_only=renew_only,
        more_cas=tuple(more_cas),
        workers=_workers(look, file.workers),
    )


def _workers(look: Inspection, workers: Workers | None) -> Workers:
    if isinstance(workers, int) and not 1 <= workers <= MAX_WORKERS:
        look.note("workers", f"must be from 1 to {MAX_WORKERS}, or 'auto'")
    return workers or 1


def _check_ranges(look: Inspection, file: File) -> None:
    for place, (least, most) in RANGES.items():
        table, _, key = place.partition(".")
        # TOML has nan, which is neither under nor over, so the question is whether it is between.
        if not least <= getattr(getattr(file, table), key) <= most:
            look.note(place, f"must be from {least} to {most}")
    limits = file.limits
    if limits.target_bytes >= limits.head_bytes and look.is_sound("limits.target_bytes", "limits.head_bytes"):
        look.note("limits.target_bytes", "must be under limits.head_bytes: the target is a part of the head")


def _state_dir(look: Inspection, value: str | None) -> Path:
    if value == "":
        look.note("state_dir", "must name a directory")
    return look.path("state_dir", value) or STATE_DIR


def _listen(
    look: Inspection, table: ListenTable, domains: tuple[DomainConfig, ...], *, renew_only: bool, has_webroot: bool
) -> ListenConfig:
    default = ListenConfig()
    https = _addresses(look, "listen.https", table.https, default.https)
    http = _addresses(look, "listen.http", table.http, default.http)
    admin = _admin(look, table.admin, default.admin)
    if renew_only:
        https = _left_out(look, "listen.https", "--renew-only, which serves no HTTPS")
    if renew_only and has_webroot:
        http = _left_out(look, "listen.http", "deploy.webroot, by which another server answers http-01")
    for (place, one), (other_place, other) in combinations([*https, *http, *admin], 2):
        if _overlap(one, other):
            look.note(other_place, f"{other} is taken by {one} at {look.shown(place)} already")
    if not https and not http and not renew_only and look.is_sound("listen.https", "listen.http"):
        look.note("listen.https", "no address here and none in listen.http: nothing would be served")
    return ListenConfig(
        https=tuple(address for _, address in https),
        http=tuple(address for _, address in http),
        admin=admin[0][1] if admin else None,
        default_name=_default_name(look, table.default_name, domains),
        proxy_protocol=_networks(look, "listen.proxy_protocol", table.proxy_protocol),
        trusted_proxies=_networks(look, "listen.trusted_proxies", table.trusted_proxies),
    )


def _networks(look: Inspection, place: str, values: Strings) -> tuple[Network, ...]:
    return tuple(network for _, network in look.take_each(place, values, config_values.network))


def _left_out(look: Inspection, place: str, reason: str) -> list[tuple[str, Address]]:
    """
    Give no address for *place*, which the proxy would need; a flag that asks for one means something else.
    """
    if look.shown(place) != place:
        look.note(place, f"does not go with {reason}")
    return []


def _check_https(look: Inspection, file: File, listen: ListenConfig, *, renew_only: bool) -> None:
    """
    Note what a domain can't have where nothing is served over TLS.
    """
    if listen.https or renew_only or not look.is_sound("listen.https"):
        return
    for index, entry in enumerate(file.domains):
        if isinstance(entry, DomainTable):
            for key, reason in _NEEDS_HTTPS.items():
                if getattr(entry, key):
                    look.note(f"domains[{index}].{key}", f"listen.https has no address {reason}")


def _check_loops(look: Inspection, file: File, listen: ListenConfig, domains: tuple[DomainConfig, ...]) -> None:
    """
    Note a domain that would be passed through to ourselves, again and again until nothing is left to do it with.

    To an address of ours, or to one of *domains*, whose DNS leads here.
    """
    for index, entry in enumerate(file.domains):
        place = f"domains[{index}].passthrough"
        if isinstance(entry, DomainTable) and entry.passthrough and look.is_sound(place):
            server = config_values.passthrough(entry.passthrough)
            own = next((one for one in listen.https if config_values.leads_to(server, one)), None)
            is_ours = any(server.port == one.port for one in listen.https)
            if own is not None:
                look.note(place, f"{server} is this proxy itself, at {own} of listen.https")
            elif is_ours and any(server.host == domain.name.text for domain in domains):
                advice = "write the IP address of the other server, or another name of it"
                look.note(place, f"{server.host} is one of the domains, which lead to this proxy; {advice}")


def _addresses(
    look: Inspection, place: str, values: Strings | None, default: tuple[Address, ...]
) -> list[tuple[str, Address]]:
    if values is None:
        return [(place, address) for address in default] if look.is_sound(place) else []
    return look.take_each(place, values, Address.parse)


def _admin(look: Inspection, value: str | None, default: Address | None) -> list[tuple[str, Address]]:
    place = "listen.admin"
    if value is None and not look.is_sound(place):
        return []
    address = default if value is None else look.take(place, value or None, Address.parse)
    return [(place, address)] if address else []


def _default_name(look: Inspection, value: str | None, domains: tuple[DomainConfig, ...]) -> HostName | None:
    place = "listen.default_name"
    if not value:
        return domains[0].name if len(domains) == 1 and not domains[0].name.is_wildcard else None
    name = look.take(place, value, HostName.parse)
    if name is None:
        return None
    served = NameTable([(domain.name, domain) for domain in domains])
    if name.is_wildcard:
        look.note(place, f"{name} is a wildcard; name one host")
    elif served.get(name.wire) is None and look.is_sound(*config_domains.PLACES):
        look.note(place, f"{name} is none of the domains")
    return name


def _log(look: Inspection, log: LogConfig, *, foreground: bool) -> LogConfig:
    if log.access == "-":
        if not foreground:
            look.note("log.access", "standard output is there in the foreground only (twistd -n); name a file")
        return log
    path = look.path("log.access", log.access)
    return attrs.evolve(log, access=str(path) if path else "")


def _overlap(one: Address, other: Address) -> bool:
    """
    Tell whether both can't be bound: an unspecified address takes the port on all of its family.
    """
    hosts = {one.host, other.host}
    if one.port != other.port or one.port == 0:
        return False
    families = {":" in host for host in hosts}
    return len(hosts) == 1 or "" in hosts or (len(families) == 1 and not hosts.isdisjoint({"0.0.0.0", "::"}))  # noqa: S104 - compared, not bound

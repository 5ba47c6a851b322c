"""
Which tracking domains a configuration names, in its file, on the command line, and one a line in a file of their own.

Decides what a domain may be, that no name is there twice, and which tracking service each has. Values of the other
tables are `config_load`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from sptls import config_file, config_values
from sptls.config import DomainConfig, HstsConfig, PassthroughConfig, UpstreamConfig
from sptls.config_file import DomainTable, UpstreamTable
from sptls.names import HostName

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sptls.config_file import File
    from sptls.config_inspection import Inspection

# Where domains are named; a fault in one of them leaves open which there are.
PLACES: Final = ("domains", "--domain", "domains_file")
# What a domain that is passed through can't have: the other server does all of it.
_BACKENDS: Final = ("upstream", "certificate", "key", "redirect_http", "hsts_seconds", "hsts_subdomains")
# RFC 6797 sets no limit; two years are what the browsers' preload list asks for, and over ten nobody can mean.
_MOST_HSTS_SECONDS: Final = 10 * 366 * 86400
# A wrong file has a fault on every line; this many tell what it is, and leave room for those of other keys.
_MOST_FAULTS: Final = 20


def domains(
    look: Inspection, file: File, names: tuple[str, ...], domains_file: Path | None
) -> tuple[DomainConfig, ...]:
    """
    Give all tracking domains: the file's, those of ``--domain`` (*names*), and those in *domains_file*.
    """
    common = _upstream(look, "upstream", file.upstream, UpstreamConfig())
    listed = _Listed(look)
    for index, entry in enumerate(file.domains):
        if isinstance(entry, str):
            listed.add(f"domains[{index}]", _named(look, f"domains[{index}]", entry, common))
        elif entry is not None:
            listed.add(f"domains[{index}].name", _from_table(look, f"domains[{index}]", entry, common))
    for name in names:
        listed.add("--domain", _named(look, "--domain", name, common))
    if domains_file is not None:
        _add_lines(look, listed, look.text("domains_file", domains_file) or "", common)
    if not listed.domains and look.is_sound(*PLACES):
        look.note("domains", "missing: name at least one tracking domain, here, in domains_file or with --domain")
    return tuple(listed.domains)


class _Listed:
    """
    The domains so far, each name once.
    """

    def __init__(self, look: Inspection) -> None:
        self.domains: list[DomainConfig] = []
        self._places: dict[HostName, str] = {}
        self._look = look

    def add(self, place: str, domain: DomainConfig | None) -> bool:
        """
        Add *domain*, whose name is at *place*; false if there is none (that was noted), or its name is there already.
        """
        if domain is None:
            return False
        first = self._places.get(domain.name)
        if first is not None:
            self._look.note(place, f"{domain.name} is at {first} already")
            return False
        self._places[domain.name] = place
        self.domains.append(domain)
        return True


def _add_lines(look: Inspection, listed: _Listed, text: str, common: UpstreamConfig) -> None:
    faults = 0
    for place, name in _lines(text):
        domain = _named(look, place, name, common)
        if listed.add(place, domain) and domain is not None and not domain.name.is_wildcard:
            continue
        faults += 1
        if faults == _MOST_FAULTS:
            look.note("domains_file", f"{faults} faults up to here; the lines after that were not looked at")
            return


def _lines(text: str) -> Iterator[tuple[str, str]]:
    """
    Give what stands on each line of *text* that is not blank or a comment, and its place.
    """
    # Not splitlines: it takes characters for line ends that an editor does not, and the numbers would differ.
    for number, line in enumerate(text.split("\n"), 1):
        name = line.partition("#")[0].strip()
        if name:
            yield f"domains_file:{number}", name


def _named(look: Inspection, place: str, text: str, common: UpstreamConfig) -> DomainConfig | None:
    """
    Give the domain that is no more than a name; there may be 100,000 of them.
    """
    name = look.take(place, text, HostName.parse)
    if name is not None and name.is_wildcard:
        _note_wildcard(look, place, name)
    return None if name is None else DomainConfig(name, common)


def _from_table(look: Inspection, place: str, table: DomainTable, common: UpstreamConfig) -> DomainConfig | None:
    name_place = f"{place}.name"
    if table.name is None and look.is_sound(name_place):
        look.note(name_place, "missing")
    name = look.take(name_place, table.name, HostName.parse)
    upstream = _upstream(look, f"{place}.upstream", table.upstream, common)
    certificate = look.file(f"{place}.certificate", table.certificate)
    key = look.file(f"{place}.key", table.key)
    look.require_both(place, ("certificate", table.certificate), ("key", table.key))
    passthrough, hsts = _passthrough(look, place, table), _hsts(look, place, table)
    if name is None:
        return None
    if name.is_wildcard and not (table.certificate or table.key or table.passthrough):
        _note_wildcard(look, name_place, name)
    return DomainConfig(name, upstream, certificate, key, bool(table.redirect_http), passthrough, hsts)


def _passthrough(look: Inspection, place: str, table: DomainTable) -> PassthroughConfig | None:
    """
    Give the server that the domain's connections go to, if any; what only a proxy could do is noted.
    """
    passthrough = look.take(f"{place}.passthrough", table.passthrough or None, config_values.passthrough)
    if not table.passthrough:
        if table.passthrough_proxy_protocol and look.is_sound(f"{place}.passthrough"):
            look.note(f"{place}.passthrough_proxy_protocol", "there is no passthrough that it could be for")
        return None
    for key in _BACKENDS:
        if _is_given(getattr(table, key)):
            look.note(f"{place}.{key}", "does not go with passthrough: connections go to the other server untouched")
    return passthrough and attrs.evolve(passthrough, proxy_protocol=bool(table.passthrough_proxy_protocol))


def _is_given(value: object) -> bool:
    return value is not None and value is not False and value not in ("", UpstreamTable())


def _hsts(look: Inspection, place: str, table: DomainTable) -> HstsConfig | None:
    seconds = table.hsts_seconds
    if seconds is None:
        if table.hsts_subdomains and look.is_sound(f"{place}.hsts_seconds"):
            look.note(f"{place}.hsts_subdomains", "there are no hsts_seconds that it could be for")
        return None
    if not 0 <= seconds <= _MOST_HSTS_SECONDS:
        look.note(f"{place}.hsts_seconds", f"must be from 0 to {_MOST_HSTS_SECONDS}")
    return HstsConfig(seconds, bool(table.hsts_subdomains))


def _note_wildcard(look: Inspection, place: str, name: HostName) -> None:
    look.note(place, f"{name} needs a certificate and key of its own: a CA issues none for a wildcard here")


def _upstream(look: Inspection, place: str, table: UpstreamTable, common: UpstreamConfig) -> UpstreamConfig:
    """
    Give *common* with what *table* says instead.
    """
    if table == config_file.UpstreamTable():
        return common  # one value for 100,000 domains
    origin = look.take(f"{place}.url", table.url, config_values.origin)
    scheme, host, port = origin or (common.scheme, common.host, common.port)
    host_field = look.take(f"{place}.host", table.host, config_values.host_field) or common.host_field
    trust = look.file(f"{place}.trust", table.trust)
    return UpstreamConfig(scheme, host, port, host_field, common.trust if table.trust is None else trust)

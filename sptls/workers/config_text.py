"""
A configuration as JSON can hold it, for a worker process; there and back it is the same.

It was checked before: nothing is judged here. Domains that differ by nothing but their names, as nearly all do, share
what is said of them, so that 100,000 of them are told in half a second.
"""

from __future__ import annotations

import ipaddress
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

import attrs
import cattrs

from sptls import config as settings
from sptls.addresses import Network
from sptls.config import AcmeConfig, CaLimits, Config, DomainConfig, ExternalAccountBinding, ListenConfig
from sptls.names import HostName

_NOBODY: Final = HostName("nobody.invalid")
_DOMAINS: Final = "domains"

_BUT_NAME: Final = attrgetter(*(field.name for field in attrs.fields(DomainConfig)[1:]))

for _class in (Config, DomainConfig, ListenConfig, AcmeConfig, CaLimits, ExternalAccountBinding):
    attrs.resolve_types(_class, vars(settings), {"HostName": HostName})


def _converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=False)
    for kind in (Path, ipaddress.IPv4Network, ipaddress.IPv6Network):
        converter.register_unstructure_hook(kind, str)
    converter.register_unstructure_hook(HostName, lambda name: name.text)
    converter.register_structure_hook(HostName, lambda text, _: HostName(text))
    converter.register_structure_hook(Path, lambda text, _: Path(text))
    converter.register_structure_hook(settings.Workers, lambda value, _: value)
    converter.register_structure_hook(Network, lambda text, _: ipaddress.ip_network(text))
    return converter


_CONVERTER: Final = _converter()


def config_as_json(config: Config) -> dict[str, Any]:
    """
    Give *config* as plain values.
    """
    kinds: dict[tuple[Any, ...], int] = {}
    rows = [(domain.name.text, kinds.setdefault(_BUT_NAME(domain), len(kinds))) for domain in config.domains]
    plain: dict[str, Any] = _CONVERTER.unstructure(attrs.evolve(config, domains=()))
    plain[_DOMAINS] = {
        "rows": rows,
        "kinds": [_CONVERTER.unstructure(DomainConfig(_NOBODY, *kind)) for kind in kinds],
    }
    return plain


def config_from_json(plain: dict[str, Any]) -> Config:
    """
    Give the configuration that `config_as_json` made *plain* of.

    Raises:
        ValueError, TypeError, LookupError: it did not.
    """
    told = plain[_DOMAINS]
    kinds = [_BUT_NAME(domain) for domain in _CONVERTER.structure(told["kinds"], list[DomainConfig])]
    domains = tuple(DomainConfig(HostName(text), *kinds[kind]) for text, kind in told["rows"])
    return attrs.evolve(_CONVERTER.structure({**plain, _DOMAINS: []}, Config), domains=domains)

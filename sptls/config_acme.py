"""
The CAs: what each table of ``[acme]`` or ``[[acme]]`` may hold, and how it fits the sockets and the other CAs.

Decides which challenge types a CA is offered, whose terms must be agreed to, and which of Let's Encrypt's limits an
operator has replaced. Places are ``acme.contact`` for a single table, ``acme[1].contact`` for one of several.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from sptls import config_values
from sptls.config import (
    INTERNAL_DIRECTORY,
    AcmeConfig,
    CaLimits,
    ChallengeType,
    ExternalAccountBinding,
    ListenConfig,
)
from sptls.config_file import AcmeTable

if TYPE_CHECKING:
    from sptls.config import DeployConfig
    from sptls.config_file import CaLimitsTable, CaTables, EabTable
    from sptls.config_inspection import Inspection

_TERMS: Final = (
    "must be true before a CA issues anything: read its terms of service (Let's Encrypt: "
    "https://letsencrypt.org/repository/), then set it"
)
# The flag is the first CA's.
_TERMS_OF_FIRST: Final = f"{_TERMS}, or give --agree-to-terms"


def placed(tables: CaTables) -> tuple[tuple[str, AcmeTable], ...]:
    """
    Give each CA's table with its place; less those that are none, which is noted already.
    """
    if isinstance(tables, AcmeTable):
        return (("acme", tables),)
    return tuple((f"acme[{index}]", table) for index, table in enumerate(tables) if table is not None)


def cas(
    look: Inspection,
    tables: CaTables,
    listen: ListenConfig,
    deploy: DeployConfig,
    *,
    is_ordering: bool,
    renew_only: bool,
) -> tuple[AcmeConfig, ...]:
    """
    Give the CAs in the order in which they are asked; at least one.
    """
    if tables == ():
        look.note("acme", "must hold at least one CA; or leave it out")
    found = [(place, _ca(look, place, table, listen, renew_only=renew_only)) for place, table in placed(tables)]
    _check_directories(look, found)
    ordering = [(place, ca) for place, ca in found if is_ordering and ca.directory != INTERNAL_DIRECTORY]
    for place, ca in ordering:
        if not ca.agree_to_terms and look.is_sound(f"{place}.agree_to_terms"):
            look.note(f"{place}.agree_to_terms", _TERMS_OF_FIRST if place in {"acme", "acme[0]"} else _TERMS)
    can_answer = bool(listen.http or deploy.webroot)
    if ordering and renew_only and not can_answer and look.is_sound("listen.http", "deploy.webroot"):
        look.note("listen.http", "no address here and no deploy.webroot: http-01 could not be answered")
    return tuple(ca for _, ca in found) or (AcmeConfig(),)


def _ca(look: Inspection, place: str, table: AcmeTable, listen: ListenConfig, *, renew_only: bool) -> AcmeConfig:
    default = AcmeConfig()
    choose = _renewal_challenges if renew_only else _challenges
    directory = look.take(f"{place}.directory", table.directory, config_values.directory)
    contacts = look.take_each(f"{place}.contact", table.contact or (), config_values.contact)
    return AcmeConfig(
        directory=directory or default.directory,
        contact=tuple(address for _, address in contacts),
        agree_to_terms=bool(table.agree_to_terms),
        trust=look.file(f"{place}.trust", table.trust),
        challenges=choose(look, f"{place}.challenges", table.challenges, listen),
        key_type=table.key_type or default.key_type,
        eab=_eab(look, f"{place}.eab", table.eab),
        profile=table.profile,
        limits=_limits(look, f"{place}.limits", table.limits),
        precheck=table.precheck or default.precheck,
        resolver=look.take(f"{place}.resolver", table.resolver or None, config_values.name_server),
        addresses=tuple(
            address
            for _, address in look.take_each(f"{place}.addresses", table.addresses or (), config_values.ip_address)
        ),
    )


def _check_directories(look: Inspection, found: list[tuple[str, AcmeConfig]]) -> None:
    """
    Note a CA that is there twice: account, limits and certificates are told apart by its directory.
    """
    first: dict[str, str] = {}
    for place, ca in found:
        at = f"{place}.directory"
        if not look.is_sound(at):
            continue
        if ca.directory in first:
            look.note(at, f"{ca.directory} is at {first[ca.directory]} already")
        first.setdefault(ca.directory, at)


def _challenges(
    look: Inspection, place: str, chosen: tuple[ChallengeType | None, ...] | None, listen: ListenConfig
) -> tuple[ChallengeType, ...]:
    sockets = {"tls-alpn-01": ("listen.https", listen.https), "http-01": ("listen.http", listen.http)}
    if chosen is None:
        return tuple(kind for kind in AcmeConfig().challenges if sockets[kind][1])
    if not chosen:
        look.note(place, "must name at least one; or leave it out")
    for index, kind in enumerate(chosen):
        if kind is None:
            continue
        socket_place, addresses = sockets[kind]
        if kind in chosen[:index]:
            look.note(f"{place}[{index}]", f"{kind} is at {place}[{chosen.index(kind)}] already")
        elif not addresses and look.is_sound(socket_place):
            look.note(f"{place}[{index}]", f"{kind} is answered at {socket_place}, which has no address")
    return tuple(kind for kind in chosen if kind is not None)


def _renewal_challenges(
    look: Inspection, place: str, chosen: tuple[ChallengeType | None, ...] | None, listen: ListenConfig
) -> tuple[ChallengeType, ...]:
    """
    Give http-01: port 443 is another server's, and with a webroot port 80 too. The choice is the proxy's, and checked.
    """
    everywhere = attrs.evolve(listen, https=ListenConfig().https, http=ListenConfig().http)
    kinds = _challenges(look, place, chosen, everywhere)
    if kinds and "http-01" not in kinds and look.is_sound(place):
        look.note(place, "http-01 is the only one that --renew-only can answer; add it, or leave this out")
    return ("http-01",)


def _eab(look: Inspection, place: str, table: EabTable) -> ExternalAccountBinding | None:
    look.require_both(place, ("kid", table.kid), ("hmac_key_file", table.hmac_key_file))
    path = look.file(f"{place}.hmac_key_file", table.hmac_key_file)
    return ExternalAccountBinding(table.kid, path) if table.kid and path else None


def _limits(look: Inspection, place: str, table: CaLimitsTable) -> CaLimits:
    rates = {
        field.name: look.take(f"{place}.{field.name}", getattr(table, field.name) or None, config_values.rate)
        for field in attrs.fields(CaLimits)
    }
    return CaLimits(**rates)

"""
``sptls check``: everything that would keep a configuration from being used, before the daemon is given it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sptls.cli.options import place, place_options
from sptls.cli.output import EXIT_FINE, note, say
from sptls.config import INTERNAL_DIRECTORY
from sptls.errors import ConfigError, Fault, StartError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sptls.config import Config


@click.command("check", short_help="Check the configuration file.")
@place_options
def command(config: Path | None, state_dir: Path | None, *, renew_only: bool) -> int:
    """
    Check the configuration file, and the files that it names.

    All faults are listed, each with its place, and the exit status is 2. A certificate of yours that has expired, or is
    for another name, is no fault but a warning: it is served all the same. Nothing is started, changed or asked of a
    CA; a daemon that runs goes on as it is.
    """
    checked = place(config, state_dir, renew_only=renew_only).config()
    faults, warnings = _faults_of_files(checked)
    if faults:
        raise ConfigError(faults)
    for warning in warnings:
        note(f"warning: {warning}")
    say(summary(checked))
    return EXIT_FINE


def summary(config: Config) -> str:
    """
    Give *config* in a sentence.
    """
    own = sum(domain.certificate is not None for domain in config.domains)
    total = len(config.domains)
    passed = sum(domain.passthrough is not None for domain in config.domains)
    certificates = f", {own} with a certificate of its own" if own else ""
    certificates += f", {passed} passed through" if passed else ""
    issuers = ["the internal CA" if acme.directory == INTERNAL_DIRECTORY else acme.directory for acme in config.cas]
    ca = f", certificates by {', else by '.join(issuers)}" if own + passed < total else ""
    https, http = (", ".join(map(str, addresses)) for addresses in (config.listen.https, config.listen.http))
    served = "".join(f", {word} on {where}" for word, where in (("https", https), ("http", http)) if where)
    return f"fine: {total} domain{'' if total == 1 else 's'}{certificates}{ca}{served}, state in {config.state_dir}"


def _faults_of_files(config: Config) -> tuple[tuple[Fault, ...], tuple[str, ...]]:
    """
    Read the files that *config* names: what keeps the daemon from starting with them, and what does not.
    """
    faults: list[Fault] = []
    if any(acme.eab is not None for acme in config.cas):
        from sptls.acme.account import external_account_faults  # a third of a second

        faults.extend(external_account_faults(config.placed_cas))
    faults.extend(_trust_faults(config))
    own_faults, warnings = _own_certificates(config)
    return (*faults, *own_faults), warnings


def _own_certificates(config: Config) -> tuple[tuple[Fault, ...], tuple[str, ...]]:
    from sptls.certs.own_files import read, sentence
    from sptls.cli.stored import own_files
    from sptls.clock import wall_time
    from sptls.errors import BadCertificate

    faults: list[Fault] = []
    warnings: list[str] = []
    now = wall_time()
    for files in own_files(config):
        try:
            found = read(files, now)
        except (OSError, BadCertificate) as error:
            faults.append(Fault(files.place, sentence(files, error)))
        else:
            warnings.extend(f"{files.place}: {files.certificate}: {fault}" for fault in found.faults)
    return tuple(faults), tuple(warnings)


def _trust_faults(config: Config) -> Iterator[Fault]:
    """
    Give what is wrong with each file of roots, at the first place that names it.
    """
    places: dict[Path, str] = {}
    named = [(f"{at}.trust", acme.trust) for at, acme in config.placed_cas]
    named += [(f"{domain.name}: upstream.trust", domain.upstream.trust) for domain in config.domains]
    for place_of_it, path in named:
        if path is not None:
            places.setdefault(path, place_of_it)
    if places:
        from sptls.tls.contexts import client_trust  # a third of a second

        for path, place_of_it in places.items():
            try:
                client_trust(path)
            except StartError as error:
                yield Fault(place_of_it, str(error))

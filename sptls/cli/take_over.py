"""
``sptls import``: certificates that another program obtained, so that a migration asks the CA for nothing.

A running daemon is sent them and serves them at once; where none runs, they are put into the store that it will start
with. Which may be used is `certs.intake`'s to decide, in both cases.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sptls.certs.bundle import faults
from sptls.certs.intake import Offer, Outcome
from sptls.cli import wording
from sptls.cli.client import DaemonClient, entries
from sptls.cli.options import place, place_options
from sptls.cli.output import EXIT_FAILED, EXIT_FINE, note, say
from sptls.cli.pem_files import search
from sptls.clock import wall_time
from sptls.errors import DaemonNotRunning
from sptls.names import HostName

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from sptls.cli.options import Place
    from sptls.cli.pem_files import Pair

    # What becomes of offers, in their order.
    TakeOver = Callable[[Sequence[Offer]], Iterable[Outcome]]

_WORDS = {"taken": "imported", "kept": "nothing to import", "refused": "not imported"}
_TRIAL_WORDS = {"taken": "would be imported", "kept": "nothing to import", "refused": "can't be imported"}


@click.command("import", short_help="Take over another program's certificates.")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--dry-run", "is_trial", is_flag=True, help="Only tell what would be imported.")
@place_options
def command(directory: Path, config: Path | None, state_dir: Path | None, *, is_trial: bool, renew_only: bool) -> int:
    """
    Take over the certificates in DIR, with their keys, for the domains that are configured.

    DIR is certbot's directory (/etc/letsencrypt), txacme's store, or any that holds PEM files: keys and certificates
    find each other, whatever the files are called. A certificate is taken where it is good for exactly the name, and
    valid longer than what is there. It is renewed when it is due, as if it had been ordered here.

    \b
    Exit status:
      0  all that was found for the domains is in use, or something as good was there
      1  nothing was found, or something could not be used; the reason is told
      2  usage or configuration
    """  # noqa: D301 - click wants the character itself
    where = place(config, state_dir, renew_only=renew_only)
    try:
        found = search(directory)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    for fault in found.faults:
        note(fault)
    names, take_over = _target(where, is_trial=is_trial)
    chosen = best(found.pairs, names, wall_time())
    refused = _tell(chosen, take_over([offer for offer, _ in chosen]), _TRIAL_WORDS if is_trial else _WORDS)
    missing = len(names) - len(chosen)
    say(f"{len(chosen) - refused} of {len(names)} domains: fine; {refused} refused; {missing} not found in {directory}")
    return EXIT_FAILED if refused or found.faults or not chosen else EXIT_FINE


def _target(where: Place, *, is_trial: bool) -> tuple[list[HostName], TakeOver]:
    """
    Give the domains whose certificates are ordered, and what takes certificates over for them.
    """
    client = DaemonClient(where.state_dir())
    try:
        domains, _ = entries(client.every_domain())
    except DaemonNotRunning:
        from sptls.cli.take_over_here import judge_here, take_over_here  # imports all of the daemon

        config = where.config()
        names = [domain.name for domain in config.domains if domain.is_ordered]
        return names, partial(judge_here, where) if is_trial else partial(take_over_here, config)
    served = [HostName(domain.name) for domain in domains if domain.is_ordered]
    return served, partial(client.take_over, is_trial=is_trial)


def best(pairs: Iterable[Pair], names: Iterable[HostName], now: datetime) -> list[tuple[Offer, Path]]:
    """
    Give for each of *names* the best of *pairs* that is for exactly that name, where there is one.
    """
    found: dict[HostName, list[Pair]] = {}
    for pair in pairs:
        for name in pair.bundle.names:
            found.setdefault(name, []).append(pair)

    def worth(pair: Pair, name: HostName) -> tuple[bool, datetime, int]:
        return not faults(pair.bundle, name, now), pair.bundle.not_after, len(pair.bundle.chain)

    chosen = []
    for name in names:
        if name in found:
            pair = max(found[name], key=lambda one: worth(one, name))
            chosen.append((Offer(name, pair.bundle, pair.server), pair.path))
    return chosen


def _tell(chosen: Iterable[tuple[Offer, Path]], outcomes: Iterable[Outcome], words: dict[str, str]) -> int:
    """
    Say what came of each; gives how many were refused.
    """
    refused = 0
    for (offer, path), outcome in zip(chosen, outcomes, strict=True):
        is_refused = outcome.word == "refused"
        refused += is_refused
        line = f"{offer.name}: {words[outcome.word]} ({path}): {wording.plain(outcome.reason)}"
        if is_refused:
            note(line)
        else:
            say(f"{line}; valid until {offer.bundle.not_after:%Y-%m-%d %H:%M}")
    return refused

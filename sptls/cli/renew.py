"""
``sptls renew``: other certificates than the names have, though these are not due.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from sptls.cli.client import DaemonClient, entries
from sptls.cli.follow import follow, timeout_option
from sptls.cli.options import host_names, place, place_options
from sptls.cli.progress import progress
from sptls.cli.tally import Tally
from sptls.clock import wall_time

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sptls.cli.domain import Domain
    from sptls.names import HostName


@click.command("renew", short_help="Replace certificates that are not due.")
@click.argument("names", metavar="NAME...", nargs=-1, required=True, callback=host_names)
@click.option("--now", "is_at_once", is_flag=True, help="After failures too, without the wait that follows one.")
@timeout_option
@place_options
def command(
    names: tuple[HostName, ...],
    timeout: float | None,
    config: Path | None,
    state_dir: Path | None,
    *,
    is_at_once: bool,
    renew_only: bool,
) -> int:
    """
    Replace the certificate of each NAME by a new one with a new key, though it is not due, and wait for it.

    The running daemon does it, and serves the old one until then. The CA's limits hold: Let's Encrypt gives five
    certificates for the same name in a week. A name whose last order failed waits for its next attempt, unless --now.

    \b
    Exit status:
      0    each name has a new certificate
      1    one has none; the reason is told
      2    usage or configuration, also a NAME that is not served; nothing was ordered
      130  interrupted; the daemon goes on
    """  # noqa: D301 - click wants the character itself
    client = DaemonClient(place(config, state_dir, renew_only=renew_only).state_dir())
    domains = served(client, names)
    tally = Tally((domain.name for domain in domains), replaced={domain.name: domain.serial for domain in domains})
    with progress(len(tally.pending)) as told:
        told(tally.leave_own(domains, wall_time()))
        return follow(client, partial(client.renew, is_at_once=is_at_once), tally, told, timeout)


def served(client: DaemonClient, names: Sequence[HostName]) -> tuple[Domain, ...]:
    """
    Give how *names* stand with the running daemon.

    Raises:
        SptlsError: none runs, or it can't be asked.
        click.UsageError: one of them is none of its domains.
    """
    domains, unknown = entries(client.domains(names))
    if unknown:
        raise click.UsageError("; ".join(unknown))
    return domains

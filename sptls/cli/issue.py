"""
``sptls issue``: certificates now, by the daemon that runs, or by this process where none does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sptls.cli.client import DaemonClient, entries
from sptls.cli.domain import Domain
from sptls.cli.follow import follow, seconds_for, timeout_option
from sptls.cli.options import host_names, place, place_options
from sptls.cli.output import EXIT_FAILED, EXIT_FINE, note
from sptls.cli.progress import progress
from sptls.cli.tally import Tally
from sptls.clock import wall_time
from sptls.errors import DaemonNotRunning
from sptls.ops.status import domain_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sptls.cli.options import Place
    from sptls.names import HostName


@click.command("issue", short_help="Get certificates now.")
@click.argument("names", metavar="[NAME]...", nargs=-1, callback=host_names)
@click.option("--all", "is_all", is_flag=True, help="All domains of the configuration.")
@timeout_option
@place_options
def command(
    names: tuple[HostName, ...],
    is_all: bool,
    timeout: float | None,
    config: Path | None,
    state_dir: Path | None,
    renew_only: bool,
) -> int:
    """
    Get a certificate for each NAME that needs one, and wait for it.

    One that is valid and not yet due is left alone. Earlier failures no longer make a name wait; what the CA's limits
    forbid does. The running daemon is asked; where none runs, this process takes the daemon's place (with its ports,
    where the CA looks for the answers) until it is done.

    \b
    Exit status:
      0    each name has a certificate
      1    one has none; the reason is told
      2    usage or configuration, also a NAME that is not served; nothing was ordered
      130  interrupted; a daemon that was asked goes on
    """  # noqa: D301 - click wants the character itself
    if bool(names) == is_all:
        raise click.UsageError("Name the domains, or say --all.")
    where = place(config, state_dir, renew_only=renew_only)
    client = DaemonClient(where.state_dir())
    try:
        return _by_daemon(client, names, timeout)
    except DaemonNotRunning:
        return _here(where, names, timeout)


def _by_daemon(client: DaemonClient, names: Sequence[HostName], timeout: float | None) -> int:
    """
    Have the running daemon do it; gives the exit status.

    Raises:
        DaemonNotRunning: none does, and nothing was asked.
    """
    domains, unknown = entries(client.domains(names) if names else client.every_domain())
    if unknown:
        raise click.UsageError("; ".join(unknown))
    tally = Tally(domain.name for domain in domains)
    with progress(len(tally.pending)) as told:
        told(tally.begin(domains, wall_time()))
        return follow(client, client.issue, tally, told, timeout)


def _here(where: Place, names: Sequence[HostName], timeout: float | None) -> int:
    """
    Do it in this process; gives the exit status.
    """
    from sptls.cli.stored import Stored

    config, stored = where.config(), Stored.at(where)
    unknown = set(names).difference(stored.names)
    if unknown:
        raise click.UsageError("; ".join(f"{name} is none of the configuration's domains" for name in sorted(unknown)))
    statuses = stored.statuses(names or stored.names, wall_time())
    domains = [Domain.of(domain_json(status)) for status in statuses]
    tally = Tally(domain.name for domain in domains)
    with progress(len(tally.pending)) as told:
        told(tally.begin(domains, wall_time()))
        if tally.pending:
            from sptls.cli.issue_here import issue_here  # imports all of the daemon

            note("no daemon is running; this process gets the certificates itself")
            issue_here(config, tally, told, seconds_for(tally, timeout))
    return EXIT_FAILED if tally.failed else EXIT_FINE

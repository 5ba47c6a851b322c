"""
``sptls retry``: failures forgotten, so that names are tried now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from sptls.cli import wording
from sptls.cli.client import DaemonClient, entries
from sptls.cli.options import host_names, place, place_options
from sptls.cli.output import EXIT_FAILED, EXIT_FINE, say
from sptls.cli.renew import served
from sptls.clock import wall_time

if TYPE_CHECKING:
    from pathlib import Path

    from sptls.names import HostName


@click.command("retry", short_help="Forget failures and try now, without waiting.")
@click.argument("names", metavar="NAME...", nargs=-1, required=True, callback=host_names)
@place_options
def command(names: tuple[HostName, ...], config: Path | None, state_dir: Path | None, *, renew_only: bool) -> int:
    """
    Have the running daemon forget the failures of each NAME and try again now; sptls issue waits for what comes of it.

    What the CA's limits forbid is not tried. A name that has not failed is left alone.

    \b
    Exit status:
      0  each NAME is being tried, or needs nothing
      1  one has to wait all the same, for the reason told; or no daemon runs (sptls issue works without one)
      2  usage or configuration, also a NAME that is not served
    """  # noqa: D301 - click wants the character itself
    client = DaemonClient(place(config, state_dir, renew_only=renew_only).state_dir())
    served(client, names)
    now, status = wall_time(), EXIT_FINE
    for domain in entries(client.issue(names))[0]:
        if domain.needs_no_order(now):
            say(f"{domain.name}: needs no order; valid until {wording.validity(domain, now)}")
            continue
        has_to_wait = domain.state == "failing" or domain.is_put_off
        reason = f": {wording.plain(domain.problem)}" if has_to_wait else ""
        say(f"{domain.name}: {wording.next_step(domain, now)}{reason}")
        status = EXIT_FAILED if reason else status
    return status

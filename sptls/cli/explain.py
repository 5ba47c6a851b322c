"""
``sptls explain``: all that is known of one domain: how it stands, why, who must act, and what comes next.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from sptls.cli import wording
from sptls.cli.client import DaemonClient, entries
from sptls.cli.options import host_name, place, place_options
from sptls.cli.output import EXIT_FAILED, EXIT_FINE, note, say
from sptls.cli.status import find, note_other_version
from sptls.clock import wall_time
from sptls.config import INTERNAL_DIRECTORY
from sptls.errors import ControlError, DaemonNotRunning

if TYPE_CHECKING:
    from pathlib import Path

    from sptls.cli.options import Place
    from sptls.names import HostName

# A CA that is configured, and the challenge types that are answered there.
Orders = list[tuple[str, tuple[str, ...]]]


@click.command("explain", short_help="Tell why a domain has no certificate, and who must act.")
@click.argument("name", metavar="NAME", callback=host_name)
@click.option("--json", "as_json", is_flag=True, help="Write it as one line of JSON.")
@place_options
def command(name: HostName, as_json: bool, config: Path | None, state_dir: Path | None, *, renew_only: bool) -> int:
    """
    Tell how NAME stands, and what happens next.

    If something is wrong: its cause in plain words, who must act, what to do, and what the CA said itself.

    The running daemon is asked, and looks at NAME's DNS and at who answers there; if the DNS has changed since NAME
    failed, it is tried at once. Where no daemon runs, the store and the configuration are read.

    \b
    Exit status:
      0  nothing is amiss
      1  it fails, is faulty or has expired, or has no certificate (or none that lasts) while it waits for the CA's
         limits
      2  usage or configuration, also a NAME that is not served
    """  # noqa: D301 - click wants the character itself
    where = place(config, state_dir, renew_only=renew_only)
    # First: what it sees may have the daemon try again, and the status then says so.
    check = _examined(where, name)
    found = find(where, [name])
    domains, unknown = entries(found.status["domains"], is_whole=False)
    if unknown:
        raise click.UsageError("; ".join(unknown))
    note_other_version(found, domains)
    if found.not_running:
        note(f"{found.not_running}; this is what is stored")
    now, orders = wall_time(), _orders(where)
    (domain,), (told,) = domains, found.status["domains"]
    if as_json:
        tries = [{"directory": directory, "challenges": kinds} for directory, kinds in orders]
        say(json.dumps({**told, "cas": tries if domain.is_ordered else [], "check": check}))
    else:
        _show(name, tuple(wording.explanation(domain, orders, now, check)))
    return EXIT_FINE if domain.is_fine(now) else EXIT_FAILED


def _examined(where: Place, name: HostName) -> dict[str, Any] | None:
    """
    Give what the daemon sees of *name*, or None; why it can't be asked is told with the status.
    """
    try:
        return DaemonClient(where.state_dir()).examine(name)
    except (ControlError, DaemonNotRunning):
        return None


def _orders(where: Place) -> Orders:
    """
    Give what the configuration says, as far as it is known: a daemon can be reached without it.
    """
    if where.source is None:
        return []
    return [
        (acme.directory, () if acme.directory == INTERNAL_DIRECTORY else acme.challenges) for acme in where.config().cas
    ]


def _show(name: HostName, told: tuple[tuple[str, str], ...]) -> None:
    say(name.text)
    width = max(len(title) for title, _ in told)
    for title, words in told:
        say(f"  {title:{width}}  {words}")

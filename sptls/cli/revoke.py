"""
``sptls revoke``: a certificate revoked by its CA, and replaced.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import click

from sptls.cli import wording
from sptls.cli.client import DaemonClient
from sptls.cli.follow import follow, timeout_option
from sptls.cli.options import host_name, place, place_options
from sptls.cli.output import EXIT_FAILED, note, say
from sptls.cli.progress import progress
from sptls.cli.renew import served
from sptls.cli.tally import Tally
from sptls.clock import wall_time

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sptls.cli.domain import Domain
    from sptls.names import HostName

# RFC 5280 §5.3.1: those that a subscriber may give; the CAs keep the others to themselves.
REASONS: Final[Mapping[str, int]] = {
    "unspecified": 0,
    "keyCompromise": 1,
    "affiliationChanged": 3,
    "superseded": 4,
    "cessationOfOperation": 5,
}


@click.command("revoke", short_help="Have a certificate revoked and replaced.")
@click.argument("name", metavar="NAME", callback=host_name)
@click.option("--reason", type=click.Choice(list(REASONS), case_sensitive=False), required=True, help="Why (RFC 5280).")
@click.option("--yes", "is_sure", is_flag=True, help="Do not ask.")
@timeout_option
@place_options
def command(
    name: HostName,
    reason: str,
    timeout: float | None,
    config: Path | None,
    state_dir: Path | None,
    *,
    is_sure: bool,
    renew_only: bool,
) -> int:
    """
    Have the certificate of NAME revoked by the CA that it came from, and wait for a new one with a new key.

    The running daemon does it, and serves the old one until the new one is there. It can't be undone.

    \b
    Exit status:
      0    it is revoked, and replaced
      1    it is not revoked, or no new one came; the reason is told
      2    usage or configuration, also a NAME that is not served; nothing was done
      130  interrupted; the daemon goes on
    """  # noqa: D301 - click wants the character itself
    client = DaemonClient(place(config, state_dir, renew_only=renew_only).state_dir())
    (domain,) = served(client, [name])
    if not is_sure and not _is_sure(domain):
        note("nothing was done")
        return EXIT_FAILED
    problem = client.revoke(name, REASONS[reason])
    if problem:
        note(f"{name}: not revoked: {wording.plain(problem)}")
        return EXIT_FAILED
    say(f"{name}: certificate {domain.serial} is revoked")
    # The daemon has ordered another one already.
    tally = Tally([domain.name], replaced={domain.name: domain.serial})
    with progress(1) as told:
        return follow(client, client.domains, tally, told, timeout)


def _is_sure(domain: Domain) -> bool:
    if sys.stdin is None or not sys.stdin.isatty():
        raise click.UsageError("A revocation can't be undone; say --yes where nobody can be asked.")
    until = wording.validity(domain, wall_time())
    return click.confirm(
        f"Revoke {domain.name}'s certificate by {wording.issuer(domain)}, valid until {until}?", err=True
    )

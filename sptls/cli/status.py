"""
``sptls status``: how each domain fares, told by the daemon, or from the store where none runs.
"""

from __future__ import annotations

import json
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final

import attrs
import click

from sptls.cli import wording
from sptls.cli.client import DaemonClient, entries, holder, listed
from sptls.cli.options import host_names, place, place_options
from sptls.cli.output import EXIT_FAILED, EXIT_FINE, note, say, table
from sptls.clock import wall_time
from sptls.errors import ControlError, DaemonNotRunning

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from sptls.cli.domain import Domain
    from sptls.cli.options import Place
    from sptls.names import HostName

_TITLES: Final = ("domain", "state", "issuer", "valid until (UTC)", "next", "last problem")


@attrs.frozen
class Found:
    """
    What was found out: the *status* as JSON has it, and in words why it is not a running daemon's ("": it is).
    """

    status: dict[str, Any]
    not_running: str = ""


@click.command("status", short_help="Show how each domain fares.")
@click.argument("names", metavar="[NAME]...", nargs=-1, callback=host_names)
@click.option("--json", "as_json", is_flag=True, help="Write what GET /status gives, as one line of JSON.")
@place_options
def command(
    names: tuple[HostName, ...], as_json: bool, config: Path | None, state_dir: Path | None, *, renew_only: bool
) -> int:
    """
    Show how each domain fares: its certificate, the last problem, and what happens next.

    The running daemon is asked; where none runs, the store and the configuration are read, and nothing is changed.

    \b
    Exit status, for a monitor:
      0  the daemon runs, and nothing is amiss with any domain shown: a first order may be under way, or a renewal
         wait for what the CA's limits allow
      1  a domain fails, is faulty or has expired, or has no certificate (or none that lasts) while it waits for the
         CA's limits; a worker process does not serve; the configuration was refused when it was read again; the
         daemon does not run or does not answer, or is of another version and says it in another way; the store can't
         be read
      2  usage or configuration, also a NAME that is not served
    """  # noqa: D301 - click wants the character itself
    found = find(place(config, state_dir, renew_only=renew_only), names)
    domains, unknown = entries(found.status["domains"], is_whole=False)
    if unknown:
        raise click.UsageError("; ".join(unknown))
    if as_json:
        say(json.dumps(found.status))
    else:
        note_other_version(found, domains)
    now = wall_time()
    is_amiss = found.not_running or _refused(found.status) or _missing_workers(found.status)
    is_fine = not is_amiss and all(domain.is_fine(now) for domain in domains)
    if not as_json:
        _show(found, domains, now)
    return EXIT_FINE if is_fine else EXIT_FAILED


def find(where: Place, names: Sequence[HostName]) -> Found:
    """
    Ask the daemon; where that can't be done, the store.
    """
    state_dir = where.state_dir()
    client = DaemonClient(state_dir)
    try:
        status = {"domains": list(client.domains(names))} if names else client.status()
        listed(status)
        return Found(status)
    except DaemonNotRunning as error:
        process = holder(state_dir)
        reason = str(error)
        if process is not None:
            reason = f"process {process} uses {state_dir} and can't be asked: it is starting or ending, or see its log"
    except ControlError as error:
        reason = str(error)
    return Found(_read(where, names), reason)


def note_other_version(found: Found, domains: Sequence[Domain]) -> None:
    """
    Note that the daemon which told of *domains* is of another version than this command, where it is.
    """
    if not found.not_running:
        told = wording.other_version(found.status.get("version"), metadata.version("sptls"), domains)
        if told:
            note(told)


def _read(where: Place, names: Sequence[HostName]) -> dict[str, Any]:
    """
    Give the status from what is stored.
    """
    # A running daemon is asked in a fifth of the time that it takes to import what reads the store.
    from sptls.cli.stored import Stored
    from sptls.ops.status import status_text

    stored = Stored.at(where)
    for damage in stored.loaded.damaged:
        note(damage)
    known = set(stored.names)
    listed = [name for name in names or stored.names if name in known]
    statuses = stored.statuses(listed, wall_time())
    text = status_text(version=metadata.version("sptls"), serving=False, started_at=None, domains=statuses)
    status: dict[str, Any] = json.loads("".join(text))
    unknown = [name for name in names if name not in known]
    status["domains"] += [{"name": name.text, "error": stored.unknown(name)} for name in unknown]
    return status


def _refused(status: dict[str, Any]) -> list[str]:
    """
    Give the faults for which the daemon refused its configuration when it read it again.
    """
    return _texts(status, "faults")


def _missing_workers(status: dict[str, Any]) -> list[dict[str, Any]]:
    """
    Give what is said of the worker processes that do not serve.
    """
    return [worker for worker in _workers(status) if worker.get("state") != "serving"]


def _workers(status: dict[str, Any]) -> list[dict[str, Any]]:
    workers = status.get("workers")
    return [worker for worker in workers if isinstance(worker, dict)] if isinstance(workers, list) else []


def _texts(status: dict[str, Any], key: str) -> list[str]:
    """
    Give what is listed in a key of the configuration; a daemon of another version may have it otherwise.
    """
    configuration = status.get("configuration")
    told = configuration.get(key) if isinstance(configuration, dict) else None
    return [text for text in told if isinstance(text, str)] if isinstance(told, list) else []


def _show(found: Found, domains: Sequence[Domain], now: datetime) -> None:
    say(wording.plain(f"{_headline(found)}; {wording.count(domains)}"))
    for fault in _refused(found.status):
        say(f"the configuration was refused when it was read again, the old one is in force: {wording.plain(fault)}")
    waiting = _texts(found.status, "needs_restart")
    missing = _missing_workers(found.status)
    if missing:
        count = len(_workers(found.status))
        say(f"{len(missing)} of {count} worker processes do not serve; the daemon's log says why")
    if waiting:
        say(f"changed, and waiting for a restart: {wording.plain(', '.join(waiting))}")
    if domains:
        table(_TITLES, _rows(domains, now))


def _headline(found: Found) -> str:
    if found.not_running:
        return f"{found.not_running}; this is what is stored"
    version, serving, since = (found.status.get(key) for key in ("version", "serving", "started_at"))
    numbered = f" (sptls {version})" if isinstance(version, str) else ""
    doing = "is ending" if serving is False else "is running"
    return f"the daemon{numbered} {doing}{f' since {since}' if isinstance(since, str) else ''}"


def _rows(domains: Iterable[Domain], now: datetime) -> Iterator[tuple[str, ...]]:
    """
    Give a line for each domain, what needs a look first.
    """
    for domain in sorted(domains, key=lambda one: one.is_fine(now)):
        issuer, until = wording.issuer(domain), wording.validity(domain, now)
        yield domain.name, domain.state, issuer, until, wording.next_step(domain, now), wording.problem(domain)

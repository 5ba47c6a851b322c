"""
Waiting for what a running daemon does with names: it is asked once, then looked at until each has come to an end.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from sptls.cli.client import entries
from sptls.cli.output import EXIT_FAILED, EXIT_FINE, EXIT_INTERRUPTED, note
from sptls.clock import wall_time
from sptls.errors import ControlError, DaemonNotRunning

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sptls.cli.client import DaemonClient
    from sptls.cli.progress import Told
    from sptls.cli.tally import Tally
    from sptls.names import HostName

    # What the daemon is asked to do; answered with how each name stands.
    Ask = Callable[[Sequence[HostName]], tuple[dict[str, Any], ...]]

F = TypeVar("F", bound="Callable[..., Any]")

# An order takes seconds, a slow CA's minutes, and an attempt is ended after ten; 32 of them run at once.
_TIMEOUT_SECONDS: Final = 900
_TIMEOUT_SECONDS_A_NAME: Final = 5
# Between two looks: soon at first, for one name; then so that thousands cost the daemon nothing.
_FIRST_PAUSE_SECONDS: Final = 0.1
_LONGEST_PAUSE_SECONDS: Final = 1.0


def timeout_option(command: F) -> F:
    """
    Give *command* the option for how long it waits; it gets None where that is not given.
    """
    return click.option(
        "--timeout",
        type=click.FloatRange(min=1),
        metavar="SECONDS",
        help=f"How long to wait at the most. [default: {_TIMEOUT_SECONDS}, and {_TIMEOUT_SECONDS_A_NAME} a name]",
    )(command)


def seconds_for(tally: Tally, timeout: float | None) -> float:
    """
    Give how long to wait for what is pending: as long as was said, or longer the more there is.
    """
    return _TIMEOUT_SECONDS + _TIMEOUT_SECONDS_A_NAME * len(tally.pending) if timeout is None else timeout


def follow(client: DaemonClient, ask: Ask, tally: Tally, told: Told, timeout: float | None) -> int:
    """
    Have *ask* done for what is pending, and wait for it; gives the exit status.
    """
    try:
        _follow(client, ask, tally, told, seconds_for(tally, timeout))
    except (ControlError, DaemonNotRunning) as error:
        told(tally.give_up(f"not known: {error}; sptls status says more once a daemon runs"))
    except KeyboardInterrupt:
        note(f"interrupted; the daemon goes on with {len(tally.pending)} names")
        return EXIT_INTERRUPTED
    return EXIT_FAILED if tally.failed else EXIT_FINE


def _follow(client: DaemonClient, ask: Ask, tally: Tally, told: Told, seconds: float) -> None:
    until, pause = time.monotonic() + seconds, _FIRST_PAUSE_SECONDS
    told(tally.take(entries(ask(tally.names))[0], wall_time()))
    while tally.pending:
        if time.monotonic() >= until:
            told(
                tally.give_up(f"no outcome in {seconds:.0f} s; the daemon goes on, sptls status shows what comes of it")
            )
            return
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)
        domains, _ = entries(client.domains(tally.names))
        told(tally.give_up("the daemon no longer serves it: its configuration was read again", but=domains))
        told(tally.take(domains, wall_time()))

"""
What is due of a deployment: files to put in place, the command to run, or a wait; and what each leaves behind. Pure.

A name goes from new files to a command that succeeded for them; what fails is tried again, and a restart goes on where
it was. Moments are wall time, seconds are monotonic.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Literal

import attrs

from sptls.certs.records import Deployment
from sptls.errors import DeployError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from sptls.certs.bundle import CertificateBundle
    from sptls.names import HostName

FULLCHAIN: Final = "fullchain.pem"
PRIVATE_KEY: Final = "privkey.pem"
CHAIN: Final = "chain.pem"

# 1, 5, 15 minutes, then hourly.
_DELAYS: Final = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 60))
# What a clock that was ahead has stored is longer; slack keeps a clock that is set back by seconds out of it.
_ABSURD_WAIT: Final = _DELAYS[-1] + timedelta(minutes=5)

# Orders of one burst end within a second of each other; while more keep coming, a server is reloaded this often.
QUIET_SECONDS: Final = 1.0
LONGEST_COLLECTING_SECONDS: Final = 10.0

# Linux takes 131,072 bytes for one variable of the environment (MAX_ARG_STRLEN), its name included.
MAX_NAMES_CHARACTERS: Final = 100_000
# The store and the status keep this much of an error.
_ERROR_CHARACTERS: Final = 2000

# A name becomes a directory's name: this is all that `HostName.parse` lets through, and no path escapes by it.
_PLAIN_NAME: Final = re.compile(r"(?:\*\.)?[a-z0-9-]+(?:\.[a-z0-9-]+)*")


@attrs.frozen
class Put:
    """
    The files of the certificate are to be put in place now.
    """


@attrs.frozen
class Run:
    """
    The files are in place, the command is to run now.
    """


@attrs.frozen
class Wait:
    """
    Something has failed and is tried again at *until*.
    """

    until: datetime


@attrs.frozen
class Done:
    """
    Nothing is to be done.
    """


Step = Put | Run | Wait | Done

_PUT, _RUN, _DONE = Put(), Run(), Done()


@attrs.frozen
class DeployState:
    """
    How a name's deployment stands, for people; *serial* is that of the files in place, "" for none.
    """

    state: Literal["deployed", "pending", "failing"]
    serial: str
    last_error: str
    next_attempt_at: datetime | None


def next_step(serial: str, deployment: Deployment, now: datetime) -> Step:
    """
    Tell what comes next of a name whose newest certificate is *serial*'s.
    """
    if deployment.serial == serial and not deployment.is_command_owed:
        return _DONE
    until = deployment.next_attempt_at
    if until is not None and now < until <= now + _ABSURD_WAIT:
        return Wait(until)
    return _RUN if deployment.serial == serial else _PUT


def after_put(before: Deployment, serial: str, *, is_changed: bool, has_command: bool) -> Deployment:
    """
    Give the deployment once the files of *serial* are in place; *is_changed* tells that others were there before.

    Files that are in place already and of which nothing is known here were put there by a process that was killed
    before it could say so: the command is owed for them too.
    """
    if is_changed or before.serial != serial:
        return Deployment(serial, is_command_owed=has_command)
    if before.is_command_owed and has_command:
        return before
    return Deployment(serial)


def after_command(before: Deployment) -> Deployment:
    """
    Give the deployment after the command has succeeded.
    """
    return Deployment(before.serial)


def after_put_failure(before: Deployment, serial: str, error: str, now: datetime) -> Deployment:
    """
    Give the deployment after the files of *serial* could not be put in place, because of *error*.

    If they were thought to be there, they can't be relied on any more.
    """
    known = before if before.serial != serial else attrs.evolve(before, serial="", is_command_owed=False)
    return after_failure(known, error, now)


def after_failure(before: Deployment, error: str, now: datetime) -> Deployment:
    """
    Give the deployment after the command failed, because of *error*.
    """
    failures = before.consecutive_failures + 1
    delay = _DELAYS[min(failures, len(_DELAYS)) - 1]
    return attrs.evolve(
        before, consecutive_failures=failures, next_attempt_at=now + delay, last_error=error[:_ERROR_CHARACTERS]
    )


def without_delay(before: Deployment) -> Deployment:
    """
    Give the deployment to be tried again at once: the operator has changed what it is done with.
    """
    return attrs.evolve(before, next_attempt_at=None)


def in_one_run(due: Iterable[HostName], owed: Iterable[HostName]) -> tuple[HostName, ...]:
    """
    Give the names that the command is told of in one run: where any is *due* all that are *owed*, or else none.

    As many as the system takes; the due ones have precedence, so that runs come to an end whatever becomes of them.
    """
    first = sorted(due)
    chosen: list[HostName] = []
    characters = 0
    for name in dict.fromkeys((*first, *sorted(owed))) if first else ():
        characters += len(name.text) + 1
        if characters > MAX_NAMES_CHARACTERS:
            break
        chosen.append(name)
    return tuple(sorted(chosen))


def collected_at(first_seconds: float, last_seconds: float) -> float:
    """
    Tell when a burst of changes, the first and the last at these seconds, is taken for complete.
    """
    return min(last_seconds + QUIET_SECONDS, first_seconds + LONGEST_COLLECTING_SECONDS)


def state(serial: str, deployment: Deployment) -> DeployState:
    """
    Tell people how a name stands whose newest certificate is *serial*'s.
    """
    is_done = deployment.serial == serial and not deployment.is_command_owed
    word: Literal["deployed", "pending", "failing"] = "deployed" if is_done else "pending"
    if not is_done and deployment.consecutive_failures:
        word = "failing"
    next_attempt_at = None if is_done else deployment.next_attempt_at
    return DeployState(word, deployment.serial, "" if is_done else deployment.last_error, next_attempt_at)


def link_name(name: HostName) -> str:
    """
    Give the file name that stands for *name*.

    Raises:
        DeployError: it would lead somewhere else.
    """
    if not _PLAIN_NAME.fullmatch(name.text):
        raise DeployError(repr(name.text), "it is no plain host name", "report this as a bug in sptls")
    return name.text


def version_name(bundle: CertificateBundle) -> str:
    """
    Give the name of the directory for this certificate's files; names of one host sort by age.
    """
    return f"{bundle.not_before:%Y%m%dT%H%M%SZ}-{bundle.serial}"


def files(bundle: CertificateBundle) -> Mapping[str, bytes]:
    """
    Give the content of each file, the same as certbot's of the same name; one is a secret.
    """
    fullchain, own = bundle.chain_pem(), attrs.evolve(bundle, chain=bundle.chain[:1]).chain_pem()
    return {FULLCHAIN: fullchain, PRIVATE_KEY: bundle.key_pem(), CHAIN: fullchain[len(own) :]}

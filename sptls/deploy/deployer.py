"""
Keeps the deployed files and the server that reads them up with the certificates; and remembers what is still owed.

One name after the other: files in place (`layout`), then one run of the command (`command`) for all names that wait
for it. Files are not changed while the command runs, so that no server reads an old chain and a new key. What is due
is `plan`'s to say. Nothing that goes wrong ends the work: it is said, stored, shown in the status, and tried again.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeGuard

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.logger import Logger
from twisted.python.failure import Failure

from sptls.deploy import command, plan
from sptls.deploy.layout import put_all
from sptls.deploy.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from twisted.internet.interfaces import IDelayedCall

    from sptls.certs.bundle import CertificateBundle
    from sptls.certs.records import Deployment
    from sptls.clock import WallClock
    from sptls.config import DeployConfig
    from sptls.deploy.ledger import DeploymentStore
    from sptls.errors import SptlsError
    from sptls.names import HostName
    from sptls.threads import InThread

_log = Logger()

# So many names' files are written before the store hears of them: for a crash in between the command runs once more.
NAMES_AT_ONCE: Final = 50
# The wall clock may be set while a timer sleeps on monotonic seconds, so no sleep is longer.
LOOK_AGAIN_SECONDS: Final = 3600.0
# After a fault that nobody foresaw.
PAUSE_SECONDS: Final = 60.0
# Disks answer in milliseconds; a file server that does not in a minute is said to hang.
OVERDUE_SECONDS: Final = 60.0
# At the end of the process: for files being written and a reload, before they are broken off.
STOP_SECONDS: Final = 3.0


class Deployer:
    """
    Deploys the certificates that it is told of, once started, as *config* says; without a directory it does nothing.

    *in_thread* does what a file system can hold up. Once per process.
    """

    def __init__(
        self, config: DeployConfig, store: DeploymentStore, *, reactor: Any, wall_clock: WallClock, in_thread: InThread
    ) -> None:
        self._config, self._reactor, self._now, self._in_thread = config, reactor, wall_clock, in_thread
        self._ledger = Ledger(store, reactor)
        # Internal state
        self._bundles: dict[HostName, CertificateBundle] = {}
        # Names of which something is left to do, and of these, in order, the ones whose files are to be looked at.
        self._open: set[HostName] = set()
        self._unseen: dict[HostName, None] = {}
        # When the first and the last change came that no work has begun for.
        self._burst: tuple[float, float] | None = None
        self._pause_until = 0.0
        self._wake: IDelayedCall | None = None
        self._working: Deferred[None] | None = None
        self._is_overdue = False
        self._is_running = False

    # What others ask for

    def start(self, bundles: Mapping[HostName, CertificateBundle], deployments: Mapping[HostName, Deployment]) -> None:
        """
        Begin with the certificates that there are and what was stored: whatever differs in the directory is deployed.
        """
        self._bundles = dict(bundles)
        self._ledger.load(deployments)
        self._is_running = True
        self._look_at_all()
        self._turn()

    def changed(self, name: HostName, bundle: CertificateBundle) -> None:
        """
        Deploy *name*'s new certificate, together with others of the same moment.
        """
        self._bundles[name] = bundle
        self._open.add(name)
        self._unseen[name] = None
        seconds = self._reactor.seconds()
        self._burst = (seconds if self._burst is None else self._burst[0], seconds)
        self._set_timer()

    def set_names(self, names: Iterable[HostName]) -> None:
        """
        Deploy no other name's certificate from now on; the files of those that go stay where they are.
        """
        kept = frozenset(names)
        for name in [name for name in self._bundles if name not in kept]:
            del self._bundles[name]
            self._open.discard(name)
            self._unseen.pop(name, None)
            if self._config.directory is not None:
                path = self._config.directory / name.text
                _log.info("{name} is deployed no more; its files stay in {path}", name=name.text, path=path)

    def configure(self, config: DeployConfig) -> None:
        """
        Go on with *config*: all files are looked at again, and what had failed is tried again at once.
        """
        if config == self._config:
            return
        self._config = config
        for name in self._open:
            self._ledger.put(name, plan.without_delay(self._ledger.get(name)))
        self._look_at_all()
        self._turn()

    async def stop(self) -> None:
        """
        End within `STOP_SECONDS` and what it takes to end a command, which is then run again at the next start.
        """
        self._is_running = False
        self._cancel_timer()
        if self._working is not None:
            await self._working.addTimeout(STOP_SECONDS, self._reactor)
        with suppress(DeferredTimeoutError):
            await Deferred.fromCoroutine(self._ledger.save()).addTimeout(STOP_SECONDS, self._reactor)

    def state(self, name: HostName) -> plan.DeployState | None:
        """
        Tell how *name*'s deployment stands, or None where nothing of it is deployed.
        """
        bundle = self._bundles.get(name)
        if bundle is None or self._config.directory is None:
            return None
        state = plan.state(bundle.serial, self._ledger.get(name))
        if self._is_overdue and name in self._open:
            hangs = f"{self._config.directory} does not answer (for over {OVERDUE_SECONDS:.0f} s)"
            return attrs.evolve(state, state="failing", last_error=hangs)
        return state

    # The work

    def _look_at_all(self) -> None:
        self._open = set(self._bundles)
        self._unseen = dict.fromkeys(self._bundles)
        if not self._config.command:  # any more: nothing is owed to it
            for name in self._bundles:
                self._ledger.put(name, plan.after_command(self._ledger.get(name)))

    def _turn(self) -> None:
        """
        Begin to work, unless that goes on already.
        """
        self._cancel_timer()
        if self._working is None and self._is_running:
            self._burst = None
            self._working = Deferred.fromCoroutine(self._work())
            self._working.addBoth(self._worked)

    def _worked(self, result: object) -> None:
        self._working = None
        if isinstance(result, Failure) and not result.check(CancelledError):
            _log.failure("deploying broke off; it goes on in {seconds:.0f} s", result, seconds=PAUSE_SECONDS)
            self._pause_until = self._reactor.seconds() + PAUSE_SECONDS
        self._set_timer()

    async def _work(self) -> None:
        directory = self._config.directory
        while self._is_still(directory) and (names := self._next_to_put()):
            for first in range(0, len(names), NAMES_AT_ONCE):
                if self._is_still(directory):
                    await self._put(directory, names[first : first + NAMES_AT_ONCE])
        while self._is_still(directory) and (names := self._next_to_tell()):
            await self._run_command(directory, names)
        await self._ledger.save()

    def _is_still(self, directory: Path | None) -> TypeGuard[Path]:
        """
        Tell whether to go on with *directory*: not at the end of the process, nor when another was configured.
        """
        return self._is_running and directory is not None and directory == self._config.directory

    def _next_to_put(self) -> Sequence[HostName]:
        """
        Give the names whose files are to be looked at, or to be put.
        """
        now = self._now()
        due = (name for name in self._open if name not in self._unseen and self._step(name, now) == plan.Put())
        return (*self._unseen, *due)

    def _next_to_tell(self) -> Sequence[HostName]:
        """
        Give the names that the command is to be told of now: where one is due, all that wait for it.
        """
        now = self._now()
        due = [name for name in self._open if self._step(name, now) == plan.Run()]
        return plan.in_one_run(due, (name for name in self._open if self._ledger.get(name).is_command_owed))

    def _step(self, name: HostName, now: datetime) -> plan.Step:
        return plan.next_step(self._bundles[name].serial, self._ledger.get(name), now)

    async def _put(self, directory: Path, names: Sequence[HostName]) -> None:
        bundles = {name: self._bundles[name] for name in names if name in self._bundles}
        for name in bundles:
            self._unseen.pop(name, None)
        overdue = self._reactor.callLater(OVERDUE_SECONDS, self._say_overdue, directory)
        try:
            outcomes = await self._in_thread(lambda: put_all(directory, bundles))
        except BaseException:
            self._unseen.update(dict.fromkeys(name for name in bundles if name in self._bundles))
            raise
        finally:
            if overdue.active():
                overdue.cancel()
        if self._is_overdue:
            self._is_overdue = False
            _log.info("deploy.directory {path} answers again", path=directory)
        for name, outcome in outcomes.items():
            if isinstance(outcome, bool):
                self._note_put(name, bundles[name], is_changed=outcome)
        errors = {name: error for name, error in outcomes.items() if not isinstance(error, bool)}
        for name, error in errors.items():
            before, serial = self._ledger.get(name), bundles[name].serial
            self._note(name, plan.after_put_failure(before, serial, str(error), self._now()))
        if errors:
            self._say_not_put(errors)
        await self._ledger.save()

    def _note_put(self, name: HostName, bundle: CertificateBundle, *, is_changed: bool) -> None:
        has_command, before = bool(self._config.command), self._ledger.get(name)
        self._note(name, plan.after_put(before, bundle.serial, is_changed=is_changed, has_command=has_command))
        if is_changed:
            _log.info("{name}: certificate {serial} is deployed", name=name.text, serial=bundle.serial)

    def _say_not_put(self, errors: Mapping[HostName, SptlsError]) -> None:
        first, *others = errors
        _log.error(
            "{name}{others}: not deployed: {error}; next attempt at {until:%Y-%m-%d %H:%M:%S} UTC",
            name=first.text,
            others=f" and {len(others)} more" if others else "",
            error=errors[first],
            until=self._ledger.get(first).next_attempt_at,
        )

    async def _run_command(self, directory: Path, names: Sequence[HostName]) -> None:
        words, seconds = self._config.command, self._config.command_seconds
        failed = await command.run(self._reactor, words, command.environment(names, directory, os.environ), seconds)
        if failed:
            for name in names:
                self._note(name, plan.after_failure(self._ledger.get(name), failed, self._now()))
            until = self._ledger.get(names[0]).next_attempt_at
            _log.error("{failed}; it is run again at {until:%Y-%m-%d %H:%M:%S} UTC", failed=failed, until=until)
        else:
            what = names[0].text if len(names) == 1 else f"{len(names)} certificates"
            _log.info("the deploy command has been told of {what}", what=what)
            for name in names:
                self._note(name, plan.after_command(self._ledger.get(name)))
        await self._ledger.save()

    def _note(self, name: HostName, after: Deployment) -> None:
        """
        Take note of how far *name* has come, and whether anything is left to do.
        """
        self._ledger.put(name, after)
        if name in self._open and name not in self._unseen and self._step(name, self._now()) == plan.Done():
            self._open.discard(name)

    def _say_overdue(self, directory: Path) -> None:
        self._is_overdue = True
        _log.error(
            "deploy.directory {path} does not answer in {seconds:.0f} s; what is linked there stays",
            path=directory,
            seconds=OVERDUE_SECONDS,
        )

    # The timer

    def _set_timer(self) -> None:
        self._cancel_timer()
        if self._is_running and self._working is None:
            seconds = max(self._seconds_to_next(), self._pause_until - self._reactor.seconds(), 0.0)
            self._wake = self._reactor.callLater(seconds, self._turn)

    def _seconds_to_next(self) -> float:
        now, at = self._now(), self._reactor.seconds()
        moments = [LOOK_AGAIN_SECONDS]
        if self._burst is not None:
            moments.append(plan.collected_at(*self._burst) - at)
        elif self._unseen and self._config.directory is not None:
            moments.append(0.0)
        seconds_to_save = self._ledger.seconds_to_save()
        if seconds_to_save is not None:
            moments.append(seconds_to_save)
        for name in self._open - self._unseen.keys() if self._config.directory is not None else ():
            step = self._step(name, now)
            moments.append((step.until - now).total_seconds() if isinstance(step, plan.Wait) else 0.0)
        return min(moments)

    def _cancel_timer(self) -> None:
        if self._wake is not None and self._wake.active():
            self._wake.cancel()
        self._wake = None

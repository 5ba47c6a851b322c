"""
Certificates without a daemon: this process is one for as long as it takes, and obtains nothing for any other name.

It serves what it is configured to serve meanwhile: the CA looks for the answers to its challenges on those ports, and a
client that comes is not turned away.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import attrs
from twisted.internet.error import ReactorNotRunning
from twisted.logger import FilteringLogObserver, LogLevel, LogLevelFilterPredicate, globalLogBeginner

from sptls import service, startup
from sptls.cli.domain import Domain
from sptls.clock import wall_time
from sptls.logs import text_observer
from sptls.ops.control import DaemonControls
from sptls.ops.status import domain_json

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from sptls.cli.progress import Told
    from sptls.cli.tally import Tally
    from sptls.config import Config
    from sptls.ops.status import DomainStatus
    from sptls.service import Sptls

# A look costs nothing here, and a person waits for one name.
_LOOK_SECONDS: Final = 0.1


def issue_here(config: Config, tally: Tally, told: Told, seconds: float) -> None:
    """
    Obtain certificates for what is pending in *tally*, until nothing is, *seconds* are over, or a signal comes.

    Raises:
        ConfigError: a file that *config* names can't be used.
        StartError: the state directory or an address can't be had.
    """
    from twisted.internet import reactor

    _log_errors()
    process = process_for(config.state_dir)
    daemon = service.make(reactor, process, config, only=frozenset(tally.names))
    watch = _Watch(reactor, daemon, tally, told, seconds)
    _run(reactor, daemon, watch)
    # What was made here is the daemon's from now on.
    startup.give_away(config.state_dir, process)
    if watch.fault is not None:
        raise watch.fault
    told(tally.give_up("not issued: this process was ended first"))


def _run(reactor: Any, daemon: Sptls, watch: _Watch) -> None:
    reactor.addSystemEventTrigger("before", "shutdown", daemon.stopService)
    # Once the reactor runs, it has the signals: nothing may begin that one could break off.
    reactor.callWhenRunning(daemon.startService)
    reactor.callWhenRunning(watch.look)
    reactor.run()


def _log_errors() -> None:
    """
    Have errors of the daemon's parts written to standard error; why a name fails is told by the tally.
    """
    levels = LogLevelFilterPredicate(defaultLogLevel=LogLevel.error)
    levels.setLogLevelForNamespace("sptls.proxy", LogLevel.critical)  # the tracking service is not what was asked for
    observer = FilteringLogObserver(text_observer(sys.stderr), [levels])
    globalLogBeginner.beginLoggingTo([observer], discardBuffer=True, redirectStandardIO=False)


def process_for(state_dir: Path) -> startup.ProcessSettings:
    """
    Give the settings of a process in the foreground; as root, with the user to whom the state directory belongs.
    """
    if os.geteuid() != 0 or not state_dir.is_dir():
        return startup.ProcessSettings()
    owner = state_dir.stat()
    if owner.st_uid == 0:
        return startup.ProcessSettings()
    return startup.ProcessSettings(uid=owner.st_uid, gid=owner.st_gid)


@attrs.define(eq=False)
class _Watch:
    """
    Looks every `_LOOK_SECONDS` how names stand with *daemon*, and ends the reactor when nothing more is to come.
    """

    reactor: Any
    daemon: Sptls
    tally: Tally
    told: Told
    seconds: float
    fault: Exception | None = None
    _controls: DaemonControls | None = None
    _until: float = 0.0

    def look(self) -> None:
        """
        Look now, and again later where that is of use.
        """
        self._until = self._until or self.reactor.seconds() + self.seconds
        try:
            self._take()
        except Exception as error:  # noqa: BLE001 - raised again when the reactor has ended
            self.fault = error
        if self.tally.pending and self.fault is None and self.reactor.seconds() >= self._until:
            self.told(self.tally.give_up(f"no outcome in {self.seconds:.0f} s"))
        if self.tally.pending and self.fault is None:
            self.reactor.callLater(_LOOK_SECONDS, self.look)
        else:
            with suppress(ReactorNotRunning):  # a signal, or a start that failed, was quicker
                self.reactor.stop()

    def _take(self) -> None:
        """
        Take how the names stand; the first time, ask for their certificates.
        """
        names, parts = self.tally.names, self.daemon.parts
        if self._controls is not None:
            self._settle(self._controls.domains(names))
        elif parts is not None and all(parts.keeping.renewer.takes_care_of(name) for name in names):  # it has started
            self._controls = DaemonControls(parts.report, parts.keeping.renewer, parts.keeping.self_check.examine)
            self._settle(self._controls.issue(names))

    def _settle(self, statuses: Iterable[DomainStatus]) -> None:
        self.told(self.tally.take([Domain.of(domain_json(status)) for status in statuses], wall_time()))

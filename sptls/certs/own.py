"""
Certificates that the operator brings: read at start, read again when their files change, never ordered.

The files are looked at every few seconds in a thread, since a file system that hangs must not stop the reactor. Which
version of them is in force is `own_files`'s to decide; here it is said in the log, in the status, and to the listener.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from sptls.certs.own_files import Found, OwnFiles, look, read, sentence
from sptls.errors import BadCertificate, Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from twisted.internet.interfaces import IReactorTime

    from sptls.certs.bundle import CertificateBundle
    from sptls.clock import WallClock
    from sptls.config import DomainConfig
    from sptls.names import HostName
    from sptls.threads import InThread

_log = Logger()

# Soon enough for an operator who watches, seldom enough for ten thousand files.
LOOK_SECONDS: Final = 5.0
# Disks answer in milliseconds; a file server that does not in a minute is said to hang.
OVERDUE_SECONDS: Final = 60.0


@attrs.frozen
class OwnStatus:
    """
    How an own certificate stands: the *bundle* in force, its *faults*, and why newer files are not in force ("").
    """

    name: HostName
    bundle: CertificateBundle
    faults: tuple[str, ...]
    trouble: str


class OwnCertificates:
    """
    The certificates of those of *domains* that bring their own, looked at every `LOOK_SECONDS` once started.
    """

    def __init__(
        self, domains: Iterable[DomainConfig], *, clock: IReactorTime, wall_clock: WallClock, in_thread: InThread
    ) -> None:
        self._clock, self._wall_clock, self._in_thread = clock, wall_clock, in_thread
        self._files = [
            OwnFiles(domain.name, f"domains[{index}]", domain.certificate, domain.key)
            for index, domain in enumerate(domains)
            if domain.certificate is not None and domain.key is not None
        ]
        self._found: dict[OwnFiles, Found] = {}
        self._is_overdue = False
        self._watching: Deferred[None] | None = None

    def load(self) -> tuple[Fault, ...]:
        """
        Read all files, blocking, before the start; gives what the operator has to mend first.

        That is files that can't be read, and a key that is another certificate's. A certificate that has expired or
        is for another name is served all the same, and `start` says so: some client may take it.
        """
        now, wrong = self._wall_clock(), []
        for files in self._files:
            try:
                self._found[files] = read(files, now)
            except (OSError, BadCertificate) as error:
                wrong.append(Fault(files.place, sentence(files, error)))
        return tuple(wrong)

    @property
    def bundles(self) -> Mapping[HostName, CertificateBundle]:
        """
        Give what is in force now.
        """
        return {files.name: found.bundle for files, found in self._found.items()}

    def statuses(self) -> tuple[OwnStatus, ...]:
        """
        Tell how each certificate stands, as of the last look.
        """
        hangs = f"its files can't be read: no answer in {OVERDUE_SECONDS:.0f} s" if self._is_overdue else ""
        return tuple(
            OwnStatus(files.name, found.bundle, found.faults, hangs or found.trouble)
            for files, found in self._found.items()
        )

    def start(self, on_change: Callable[[HostName, CertificateBundle], None]) -> None:
        """
        Say what is wrong with what was loaded, and look on until `stop`; *on_change* gets each new bundle.
        """
        for files, found in self._found.items():
            _log_faults(files, found)
        if self._found:
            self._watching = Deferred.fromCoroutine(self._watch(on_change))

    async def stop(self) -> None:
        """
        Look no more; *on_change* is not called again. A look that hangs is left behind.
        """
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()
            with suppress(CancelledError):
                await watching

    async def _watch(self, on_change: Callable[[HostName, CertificateBundle], None]) -> None:
        while True:
            await deferLater(self._clock, LOOK_SECONDS)
            try:
                await self._look_at_all(on_change)
            except CancelledError:
                raise
            except Exception:  # noqa: BLE001 - the next look may succeed, and no other loop does this
                _log.failure("own certificates could not be looked at")

    async def _look_at_all(self, on_change: Callable[[HostName, CertificateBundle], None]) -> None:
        before, now = dict(self._found), self._wall_clock()
        overdue = self._clock.callLater(OVERDUE_SECONDS, self._say_overdue)
        try:
            after = await self._in_thread(lambda: {files: look(files, found, now) for files, found in before.items()})
        finally:
            if overdue.active():
                overdue.cancel()
        if self._is_overdue:
            self._is_overdue = False
            _log.info("the files of own certificates can be read again")
        self._found = after
        for files, found in after.items():
            _log_change(files, before[files], found)
            if found.bundle != before[files].bundle:
                _tell(on_change, files.name, found.bundle)

    def _say_overdue(self) -> None:
        self._is_overdue = True
        _log.error(
            "the files of own certificates can't be read: no answer in {seconds:.0f} s; what was read stays in force",
            seconds=OVERDUE_SECONDS,
        )


def _tell(on_change: Callable[[HostName, CertificateBundle], None], name: HostName, bundle: CertificateBundle) -> None:
    try:
        on_change(name, bundle)
    except Exception:  # noqa: BLE001 - the other names' certificates must be told of all the same
        _log.failure("{name}: its new certificate could not be put in force", name=name.text)


def _log_change(files: OwnFiles, before: Found, after: Found) -> None:
    """
    Say what is new since *before*; a trouble only when it was found twice, as the files are replaced one by one.
    """
    if after.bundle != before.bundle:
        until = f"{after.bundle.not_after:%Y-%m-%d %H:%M} UTC"
        _log.info(
            "{name}: its own certificate has changed, the new one is served (until {until})",
            name=files.name.text,
            until=until,
        )
    if after.faults != before.faults:
        _log_faults(files, after)
    if after.troubled_looks == 2:
        _log.error(
            "{name}: new files are not taken, the old certificate stays: {trouble}",
            name=files.name.text,
            trouble=after.trouble,
        )
    elif before.troubled_looks >= 2 and not after.trouble:
        _log.info("{name}: the files of its own certificate are in order again", name=files.name.text)


def _log_faults(files: OwnFiles, found: Found) -> None:
    if found.faults:
        _log.error(
            "{name}: its own certificate is served all the same: {faults}",
            name=files.name.text,
            faults="; ".join(found.faults),
        )

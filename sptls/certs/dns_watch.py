"""
Watches the DNS of names that fail, and has a name tried at once when its DNS has changed.

What is a reason is `dns_watch_rules`' to say. At most one name is looked at each second, however many fail; a name's
looks begin five minutes after its failure and thin out to one an hour. Nothing here is stored: after a restart the
diagnosis that is stored with a failure tells whether the DNS was at fault, and the first look whether it still is.
Nothing that goes wrong with a look ends the watch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from sptls.certs import dns_watch_rules as rules
from sptls.certs.agenda import Agenda

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from sptls.certs.diagnosis import Finding
    from sptls.certs.precheck_rules import Seen
    from sptls.certs.records import History
    from sptls.names import HostName

_log = Logger()

# A thousand names that fail make so many looks as one does; each is two questions to the resolver, or a few with CAA.
SECONDS_BETWEEN: Final = 1.0
# One that gets no answer takes four seconds.
PARALLEL: Final = 4


class DnsLook(Protocol):
    """
    A look at a name's DNS; it ends in seconds.
    """

    async def look(self, name: HostName, directory: str, *, with_caa: bool) -> tuple[Seen, Sequence[Finding]] | None:
        """
        Give what is to be seen of *name*, and what that means for an order at *directory*'s CA; None for nothing.
        """


class DnsWatch:
    """
    Watches by *look*, from `start` to `stop`; *changed* is called with a name that is to be tried at once.

    *random* gives numbers in [0, 1).
    """

    def __init__(
        self,
        look: DnsLook,
        changed: Callable[[HostName], None],
        clock: IReactorTime,
        random: Callable[[], float],
    ) -> None:
        self._look, self._changed, self._clock, self._random = look, changed, clock, random
        # Internal state
        self._watched: dict[HostName, rules.Watched] = {}
        self._agenda: Agenda[HostName] = Agenda()
        self._running: set[Deferred[None]] = set()
        self._wake: IDelayedCall | None = None
        self._not_before = 0.0
        self._is_running = False

    def start(self, names: Iterable[HostName], histories: Mapping[HostName, History]) -> None:
        """
        Begin with those of *names* whose stored *histories* tell of a failure that the DNS may have to do with.
        """
        self._is_running = True
        self.set_names(names, histories)

    async def stop(self) -> None:
        """
        Look no more, and give up the looks that run.
        """
        self._is_running = False
        if self._wake is not None and self._wake.active():
            self._wake.cancel()
        for looking in list(self._running):
            looking.cancel()

    def set_names(self, names: Iterable[HostName], histories: Mapping[HostName, History]) -> None:
        """
        Watch none but *names* from now on; *histories* are what was stored of new ones.
        """
        wanted = frozenset(names)
        for name in [name for name in self._watched if name not in wanted]:
            self.forget(name)
        for name, history in histories.items():
            found = history.diagnosis
            is_failing = history.consecutive_failures and found is not None and rules.concerns_dns(found)
            if is_failing and found is not None and name in wanted and name not in self._watched:
                self._keep(name, rules.Watched(history.directory, found.code))
        self._turn()

    def failed(self, name: HostName, directory: str, code: str, seen: Seen | None) -> None:
        """
        Watch *name*: an attempt at *directory*'s CA failed while this was *seen* of it; *code* is the diagnosis.
        """
        self._keep(name, rules.failed(self._watched.get(name), directory, code, seen))
        self._turn()

    def forget(self, name: HostName) -> None:
        """
        Watch *name* no more; fine when it is not watched.
        """
        self._watched.pop(name, None)
        self._agenda.drop(name)

    def noticed(self, name: HostName, seen: Seen | None, findings: Iterable[Finding]) -> None:
        """
        Take note of what somebody else has *seen* of *name*, and found in it; nothing where it is not watched.
        """
        watched = self._watched.get(name)
        if watched is None:
            return
        judged = rules.compared(watched, seen, findings)
        self._keep(name, judged.watched)
        if isinstance(judged, rules.Changed):
            _log.info(
                "{name}: its DNS has changed since it failed, it leads to {addresses}; it is tried again at once",
                name=name,
                addresses=judged.found.words,
            )
            self._changed(name)

    def _keep(self, name: HostName, watched: rules.Watched) -> None:
        self._watched[name] = watched
        self._agenda.wait(name, self._clock.seconds() + rules.pause_seconds(watched.looks, self._random()))

    def _turn(self) -> None:
        """
        Look at what is due, as far as there is room, and set the timer for the next moment.
        """
        if not self._is_running:
            return
        now = self._clock.seconds()
        for name in self._agenda.due(now):
            self._agenda.ready(name, 0.0)
        if now >= self._not_before and len(self._running) < PARALLEL:
            name_ready = self._agenda.take_ready()
            if name_ready is not None:
                self._not_before = now + SECONDS_BETWEEN
                self._begin(name_ready)
        self._set_timer()

    def _set_timer(self) -> None:
        now, moment = self._clock.seconds(), self._agenda.next_moment()
        moments = [] if moment is None else [moment]
        if self._agenda.is_anything_ready:
            moments.append(self._not_before)
        if self._wake is not None and self._wake.active():
            self._wake.cancel()
        self._wake = None
        if moments:
            # With no room an ended look is the next turn as well; the timer then comes for nothing.
            self._wake = self._clock.callLater(max(min(moments) - now, 0.0) or SECONDS_BETWEEN, self._turn)

    def _begin(self, name: HostName) -> None:
        looking = Deferred.fromCoroutine(self._look_at(name, self._watched[name]))
        self._running.add(looking)
        looking.addBoth(self._ended, looking, name)

    def _ended(self, result: object, looking: Deferred[None], name: HostName) -> None:
        self._running.discard(looking)
        if isinstance(result, Failure) and not result.check(CancelledError):
            _log.failure("{name}: the look at its DNS broke off", result, name=name)
        self._turn()

    async def _look_at(self, name: HostName, watched: rules.Watched) -> None:
        # Whatever comes of this look, there is a next one.
        self._keep(name, watched)
        looked = await self._look.look(name, watched.directory, with_caa=watched.is_of_caa)
        if self._watched.get(name) is watched:  # otherwise there was an attempt meanwhile, which saw for itself
            self.noticed(name, *(looked or (None, ())))

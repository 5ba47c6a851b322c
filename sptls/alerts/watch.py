"""
Watches the certificates of all names, and has people warned of what `warning_rules` say, once each.

It looks at a name when something became of an attempt for it, and at all of them every ten minutes. Several warnings
of one look are one delivery. What was told is stored when every channel has taken it: after a crash people may hear of
something twice, never not at all. Channels are tried side by side, one that fails is tried again at the next look, and
nothing else waits for either.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

import attrs
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from sptls.alerts.channels import WARNINGS_AT_ONCE
from sptls.certs.records import NOT_WARNED
from sptls.certs.warning_rules import judge
from sptls.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from twisted.internet.interfaces import IDelayedCall

    from sptls.alerts.channels import Channel
    from sptls.certs.records import Warned
    from sptls.certs.warning_rules import CertificateWarning, Kind, Subject
    from sptls.clock import WallClock
    from sptls.config import NotifyConfig
    from sptls.names import HostName

_log = Logger()

# An expiry is warned of days before; whatever is more urgent comes with news of an attempt.
LOOK_AGAIN_SECONDS: Final = 600.0
# News often comes in crowds: an outage of the CA's, a hundred new names.
COLLECTING_SECONDS: Final = 5.0
# So many names are looked at in one go: three milliseconds.
NAMES_AT_ONCE: Final = 200
# At the end of the process, for a delivery that runs: it is not known as told, so the next start repeats it.
STOP_SECONDS: Final = 3.0


class WarningStore(Protocol):
    """
    What is needed of `sptls.certs.store.Store`.
    """

    async def put_warned(self, warned: Mapping[HostName, Warned]) -> None:
        """
        Store what people have been warned of.
        """


@attrs.define(eq=False)
class _Outbox:
    """
    What *channel* has still to deliver; it *is_failing* while it could not the last time.
    """

    channel: Channel
    pending: dict[tuple[HostName, Kind], CertificateWarning] = attrs.field(factory=dict)
    is_failing: bool = False


class CertificateWatch:
    """
    Watches the names that it was told of, from `start` on, where *config* has anybody to be warned.

    *subject* tells how a name is now, None for one that is not served; *make_channels* gives the ways to people.
    """

    def __init__(
        self,
        config: NotifyConfig,
        store: WarningStore,
        subject: Callable[[HostName], Subject | None],
        make_channels: Callable[[NotifyConfig], Sequence[Channel]],
        *,
        reactor: Any,
        wall_clock: WallClock,
    ) -> None:
        self._config, self._store, self._subject, self._make_channels = config, store, subject, make_channels
        self._reactor, self._now = reactor, wall_clock
        # Internal state
        self._names: tuple[HostName, ...] = ()
        # What people know as it is stored, and as it will be when all is delivered.
        self._stored: dict[HostName, Warned] = {}
        self._judged: dict[HostName, Warned] = {}
        self._outboxes: list[_Outbox] = []
        self._news: dict[HostName, None] = {}
        self._next_look = 0.0
        self._wake: IDelayedCall | None = None
        self._working: Deferred[None] | None = None
        self._is_running = self._is_failing = False

    # What others ask for

    def start(self, names: Iterable[HostName], warned: Mapping[HostName, Warned]) -> None:
        """
        Begin to watch *names*, of which people have been *warned* as was stored; the first look is in a moment.
        """
        self._is_running = True
        self._names, self._stored = tuple(names), dict(warned)
        self._begin()

    def set_names(self, names: Iterable[HostName], warned: Mapping[HostName, Warned]) -> None:
        """
        Watch exactly *names* from now on; *warned* is what was stored of new ones.
        """
        before, self._names = set(self._names), tuple(names)
        kept = set(self._names)
        for name in kept - before:
            if name in warned:
                self._stored[name] = warned[name]
        for name in before - kept:
            self._stored.pop(name, None)
            self._judged.pop(name, None)
        for outbox in self._outboxes:
            outbox.pending = {key: one for key, one in outbox.pending.items() if key[0] in kept}
        self._news.update(dict.fromkeys(kept - before))
        self._set_timer()

    def configure(self, config: NotifyConfig) -> None:
        """
        Go on with *config*: what is not delivered yet goes to its channels.
        """
        if config != self._config:
            self._config = config
            if self._working is not None:
                self._working.cancel()
            self._begin()

    def changed(self, name: HostName) -> None:
        """
        Look at *name* soon: something became of an attempt.
        """
        if self._outboxes:
            is_first, self._news[name] = not self._news, None
            if is_first:  # those that follow do not put the look off
                self._set_timer()

    async def stop(self) -> None:
        """
        End within `STOP_SECONDS`; a delivery that runs is broken off.
        """
        self._is_running = False
        self._cancel_timer()
        if self._working is not None:
            self._working.cancel()
            with suppress(DeferredTimeoutError):
                if self._working is not None:
                    await self._working.addTimeout(STOP_SECONDS, self._reactor)

    # The work

    def _begin(self) -> None:
        """
        Look at everything soon, knowing only what is stored as told.
        """
        self._outboxes = [_Outbox(channel) for channel in self._make_channels(self._config)]
        self._judged.clear()
        self._news.clear()
        self._next_look = self._reactor.seconds() + COLLECTING_SECONDS
        self._set_timer()

    def _turn(self) -> None:
        self._cancel_timer()
        if self._working is None and self._is_running and self._outboxes:
            self._working = Deferred.fromCoroutine(self._work(self._outboxes))
            self._working.addBoth(self._worked)

    def _worked(self, result: object) -> None:
        self._working = None
        if isinstance(result, Failure) and not result.check(CancelledError):
            _log.failure("warning people broke off; it goes on at the next look", result)
        self._set_timer()

    async def _work(self, outboxes: list[_Outbox]) -> None:
        names: Sequence[HostName] = tuple(self._news)
        is_look = self._reactor.seconds() >= self._next_look
        if is_look:
            names, self._next_look = self._names, self._reactor.seconds() + LOOK_AGAIN_SECONDS
        self._news.clear()
        for first in range(0, len(names), NAMES_AT_ONCE):
            if first:
                await deferLater(self._reactor, 0)
            for name in names[first : first + NAMES_AT_ONCE]:
                self._look_at(name, outboxes)
        due = [outbox for outbox in outboxes if outbox.pending and (is_look or not outbox.is_failing)]
        await DeferredList([Deferred.fromCoroutine(self._deliver(outbox)) for outbox in due])
        await self._note(outboxes)

    def _look_at(self, name: HostName, outboxes: list[_Outbox]) -> None:
        subject = self._subject(name)
        if subject is None:
            return
        before = self._judged.get(name, self._stored.get(name, NOT_WARNED))
        found, after = judge(subject, before, self._now())
        if after != before:
            self._judged[name] = after
        for warning in found:
            for outbox in outboxes:
                outbox.pending[name, warning.kind] = warning

    async def _deliver(self, outbox: _Outbox) -> None:
        """
        Deliver what is pending, or say once that it can't be; raises nothing.
        """
        while outbox.pending:
            some = dict(list(outbox.pending.items())[:WARNINGS_AT_ONCE])
            try:
                failed = await outbox.channel.deliver(list(some.values()))
            except CancelledError:
                return
            except Exception:  # noqa: BLE001 - whatever it is, the other channel and the next look go on
                _log.failure("warnings could not be delivered")
                failed = "warnings could not be delivered"
            if failed:
                if not outbox.is_failing:
                    _log.error("{failed}; they are kept and tried again every ten minutes", failed=failed)
                outbox.is_failing = True
                return
            outbox.is_failing = False
            _log.info("warnings delivered: {count}", count=len(some))
            for key, warning in some.items():
                if outbox.pending.get(key) is warning:  # and not one that came meanwhile
                    del outbox.pending[key]

    async def _note(self, outboxes: list[_Outbox]) -> None:
        """
        Store what people know now: all of a name that no channel has still to tell.
        """
        waiting = {name for outbox in outboxes for name, _ in outbox.pending}
        known = {name: warned for name, warned in self._judged.items() if name not in waiting}
        if not known:
            return
        try:
            await self._store.put_warned(known)
        except StoreError as error:
            if not self._is_failing:
                _log.error("{error}; until then a restart may warn people once more", error=error)
            self._is_failing = True
            return
        self._is_failing = False
        for name, warned in known.items():
            self._stored[name] = warned
            if self._judged.get(name) == warned:
                del self._judged[name]

    # The timer

    def _set_timer(self) -> None:
        self._cancel_timer()
        if self._is_running and self._working is None and self._outboxes:
            seconds = max(0.0, self._next_look - self._reactor.seconds())
            self._wake = self._reactor.callLater(
                min(seconds, COLLECTING_SECONDS) if self._news else seconds, self._turn
            )

    def _cancel_timer(self) -> None:
        if self._wake is not None and self._wake.active():
            self._wake.cancel()
        self._wake = None

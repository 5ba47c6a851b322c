"""
Reading the configuration again while serving: what SIGHUP does.

All that the new file names (own certificates, roots, the external account's key) is read first, in a thread; only when
nothing is wrong with any of it do the parts go over to it. A faulty file leaves the old configuration in force and says
so, in the log and in the status. What can change without a restart is `config_change`'s to decide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from sptls import config_change
from sptls.certs.own import OwnCertificates
from sptls.clock import wall_time
from sptls.errors import ConfigError, SptlsError
from sptls.keeping import trust_roots
from sptls.ops.status import Reading

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sptls.config import Config
    from sptls.config_change import ConfigChange
    from sptls.config_source import ConfigSource
    from sptls.keeping import TrustRoots
    from sptls.parts import Parts
    from sptls.threads import InThread

_log = Logger()

# How many names of a kind the log has; a reload may bring a hundred thousand.
_NAMES_TOLD = 10


@attrs.frozen
class _Prepared:
    """
    A change with everything read that it needs.
    """

    change: ConfigChange
    own: OwnCertificates
    trust: TrustRoots


class Reloading:
    """
    Has *parts* go over to what *source* says now, whenever it is asked to; one reading at a time.

    *told* gets what came of each reading.
    """

    def __init__(
        self,
        reactor: Any,
        parts: Parts,
        source: ConfigSource,
        in_thread: InThread,
        told: Callable[[Reading], None],
    ) -> None:
        self._reactor, self._parts, self._source, self._in_thread, self._told = reactor, parts, source, in_thread, told
        self._reading: Deferred[None] | None = None
        self._is_asked_again = False
        self._is_paused = False

    def ask(self) -> None:
        """
        Read again; asked while it reads, it reads once more afterwards, since the file may have changed meanwhile.
        """
        if self._reading is not None or self._is_paused:
            self._is_asked_again = True
            return
        self._reading = Deferred.fromCoroutine(self._read())
        self._reading.addBoth(self._ended)

    async def stop(self) -> None:
        """
        Give up a reading that has not come into force.
        """
        self._is_asked_again = False
        if self._reading is not None:
            self._reading.cancel()

    def pause(self) -> None:
        """
        Put off until `go_on` a reading that has not come into force, and those that are asked for meanwhile.
        """
        self._is_paused = True
        if self._reading is not None:
            self._is_asked_again = True
            self._reading.cancel()

    def go_on(self) -> None:
        """
        Read again, if that was put off.
        """
        self._is_paused = False
        self._ended(None)

    def _ended(self, _: object) -> None:
        self._reading = None
        if self._is_asked_again and not self._is_paused:
            self._is_asked_again = False
            self.ask()

    async def _read(self) -> None:
        try:
            prepared = await self._in_thread(self._prepare)
            await self._parts.change(prepared.change.config, prepared.own, prepared.trust)
        except CancelledError:
            return
        except ConfigError as error:
            self._refuse(tuple(str(fault) for fault in error.faults))
        except SptlsError as error:
            self._refuse((str(error),))
        except Exception:  # noqa: BLE001 - whatever it is, serving goes on, and the next reading may succeed
            _log.failure("the configuration could not be read again; what was in force stays so")
            self._refuse(("an unexpected fault; the log has the traceback",))
        else:
            _log_change(prepared.change)
            self._told(Reading(wall_time(), needs_restart=prepared.change.needs_restart))

    def _prepare(self) -> _Prepared:
        """
        Read everything, blocking.
        """
        change = config_change.change(self._parts.config, self._source.load())
        config = change.config
        own = OwnCertificates(config.domains, clock=self._reactor, wall_clock=wall_time, in_thread=self._in_thread)
        faults = own.load()
        if faults:
            raise ConfigError(faults)
        check_external_accounts(config)
        prepared = _Prepared(change, own, trust_roots(config))
        self._source.remember(config)
        return prepared

    def _refuse(self, faults: tuple[str, ...]) -> None:
        _log.error("the configuration was read again and can't be used; the old one stays in force")
        for fault in faults:  # a line each: in the log, a line's end within an event is written as \n
            _log.error("can't be used: {fault}", fault=fault)
        self._told(Reading(wall_time(), faults=faults))


def check_external_accounts(config: Config) -> None:
    """
    Read the key of each CA's external account, so that a bad one is said now and not at the first order.

    Raises:
        ConfigError: one can't be used.
    """
    if any(acme.eab is not None for acme in config.cas):
        from sptls.acme.account import external_account_faults

        faults = external_account_faults(config.placed_cas)
        if faults:
            raise ConfigError(faults)


def _log_change(change: ConfigChange) -> None:
    parts = [
        f"{len(names)} {word} ({', '.join(name.text for name in names[:_NAMES_TOLD])}"
        f"{', …' if len(names) > _NAMES_TOLD else ''})"
        for word, names in (("added", change.added), ("changed", change.changed), ("removed", change.removed))
        if names
    ]
    _log.info(
        "the configuration was read again; domains: {domains}; other changes: {settings}",
        domains=", ".join(parts) or "unchanged",
        settings=", ".join(change.settings) or "none",
    )
    if change.needs_restart:
        _log.warn(
            "these changes need a restart, the old values stay in force: {places}",
            places=", ".join(change.needs_restart),
        )

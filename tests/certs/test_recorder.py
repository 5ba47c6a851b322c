from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from sptls.certs.recorder import SAVE_AGAIN_SECONDS, Recorder
from sptls.certs.records import NO_ENTRIES, NO_HISTORY, History, Loaded, StoredCertificate
from sptls.errors import BadCertificate, StoreError
from tests.certs.authority import NOW
from tests.certs.stored import CA, CLICK, outcome, stored

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sptls.names import HostName

FAILING = History(2, NOW + timedelta(minutes=5), (NOW,), "dead", None, CA)
FULL = StoreError("/var/lib/sptls/store.db", "the disk is full")


@attrs.define
class Disk:
    """
    A store that can be full, slow or broken; it notes what was written.
    """

    error: Exception | None = None
    slow: Deferred[None] | None = None
    written: list[object] = attrs.field(factory=list)

    async def load(self) -> Loaded:
        """
        Give nothing.
        """
        return Loaded()

    async def put_certificate(
        self, certificate: StoredCertificate, history: History, limits: Mapping[str, Mapping[str, float]] = NO_ENTRIES
    ) -> None:
        """
        Write a certificate, and what changed in ledgers with it.
        """
        await self._write((certificate, history, dict(limits)) if limits else (certificate, history))

    async def put_history(
        self, name: HostName, history: History, limits: Mapping[str, Mapping[str, float]] = NO_ENTRIES
    ) -> None:
        """
        Write a history, and what changed in ledgers with it.
        """
        await self._write((name, history, dict(limits)) if limits else (name, history))

    async def put_due(self, name: HostName, serial: str, renew_at: datetime) -> None:
        """
        Write when a certificate is due.
        """
        await self._write((name, serial, renew_at))

    async def put_limits(self, directory: str, entries: Mapping[str, float]) -> None:
        """
        Write a ledger's entries.
        """
        await self._write((directory, dict(entries)))

    async def set_aside(self, name: HostName, reason: str) -> None:
        """
        Write that a certificate is set aside.
        """
        await self._write((name, reason))

    async def _write(self, what: object) -> None:
        if self.slow is not None:
            await self.slow
        if self.error is not None:
            raise self.error
        self.written.append(what)


def test_records_are_written_at_once() -> None:
    """
    With a disk that works nothing is left to do.
    """
    disk, clock = Disk(), Clock()
    recorder = Recorder(disk, clock)
    outcome(recorder.certificate(stored(), NO_HISTORY))
    assert None is outcome(recorder.history(CLICK, FAILING))
    assert ([(stored(), NO_HISTORY), (CLICK, FAILING)], []) == (disk.written, clock.getDelayedCalls())


def test_certificate_is_written_when_the_disk_has_room_again() -> None:
    """
    What the disk did not take is tried every minute until it does, and the log says both once.
    """
    disk, clock = Disk(FULL), Clock()
    recorder = Recorder(disk, clock)
    with capturedLogs() as events:
        outcome(recorder.certificate(stored(), NO_HISTORY))
        clock.pump([SAVE_AGAIN_SECONDS] * 3)
        disk.error = None
        clock.advance(SAVE_AGAIN_SECONDS)
    assert [(stored(), NO_HISTORY)] == disk.written
    assert ["error", "info"] == [event["log_level"].name for event in events]
    assert [] == clock.getDelayedCalls()


def test_later_history_does_not_displace_an_unwritten_certificate() -> None:
    """
    The certificate is written with the newest history.
    """
    disk, clock = Disk(FULL), Clock()
    recorder = Recorder(disk, clock)
    outcome(recorder.certificate(stored(), NO_HISTORY))
    assert FULL is outcome(recorder.history(CLICK, FAILING))
    disk.error = None
    clock.advance(SAVE_AGAIN_SECONDS)
    assert [(stored(), FAILING)] == disk.written


def test_history_that_gets_through_takes_the_certificate_along() -> None:
    """
    The first write that the disk takes for a name writes all that was not written of it.
    """
    disk, clock = Disk(FULL), Clock()
    recorder = Recorder(disk, clock)
    outcome(recorder.certificate(stored(), NO_HISTORY))
    disk.error = None
    outcome(recorder.history(CLICK, FAILING))
    clock.advance(SAVE_AGAIN_SECONDS)
    assert [(stored(), FAILING)] == disk.written


def test_newer_certificate_displaces_an_unwritten_one() -> None:
    """
    When a newer certificate was written, the older one is not written over it.
    """
    disk, clock = Disk(FULL), Clock()
    recorder = Recorder(disk, clock)
    newer = attrs.evolve(stored(), renew_at=NOW)
    outcome(recorder.certificate(stored(), NO_HISTORY))
    disk.error = None
    outcome(recorder.certificate(newer, NO_HISTORY))
    clock.advance(SAVE_AGAIN_SECONDS)
    assert [(newer, NO_HISTORY)] == disk.written


def test_newer_record_during_a_late_write_is_not_lost() -> None:
    """
    What comes while an older record is being written is written after it.
    """
    disk, clock = Disk(FULL), Clock()
    recorder = Recorder(disk, clock)
    outcome(recorder.history(CLICK, FAILING))
    disk.error, disk.slow = None, Deferred()
    clock.advance(SAVE_AGAIN_SECONDS)
    disk.error, slow, disk.slow = FULL, disk.slow, None
    outcome(recorder.history(CLICK, NO_HISTORY))
    disk.error = None
    slow.callback(None)
    clock.advance(SAVE_AGAIN_SECONDS)
    assert [(CLICK, FAILING), (CLICK, NO_HISTORY)] == disk.written


def test_certificate_that_expired_unwritten_is_dropped() -> None:
    """
    A certificate that the store refuses by now does not keep the history from being written.
    """

    @attrs.define
    class Late(Disk):
        async def put_certificate(
            self,
            certificate: StoredCertificate,
            history: History,
            limits: Mapping[str, Mapping[str, float]] = NO_ENTRIES,
        ) -> None:
            if self.error is None:
                raise BadCertificate("expired")
            raise self.error

    disk, clock = Late(FULL), Clock()
    recorder = Recorder(disk, clock)
    outcome(recorder.certificate(stored(), FAILING))
    disk.error = None
    clock.advance(SAVE_AGAIN_SECONDS)
    assert ([(CLICK, FAILING)], []) == (disk.written, clock.getDelayedCalls())


def test_bad_certificate_is_not_kept() -> None:
    """
    A certificate that can't be served is the caller's matter, not the disk's.
    """
    clock = Clock()
    recorder = Recorder(Disk(BadCertificate("expired")), clock)
    with pytest.raises(BadCertificate):
        outcome(recorder.certificate(stored(), NO_HISTORY))
    assert [] == clock.getDelayedCalls()


LEDGER = {CA: {"orders": 1.0}}


def test_certificate_and_its_limits_are_one_write() -> None:
    """
    A crash leaves both or none, also where the disk took it late, with what the ledger was to have before.
    """
    disk, clock = Disk(), Clock()
    recorder = Recorder(disk, clock)
    outcome(recorder.certificate(stored(), NO_HISTORY, LEDGER))
    disk.error = FULL
    outcome(recorder.certificate(stored(), FAILING, LEDGER))
    recorder.limits(CA, {"name a": 2.0})
    disk.error = None
    clock.advance(SAVE_AGAIN_SECONDS)
    both = {CA: {"orders": 1.0, "name a": 2.0}}
    assert [(stored(), NO_HISTORY, LEDGER), (stored(), FAILING, both)] == disk.written


def test_history_that_takes_the_certificate_along_writes_the_limits_with_it() -> None:
    """
    As one write.
    """
    disk, clock = Disk(FULL), Clock()
    recorder = Recorder(disk, clock)
    outcome(recorder.certificate(stored(), NO_HISTORY, LEDGER))
    disk.error = None
    outcome(recorder.history(CLICK, FAILING, {CA: {"name a": 2.0}}))
    assert [(stored(), FAILING, {CA: {"orders": 1.0, "name a": 2.0}})] == disk.written


def test_limits_of_a_bad_certificate_go_with_what_is_written_next() -> None:
    """
    It was ordered all the same.
    """
    disk = Disk(BadCertificate("expired"))
    recorder = Recorder(disk, Clock())
    with pytest.raises(BadCertificate):
        outcome(recorder.certificate(stored(), NO_HISTORY, LEDGER))
    disk.error = None
    outcome(recorder.history(CLICK, FAILING, {CA: {}}))
    assert [(CLICK, FAILING, LEDGER)] == disk.written


def test_forgotten_name_is_not_written() -> None:
    """
    What was not written of a name that is gone is not written later.
    """
    disk, clock = Disk(FULL), Clock()
    recorder = Recorder(disk, clock)
    outcome(recorder.history(CLICK, FAILING))
    recorder.forget(CLICK)
    disk.error = None
    clock.advance(SAVE_AGAIN_SECONDS)
    assert [] == disk.written


@pytest.mark.parametrize("error", [None, FULL])
def test_damaged_certificate_is_set_aside_with_its_history(error: Exception | None) -> None:
    """
    It is set aside in the background; when the disk does not take it, the log says so and the history waits.
    """
    disk, clock = Disk(error), Clock()
    with capturedLogs() as events:
        Recorder(disk, clock).set_aside(CLICK, "odd", FAILING)
    assert ([(CLICK, "odd"), (CLICK, FAILING)] if error is None else []) == disk.written
    assert (0 if error is None else 2) == len(events)


def test_last_write_is_waited_for() -> None:
    """
    At the end what is unwritten is tried once more, and whoever stops can wait for it.
    """
    disk, clock = Disk(FULL), Clock()
    recorder = Recorder(disk, clock)
    outcome(recorder.history(CLICK, FAILING))
    disk.error, disk.slow = None, Deferred()
    (last,) = recorder.finish()
    assert not last.called
    disk.slow.callback(None)
    assert ([(CLICK, FAILING)], True, []) == (disk.written, last.called, clock.getDelayedCalls())


def test_disk_that_stays_full_ends_all_the_same() -> None:
    """
    At the end nothing is scheduled any more.
    """
    clock = Clock()
    recorder = Recorder(Disk(FULL), clock)
    outcome(recorder.history(CLICK, FAILING))
    recorder.finish()
    assert [] == clock.getDelayedCalls()


def test_nothing_unwritten_ends_at_once() -> None:
    """
    Without anything to write there is nothing to wait for.
    """
    assert [] == Recorder(Disk(), Clock()).finish()


def test_fault_in_the_background_is_logged() -> None:
    """
    An error that nobody foresaw does not go unseen.
    """
    with capturedLogs() as events:
        Recorder(Disk(ZeroDivisionError()), Clock()).set_aside(CLICK, "odd", FAILING)
    assert ["a write to the store broke off"] == [event["log_format"] for event in events]


def test_limits_that_the_disk_did_not_take_go_with_the_next() -> None:
    """
    Nothing is lost and the newest counts; what is left at the end is tried once more.
    """
    disk = Disk(error=FULL)
    recorder = Recorder(disk, Clock())
    recorder.limits("ca", {})
    recorder.limits("ca", {"orders": 1.0, "name a": 1.0})
    disk.error = None
    recorder.limits("ca", {"orders": 2.0})
    assert [("ca", {"orders": 2.0, "name a": 1.0})] == disk.written
    disk.error = FULL
    recorder.limits("ca", {"orders": 3.0})
    disk.error = None
    assert [] == recorder.finish()
    assert ("ca", {"orders": 3.0}) == disk.written[-1]


SPENT = {CA: {"orders": 60.0}}


def test_history_and_ledger_are_one_write() -> None:
    """
    A restart finds both or neither; what an earlier write could not store of the ledger goes with them.
    """
    disk, clock = Disk(FULL), Clock()
    recorder = Recorder(disk, clock)
    recorder.limits(CA, {"orders": 30.0, "name a": 5.0})
    disk.error = None
    assert outcome(recorder.history(CLICK, FAILING, SPENT)) is None
    recorder.corrected(CLICK, NO_HISTORY, {CA: {}})
    assert [(CLICK, FAILING, {CA: {"orders": 60.0, "name a": 5.0}}), (CLICK, NO_HISTORY, {CA: {}})] == disk.written


def test_ledger_that_the_disk_did_not_take_with_a_history_is_written_later() -> None:
    """
    With the next that is written of that ledger, beside a certificate too.
    """
    disk, clock = Disk(FULL), Clock()
    recorder = Recorder(disk, clock)
    outcome(recorder.certificate(stored(), NO_HISTORY))
    assert FULL is outcome(recorder.history(CLICK, FAILING, SPENT))
    disk.error = None
    outcome(recorder.history(CLICK, NO_HISTORY, {CA: {"name a": 5.0}}))
    assert [(stored(), NO_HISTORY, {CA: {"orders": 60.0, "name a": 5.0}})] == disk.written


def test_moment_of_a_renewal_is_written_or_the_log_says_so() -> None:
    """
    An operator's wish survives a restart; where the disk does not take it, the log tells that it would not.
    """
    disk = Disk()
    recorder = Recorder(disk, Clock())
    recorder.due(stored())
    assert [(CLICK, stored().bundle.serial, stored().renew_at)] == disk.written
    disk.error = FULL
    with capturedLogs() as events:
        recorder.due(stored())
    assert "would not remember that click.example.com is to be renewed now" in formatEvent(events[0])

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from sptls.certs.records import NOT_DEPLOYED, Deployment
from sptls.deploy.ledger import SAVE_AGAIN_SECONDS, Ledger
from sptls.names import HostName
from tests.certs.stored import CLICK, outcome
from tests.deploy.doubles import Disk

OTHER = HostName("other.example.com")


def test_what_is_new_is_stored_together() -> None:
    """
    One write takes all that changed; what did not change is not written.
    """
    disk = Disk()
    ledger = Ledger(disk, Clock())
    ledger.load({OTHER: Deployment("0b")})
    ledger.put(CLICK, Deployment("0a"))
    ledger.put(OTHER, Deployment("0b"))
    outcome(ledger.save())
    outcome(ledger.save())
    assert ({CLICK: Deployment("0a")}, 1) == (disk.stored, disk.writes)
    assert (Deployment("0b"), NOT_DEPLOYED) == (ledger.get(OTHER), ledger.get(HostName("third.example")))
    assert ledger.seconds_to_save() is None


def test_what_a_full_disk_did_not_take_is_stored_later() -> None:
    """
    It stays in memory, the log says so once, and a later call stores what is true then.
    """
    disk, clock = Disk(), Clock()
    ledger = Ledger(disk, clock)
    disk.is_full = True
    with capturedLogs() as events:
        for serial in ("0a", "0b"):
            ledger.put(CLICK, Deployment(serial))
            outcome(ledger.save())
    assert 1 == len(events)
    assert (Deployment("0b"), SAVE_AGAIN_SECONDS) == (ledger.get(CLICK), ledger.seconds_to_save())
    clock.advance(2 * SAVE_AGAIN_SECONDS)
    assert 0.0 == ledger.seconds_to_save()
    disk.is_full = False
    outcome(ledger.save())
    assert ({CLICK: Deployment("0b")}, None) == (disk.stored, ledger.seconds_to_save())


def test_what_changes_during_a_write_is_written_by_the_next() -> None:
    """
    A name that comes further while the disk is at work is not taken for stored.
    """

    class Slow(Disk):
        async def put_deployments(self, deployments: Mapping[HostName, Deployment]) -> None:
            """
            Take *deployments*, while the name comes further.
            """
            await super().put_deployments(deployments)
            ledger.put(CLICK, Deployment("0b"))

    disk = Slow()
    ledger = Ledger(disk, Clock())
    ledger.put(CLICK, Deployment("0a"))
    outcome(ledger.save())
    assert (Deployment("0a"), 0.0) == (disk.stored[CLICK], ledger.seconds_to_save())
    outcome(ledger.save())
    assert (Deployment("0b"), None) == (disk.stored[CLICK], ledger.seconds_to_save())

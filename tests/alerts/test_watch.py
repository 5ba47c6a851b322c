from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from sptls.alerts.channels import WARNINGS_AT_ONCE
from sptls.alerts.watch import COLLECTING_SECONDS, LOOK_AGAIN_SECONDS, NAMES_AT_ONCE, STOP_SECONDS, CertificateWatch
from sptls.certs.bundle import CertificateBundle
from sptls.certs.records import Warned
from sptls.certs.warning_rules import Subject
from sptls.config import NotifyConfig
from sptls.names import HostName
from tests.alerts.doubles import Disk, Way
from tests.certs.authority import NOW
from tests.certs.stored import outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.logger import LogEvent

A, B = HostName("a.example"), HostName("b.example")
DAY = timedelta(days=1)
SOME = NotifyConfig(("/bin/true",))


def served(name: HostName, serial: str = "0a") -> Subject:
    """
    Give *name* with a certificate of 90 days, renewed in time.
    """
    bundle = CertificateBundle(b"", (b"",), (name,), NOW, NOW + 90 * DAY, "CN=Test", serial)
    return Subject(name, bundle, NOW + 60 * DAY)


class World:
    """
    Names as they are, two ways to people, and daemons that come and go.
    """

    def __init__(self) -> None:
        self.clock, self.disk, self.one, self.other = Clock(), Disk(), Way(), Way()
        self.subjects: dict[HostName, Subject] = {A: served(A), B: served(B)}
        self.watch: CertificateWatch
        self.start()

    def now(self) -> datetime:
        """
        Give the wall clock's moment.
        """
        return NOW + timedelta(seconds=self.clock.seconds())

    def channels(self, config: NotifyConfig) -> list[Way]:
        """
        Give both ways where a command is configured, one for a webhook alone.
        """
        return [self.one, self.other] if config.command else [self.other] if config.webhook else []

    def start(self, config: NotifyConfig = SOME) -> None:
        """
        Start a daemon on what is stored.
        """
        self.watch = CertificateWatch(
            config, self.disk, self.subjects.get, self.channels, reactor=self.clock, wall_clock=self.now
        )
        self.watch.start(list(self.subjects), self.disk.stored)

    def stop(self) -> None:
        """
        Stop it.
        """
        outcome(self.watch.stop())
        assert [] == self.clock.getDelayedCalls()

    def fail(self, name: HostName = A) -> None:
        """
        Have an attempt for *name* fail.
        """
        self.subjects[name] = attrs.evolve(self.subjects[name], is_failing=True)
        self.watch.changed(name)

    def run(self, seconds: float = COLLECTING_SECONDS) -> None:
        """
        Let time pass, every timer at its own moment.
        """
        until = self.clock.seconds() + seconds
        while (calls := self.clock.getDelayedCalls()) and (at := min(call.getTime() for call in calls)) <= until:
            self.clock.advance(max(0.0, at - self.clock.seconds()))
        self.clock.advance(until - self.clock.seconds())


@pytest.fixture
def world() -> World:
    """
    A daemon that runs, and has looked once.
    """
    world = World()
    world.run()
    return world


def messages(events: Sequence[LogEvent]) -> list[str]:
    """
    Give what was logged.
    """
    return [str(event["log_format"]).format(**event) for event in events]


def test_nothing_amiss_is_no_news(world: World) -> None:
    """
    Look after look.
    """
    world.run(10 * LOOK_AGAIN_SECONDS)
    assert ([], {}) == (world.one.deliveries, world.disk.stored)
    world.stop()


def test_failures_of_a_moment_are_one_delivery(world: World) -> None:
    """
    To each channel; further attempts that fail are no news, also after a restart.
    """
    world.fail(A)
    world.run(COLLECTING_SECONDS / 2)
    world.fail(B)
    world.run(COLLECTING_SECONDS / 2)
    assert [["a.example failing", "b.example failing"]] == world.one.deliveries == world.other.deliveries
    assert {A: Warned("0a", 0, True), B: Warned("0a", 0, True)} == world.disk.stored
    world.fail(A)
    world.run(2 * LOOK_AGAIN_SECONDS)
    world.stop()
    world.start()
    world.run(2 * LOOK_AGAIN_SECONDS)
    assert (1, 1) == (world.one.tries, world.other.tries)
    world.stop()


def test_recovery_is_told(world: World) -> None:
    """
    Once, and then a failure is news again.
    """
    world.fail()
    world.run()
    world.subjects[A] = served(A, "0b")
    world.watch.changed(A)
    world.run()
    world.fail()
    world.run()
    assert [["a.example failing"], ["a.example recovered"], ["a.example failing"]] == world.one.deliveries
    world.stop()


def test_expiry_is_found_by_looking(world: World) -> None:
    """
    Nothing happens to a name whose renewal never begins.
    """
    world.run(69 * 86400 - LOOK_AGAIN_SECONDS)
    assert [] == world.one.deliveries
    world.run(2 * LOOK_AGAIN_SECONDS)
    assert [["a.example expiring", "b.example expiring"]] == world.one.deliveries
    world.run(21 * 86400)
    assert 3 == len(world.one.deliveries)
    world.stop()


def test_one_channel_does_not_wait_for_the_other(world: World) -> None:
    """
    What one could not deliver it is given again at the next look; the other has nothing twice. It is said once.
    """
    world.one.closed = "the notify command failed"
    with capturedLogs() as events:
        world.fail()
        world.run(2.5 * LOOK_AGAIN_SECONDS)
    assert ([["a.example failing"]], {}) == (world.other.deliveries, world.disk.stored)
    assert 3 == world.one.tries
    assert 1 == len([message for message in messages(events) if "the notify command failed" in message])
    world.fail(B)
    world.run()
    assert 3 == world.one.tries
    world.one.closed = ""
    world.run(LOOK_AGAIN_SECONDS)
    assert [["a.example failing", "b.example failing"]] == world.one.deliveries
    assert {A, B} == set(world.disk.stored)
    world.stop()


def test_what_was_not_delivered_is_told_after_a_restart(world: World) -> None:
    """
    It was not known as told.
    """
    world.one.closed = "closed"
    world.fail()
    world.run()
    world.stop()
    world.one.closed = ""
    world.start()
    world.run()
    assert [["a.example failing"]] == world.one.deliveries
    world.stop()


def test_a_fault_of_ours_ends_nothing(world: World) -> None:
    """
    It is logged with its traceback, and the warning is kept.
    """
    world.one.error = RuntimeError("boom")
    with capturedLogs() as events:
        world.fail()
        world.run()
    assert any("log_failure" in event for event in events)
    world.one.error = None
    world.run(LOOK_AGAIN_SECONDS)
    assert [["a.example failing"]] == world.one.deliveries
    world.stop()


def test_a_fault_in_a_look_ends_nothing(world: World) -> None:
    """
    The next one is in ten minutes.
    """
    sound, world.watch._subject = world.watch._subject, lambda name: 1 / 0  # type: ignore[assignment,return-value] # a fault
    with capturedLogs() as events:
        world.fail()
        world.run()
    assert ["warning people broke off; it goes on at the next look"] == messages(events)
    world.watch._subject = sound
    world.run(LOOK_AGAIN_SECONDS)
    assert [["a.example failing"]] == world.one.deliveries
    world.stop()


def test_news_that_comes_while_a_delivery_runs_is_delivered_next(world: World) -> None:
    """
    A channel is asked one thing at a time.
    """
    world.one.hanging = Deferred()
    world.fail(A)
    world.run()
    world.fail(B)
    world.run()
    assert (1, 1) == (world.one.tries, world.other.tries)
    hanging, world.one.hanging = world.one.hanging, None
    hanging.callback("")
    world.run()
    assert [["a.example failing"], ["b.example failing"]] == world.one.deliveries == world.other.deliveries
    world.stop()


def test_many_warnings_are_several_deliveries() -> None:
    """
    And many names several goes, between which the reactor does other things.
    """
    world = World()
    names = [HostName(f"{number}.example") for number in range(WARNINGS_AT_ONCE + NAMES_AT_ONCE)]
    world.subjects = {name: attrs.evolve(served(name), is_failing=True) for name in names}
    world.stop()
    world.start()
    world.run()
    assert [WARNINGS_AT_ONCE, NAMES_AT_ONCE] == [len(delivery) for delivery in world.one.deliveries]
    world.stop()


def test_full_disk_is_said_once_and_nobody_is_warned_twice(world: World) -> None:
    """
    Until a restart.
    """
    world.disk.is_full = True
    with capturedLogs() as events:
        world.fail()
        world.run(3 * LOOK_AGAIN_SECONDS)
    assert 1 == len([message for message in messages(events) if "may warn people once more" in message])
    assert 1 == world.one.tries
    world.disk.is_full = False
    world.run(LOOK_AGAIN_SECONDS)
    assert {A: Warned("0a", 0, True)} == world.disk.stored
    world.stop()


def test_nobody_to_be_warned_costs_nothing() -> None:
    """
    No look is made; once somebody is configured, all that is amiss is told.
    """
    world = World()
    world.watch.configure(NotifyConfig())
    assert [] == world.clock.getDelayedCalls()
    world.fail()
    world.run(2 * LOOK_AGAIN_SECONDS)
    world.watch.configure(NotifyConfig(webhook="https://hook.example/"))
    world.run()
    assert ([], [["a.example failing"]]) == (world.one.deliveries, world.other.deliveries)
    world.stop()


def test_what_is_not_delivered_goes_to_the_new_channels(world: World) -> None:
    """
    A delivery that runs is broken off; the same configuration again changes nothing.
    """
    world.one.hanging = Deferred()
    world.fail()
    world.run()
    world.watch.configure(SOME)
    assert not world.one.hanging.called
    world.watch.configure(NotifyConfig(webhook="https://hook.example/"))
    assert world.one.hanging.called
    world.run(LOOK_AGAIN_SECONDS)
    assert [] == world.one.deliveries
    assert {A: Warned("0a", 0, True)} == world.disk.stored
    world.stop()


def test_names_come_and_go(world: World) -> None:
    """
    Of one that goes nothing more is told; one that comes is known as it was stored.
    """
    c, d = HostName("c.example"), HostName("d.example")
    world.one.closed = "closed"
    world.fail(A)
    world.run()
    for name in (c, d):
        world.subjects[name] = attrs.evolve(served(name), is_failing=True)
    world.watch.set_names([B, c, d, HostName("unserved.example")], {c: Warned("0a", 0, True), A: Warned("0a")})
    world.one.closed = ""
    world.run(LOOK_AGAIN_SECONDS)
    assert [["d.example failing"]] == world.one.deliveries
    world.stop()


def test_the_end_waits_for_nobody(world: World) -> None:
    """
    A delivery is broken off, and one that can't be is waited for a few seconds.
    """
    world.one.hanging = Deferred(lambda _: None)
    world.one.hanging.addErrback(lambda failure: Deferred())  # what was cancelled goes on
    world.fail()
    world.run()
    stopping = Deferred.fromCoroutine(world.watch.stop())
    assert not stopping.called
    world.run(STOP_SECONDS)
    assert stopping.called
    assert [] == world.clock.getDelayedCalls()

"""
Tests for `sptls.certs.dns_watch`, by a clock that the test turns.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs

from sptls.certs.diagnosis import Diagnosis, Finding, Who
from sptls.certs.dns_watch import PARALLEL, DnsWatch
from sptls.certs.dns_watch_rules import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS
from sptls.certs.precheck_rules import Answer, Seen
from sptls.certs.records import History
from sptls.names import HostName
from tests.certs.stored import CA, CLICK, outcome

OTHER = HostName("other.example.com")
DNS = Diagnosis("dns-elsewhere", Who.CUSTOMER, "it leads elsewhere", "point it here")
DISK = Diagnosis("store", Who.HOST, "the disk is full", "look at it")
# The clock steps in whole seconds.
STEP_SECONDS = 1.0


def leads(address: str) -> Seen:
    """
    Give what is seen of a name that leads to *address*.
    """
    return Seen(Answer(addresses=(address,)), Answer())


OLD, NEW = leads("198.51.100.1"), leads("192.0.2.1")


@attrs.define
class Looks:
    """
    The DNS, in which every name leads to one place; *waiting* holds the answers back, *error* is raised instead.
    """

    clock: Clock
    seen: Seen | None = OLD
    findings: tuple[Finding, ...] = ()
    waiting: Deferred[None] | None = None
    error: Exception | None = None
    asked: list[tuple[float, HostName, bool]] = attrs.field(factory=list)

    async def look(self, name: HostName, directory: str, *, with_caa: bool) -> tuple[Seen, Sequence[Finding]] | None:
        """
        Give what is seen, and note that it was asked for.
        """
        assert CA == directory
        self.asked.append((self.clock.seconds(), name, with_caa))
        if self.error is not None:
            raise self.error
        if self.waiting is not None:
            await self.waiting
        return None if self.seen is None else (self.seen, self.findings)


@attrs.define
class Scene:
    """
    A watch, and the names that it had tried again.
    """

    clock: Clock
    looks: Looks
    watch: DnsWatch
    tried: list[HostName]

    def pass_seconds(self, seconds: float) -> None:
        """
        Let time pass.
        """
        self.clock.pump([STEP_SECONDS] * int(seconds / STEP_SECONDS))


@pytest.fixture
def scene() -> Iterator[Scene]:
    """
    Give a watch that runs, of the name CLICK, which has failed.
    """
    clock = Clock()
    tried: list[HostName] = []
    looks = Looks(clock)
    watch = DnsWatch(looks, tried.append, clock, lambda: 0.5)
    watch.start([CLICK, OTHER], {})
    watch.failed(CLICK, CA, "connection-refused", OLD)
    yield Scene(clock, looks, watch, tried)
    outcome(watch.stop())
    assert [] == clock.getDelayedCalls()


def test_change_has_the_name_tried_once(scene: Scene) -> None:
    """
    It is looked for after five minutes first, and said in the log.
    """
    scene.pass_seconds(FIRST_PAUSE_SECONDS - 1)
    assert [] == scene.looks.asked
    scene.looks.seen = NEW
    with capturedLogs() as events:
        scene.pass_seconds(1)
        assert [CLICK] == scene.tried
        scene.pass_seconds(3 * LONGEST_PAUSE_SECONDS)
    assert [CLICK] == scene.tried
    assert ["192.0.2.1"] == [event["addresses"] for event in events if event["log_level"] is LogLevel.info]


def test_looks_thin_out(scene: Scene) -> None:
    """
    To one an hour, for as long as it fails.
    """
    scene.pass_seconds(4 * LONGEST_PAUSE_SECONDS)
    moments = [moment for moment, _, _ in scene.looks.asked]
    assert [300, 900, 2100, 4500, 8100, 11700] == moments
    scene.watch.forget(CLICK)
    scene.pass_seconds(2 * LONGEST_PAUSE_SECONDS)
    assert len(moments) == len(scene.looks.asked)


def test_change_that_does_not_help_is_not_tried(scene: Scene) -> None:
    """
    The DNS leads to yet another place.
    """
    scene.looks.seen, scene.looks.findings = NEW, (Finding(DNS, is_fatal=True),)
    scene.pass_seconds(FIRST_PAUSE_SECONDS)
    assert (1, []) == (len(scene.looks.asked), scene.tried)
    scene.looks.findings = ()
    scene.pass_seconds(LONGEST_PAUSE_SECONDS)
    assert [CLICK] == scene.tried


def test_thousand_names_cost_one_look_a_second(scene: Scene) -> None:
    """
    However long each takes: those that come too late just come later.
    """
    names = [HostName(f"n{number}.example") for number in range(1000)]
    scene.watch.set_names(names, {name: History(1, directory=CA, diagnosis=DNS) for name in names})
    scene.pass_seconds(2000)
    moments = [moment for moment, _, _ in scene.looks.asked]
    assert len(moments) == len(set(moments))
    assert {*names} == {name for _, name, _ in scene.looks.asked}


def test_few_looks_run_at_a_time(scene: Scene) -> None:
    """
    A resolver that answers nothing is not asked for more.
    """
    scene.looks.waiting = Deferred()
    for number in range(2 * PARALLEL):
        scene.watch.failed(HostName(f"n{number}.example"), CA, "dns", OLD)
    scene.pass_seconds(FIRST_PAUSE_SECONDS + 60)
    assert PARALLEL == len(scene.looks.asked)
    scene.looks.waiting.callback(None)
    scene.looks.waiting = None
    scene.pass_seconds(60)
    assert 2 * PARALLEL + 1 == len(scene.looks.asked)


def test_look_that_crosses_an_attempt_tells_nothing(scene: Scene) -> None:
    """
    The attempt saw for itself; nor does one that crosses a success.
    """
    for is_success in (False, True):
        waiting: Deferred[None] = Deferred()
        scene.looks.waiting, scene.looks.seen = waiting, leads("203.0.113.1")
        scene.pass_seconds(LONGEST_PAUSE_SECONDS)
        if is_success:
            scene.watch.forget(CLICK)
        else:
            scene.watch.failed(CLICK, CA, "connection", NEW)
        waiting.callback(None)
    assert [] == scene.tried


def test_what_an_operator_has_seen_counts(scene: Scene) -> None:
    """
    For a name that is watched; none other is tried.
    """
    scene.watch.noticed(CLICK, NEW, ())
    scene.watch.noticed(OTHER, NEW, ())
    assert ([CLICK], []) == (scene.tried, scene.looks.asked)


def test_stored_failures_are_watched_after_a_restart(scene: Scene) -> None:
    """
    Those that the DNS may end; what it was at fault for and is no more is tried at the first look.
    """
    stored = {
        OTHER: History(1, directory=CA, diagnosis=DNS),
        CLICK: History(1, directory=CA, diagnosis=DISK),
        HostName("gone.example"): History(1, directory=CA, diagnosis=DNS),
        HostName("fine.example"): History(0, directory=CA, diagnosis=DNS),
        HostName("old.example"): History(1, directory=CA),
    }
    scene.watch.forget(CLICK)
    scene.watch.set_names([name for name in stored if name.text != "gone.example"], stored)
    scene.pass_seconds(LONGEST_PAUSE_SECONDS)
    assert ({OTHER}, [OTHER]) == ({name for _, name, _ in scene.looks.asked}, scene.tried)
    scene.watch.set_names([CLICK], {})
    asked = len(scene.looks.asked)
    scene.pass_seconds(LONGEST_PAUSE_SECONDS)
    assert asked == len(scene.looks.asked)


def test_caa_records_are_asked_for_where_they_matter(scene: Scene) -> None:
    """
    That is a question for each domain above the name.
    """
    scene.watch.failed(OTHER, CA, "caa-forbids", OLD)
    scene.pass_seconds(FIRST_PAUSE_SECONDS + 1)
    assert {(CLICK, False), (OTHER, True)} == {(name, with_caa) for _, name, with_caa in scene.looks.asked}


def test_look_that_breaks_off_does_not_end_the_watch(scene: Scene) -> None:
    """
    It is in the log with its traceback; one that gets no answer is not.
    """
    scene.looks.error = ZeroDivisionError()
    with capturedLogs() as events:
        scene.pass_seconds(FIRST_PAUSE_SECONDS)
    assert [LogLevel.critical] == [event["log_level"] for event in events]
    scene.looks.error, scene.looks.seen = None, None
    scene.pass_seconds(LONGEST_PAUSE_SECONDS)
    scene.looks.seen = NEW
    scene.pass_seconds(LONGEST_PAUSE_SECONDS)
    assert [CLICK] == scene.tried


def test_stop_gives_up_what_runs(scene: Scene) -> None:
    """
    And begins nothing more.
    """
    scene.looks.waiting = Deferred()
    scene.pass_seconds(FIRST_PAUSE_SECONDS)
    with capturedLogs() as events:
        outcome(scene.watch.stop())
    scene.watch.failed(OTHER, CA, "dns", OLD)
    scene.pass_seconds(2 * FIRST_PAUSE_SECONDS)
    assert (1, []) == (len(scene.looks.asked), list(events))

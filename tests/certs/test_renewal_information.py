from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import attrs
import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from zope.interface import implementer
from zope.interface.verify import verifyObject

from sptls.certs import schedule
from sptls.certs.authority import Authority
from sptls.certs.breaker import FAILURES_THAT_OPEN
from sptls.certs.limits import NO_LIMITS, Ledger
from sptls.certs.records import NO_HISTORY, RenewalAdvice, RenewalInfo, StoredCertificate
from sptls.certs.renewal_information import PARALLEL, QUESTION_SECONDS, RenewalQuestions
from sptls.certs.renewer import Renewer
from sptls.certs.store import InlineWorker, Store
from sptls.errors import StoreError
from sptls.interfaces import IIssuer, Issued
from sptls.names import HostName
from tests.certs.authority import NOW
from tests.certs.stored import CA, CLICK, bundle_for, outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from twisted.logger import LogEvent

    from sptls.certs.bundle import CertificateBundle
    from sptls.certs.standing import Standing

DAY = timedelta(days=1)
HALF_DAY_SECONDS = 43200.0
LIFETIME = timedelta(days=60)


@implementer(IIssuer)
class Issuer:
    """
    Issues at once; says of renewals what the test wants, or hangs.
    """

    directory = CA

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self.info: RenewalInfo | None = None
        self.asked: list[str] = []
        self.issued: list[HostName] = []
        self.hanging: list[Deferred[None]] | None = None
        self.error: Exception | None = None

    async def obtain(
        self, name: HostName, *, replaces: CertificateBundle | None = None, challenge_types: int | None = None
    ) -> Issued:
        """
        Make a certificate.
        """
        self.issued.append(name)
        now = self._now().replace(microsecond=0)
        return Issued(bundle_for(name, now, now + LIFETIME), is_replacement=replaces is not None)

    async def renewal_info(self, bundle: CertificateBundle) -> RenewalInfo | None:
        """
        Give what the test wants.
        """
        self.asked.append(bundle.serial)
        if self.error is not None:
            raise self.error
        if self.hanging is not None:
            waiting: Deferred[None] = Deferred()
            self.hanging.append(waiting)
            await waiting
        return self.info

    async def revoke(self, bundle: CertificateBundle, reason: int = 0) -> None:
        """
        Do nothing.
        """


class FullStore(Store):
    """
    A store whose disk can be full when advice is written.
    """

    is_full = False

    async def put_renewal(self, name: HostName, serial: str, renew_at: datetime, advice: RenewalAdvice) -> None:
        """
        Write advice, if there is room.
        """
        if self.is_full:
            raise StoreError("store.db", "the disk is full")
        await super().put_renewal(name, serial, renew_at, advice)


class World:
    """
    One daemon's renewer, store and questions, on a fake clock.
    """

    def __init__(self, path: Path) -> None:
        self.clock, self._path = Clock(), path
        self.issuer = Issuer(self.now)
        self.store = FullStore(path, InlineWorker(), self.now)
        outcome(self.store.open())
        self._make()

    def _make(self) -> None:
        self.authority = Authority(self.issuer, 1, Ledger(NO_LIMITS, str), lambda: 0.5)
        self.renewer = Renewer(
            [self.authority],
            self.store,
            self.clock,
            self.now,
            lambda: 0.5,
            issued=lambda name, _bundle: self.questions.changed(name),
            failed=lambda *_: None,
        )
        self.questions = RenewalQuestions(self.renewer, self.store, self.clock, self.now, lambda: 0.5)

    def now(self) -> datetime:
        """
        Give the wall clock's moment.
        """
        return NOW + timedelta(seconds=self.clock.seconds())

    def standing(self, name: HostName) -> Standing:
        """
        Tell what the renewer knows of *name*.
        """
        found = self.renewer._names.get(name)
        assert found is not None
        return found

    def start(self, *names: HostName) -> None:
        """
        Take care of *names*, from what is stored.
        """
        loaded = outcome(self.store.load())
        self.renewer.start(names, loaded)
        self.questions.start(names, loaded.advices)

    def stop(self) -> None:
        """
        End it.
        """
        outcome(self.questions.stop())
        outcome(self.renewer.stop())

    def restart(self, *names: HostName) -> None:
        """
        Go on as a new process does.
        """
        self.stop()
        self._make()
        self.start(*names)

    def put(self, *names: HostName) -> None:
        """
        Store a certificate for each of *names*, half of whose life is left to its renewal.
        """
        for name in names:
            bundle = bundle_for(name, NOW, NOW + LIFETIME)
            outcome(self.store.put_certificate(StoredCertificate(name, bundle, CA, NOW + 38 * DAY), NO_HISTORY))

    def run(self, seconds: float) -> None:
        """
        Let time pass, every timer at its own moment.
        """
        until = self.clock.seconds() + seconds
        while (calls := self.clock.getDelayedCalls()) and (at := min(call.getTime() for call in calls)) <= until:
            self.clock.advance(max(0.0, at - self.clock.seconds()))
        self.clock.advance(until - self.clock.seconds())

    def renew_at(self, name: HostName = CLICK) -> datetime | None:
        """
        Tell when *name* is due.
        """
        state = self.renewer.state(name)
        return None if state is None else state.renew_at


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """
    A daemon that has not begun.
    """
    world = World(tmp_path / "store.db")
    yield world
    world.stop()
    assert not [call for call in world.clock.getDelayedCalls() if call.active()]
    outcome(world.store.close())


def messages(events: Sequence[LogEvent]) -> list[str]:
    """
    Give what was logged.
    """
    return [str(event["log_format"]).format(**event) for event in events]


def window(start: timedelta, end: timedelta, url: str = "") -> RenewalInfo:
    """
    Give renewal information with a window these times from the beginning on.
    """
    return RenewalInfo(NOW + start, NOW + end, 21600.0, url)


def test_the_double_is_an_issuer(world: World) -> None:
    """
    It has what the real one has.
    """
    assert verifyObject(IIssuer, world.issuer)


def test_a_certificate_is_asked_about_within_half_a_day_and_then_when_the_ca_says(world: World) -> None:
    """
    Every six hours here, since the CA's Retry-After wants it so.
    """
    world.put(CLICK)
    world.issuer.info = window(30 * DAY, 32 * DAY)
    world.start(CLICK)
    assert [] == world.issuer.asked
    world.run(HALF_DAY_SECONDS + 3600)
    begun = len(world.issuer.asked)
    assert begun in {1, 2, 3}
    world.run(10 * 86400)
    assert begun + 40 == len(world.issuer.asked)
    assert NOW + 31 * DAY == world.renew_at()


def test_a_moment_is_drawn_once_for_a_window_over_restarts(world: World) -> None:
    """
    It and the time of the next question are in the store.
    """
    world.put(CLICK)
    world.issuer.info = window(30 * DAY, 32 * DAY)
    world.start(CLICK)
    world.run(HALF_DAY_SECONDS + 3600)
    world.questions._random = lambda: 0.0
    asked = len(world.issuer.asked)
    world.restart(CLICK)
    world.run(1.0)
    assert (asked, NOW + 31 * DAY) == (len(world.issuer.asked), world.renew_at())
    world.run(HALF_DAY_SECONDS)
    assert len(world.issuer.asked) > asked
    assert NOW + 31 * DAY == world.renew_at()


def test_a_window_in_the_past_renews_now(world: World) -> None:
    """
    A mass revocation: replaced within the asking interval; the log says why, the status where to read more meanwhile.
    """
    names = tuple(HostName(f"{number}.example") for number in range(20))
    world.put(*names)
    world.issuer.info = window(30 * DAY, 32 * DAY)
    world.start(*names)
    world.run(86400)
    assert [] == world.issuer.issued
    world.issuer.info = window(DAY / 4, DAY / 2, "https://ca.example/incident")
    with capturedLogs() as events:
        world.run(21600)
    assert sorted(names) == sorted(world.issuer.issued)
    told = [message for message in messages(events) if "wants its certificate renewed" in message]
    assert {name.text for name in names} == {message.partition(":")[0] for message in told}
    assert all("see https://ca.example/incident" in message for message in told)


def test_a_ca_that_is_never_content_gets_few_orders(world: World) -> None:
    """
    It says of every certificate that it ought to have been renewed before it came.
    """
    world.put(CLICK)
    world.issuer.info = window(-2 * DAY, -DAY)
    world.start(CLICK)
    world.run(10 * 86400)
    assert 8 <= len(world.issuer.issued) <= 10


def test_explanation_is_told_until_the_certificate_is_replaced(world: World) -> None:
    """
    People find it in the status of the name; that of a new certificate is without.
    """
    world.put(CLICK)
    world.issuer.info = window(DAY, DAY, "https://ca.example/incident")
    world.start(CLICK)
    world.run(HALF_DAY_SECONDS + 3600)
    before = world.renewer.state(CLICK)
    world.issuer.info = None
    world.run(HALF_DAY_SECONDS)
    after = world.renewer.state(CLICK)
    assert before is not None
    assert after is not None
    assert ("https://ca.example/incident", "") == (before.explanation_url, after.explanation_url)


def test_no_window_parks_a_certificate(world: World) -> None:
    """
    A far future one is good for the last sixth of its life at the most.
    """
    world.put(CLICK)
    world.issuer.info = window(4000 * DAY, 4001 * DAY)
    world.start(CLICK)
    world.run(HALF_DAY_SECONDS)
    assert schedule.latest_renewal(NOW, NOW + LIFETIME) == world.renew_at()


def test_a_ca_without_renewal_information_changes_nothing(world: World) -> None:
    """
    It is asked again in half a day, and nothing is written.
    """
    world.put(CLICK)
    world.start(CLICK)
    world.run(5 * 86400)
    assert len(world.issuer.asked) in {10, 11}
    assert NOW + 38 * DAY == world.renew_at()
    assert {} == outcome(world.store.load()).advices


def test_a_few_questions_run_at_a_time(world: World) -> None:
    """
    And one that hangs is given up, so that the others come up.
    """
    names = tuple(HostName(f"{number}.example") for number in range(2 * PARALLEL))
    world.put(*names)
    world.issuer.hanging = []
    world.start(*names)
    world.run(HALF_DAY_SECONDS)
    for _ in range(20):
        world.run(QUESTION_SECONDS)
        running = [one for one in world.issuer.hanging if not one.called]
        assert len(running) <= PARALLEL
    assert 2 * PARALLEL <= len(set(world.issuer.asked))


def test_questions_are_given_up_at_the_end(world: World) -> None:
    """
    Nothing waits for them.
    """
    world.put(CLICK)
    world.issuer.hanging = []
    world.start(CLICK)
    while not world.issuer.hanging:
        world.run(60.0)
    with capturedLogs() as events:
        world.stop()
    (hanging,) = world.issuer.hanging
    assert hanging.called
    assert [] == messages(events)


@pytest.mark.parametrize("how", ["replaced", "removed"])
def test_an_answer_that_comes_too_late_is_ignored(world: World, how: str) -> None:
    """
    It was about a certificate, or a name, that is gone.
    """
    world.put(CLICK)
    world.issuer.hanging = []
    world.issuer.info = window(-DAY, -DAY / 2)
    world.start(CLICK)
    while not world.issuer.hanging:
        world.run(60.0)
    (hanging,), world.issuer.hanging = world.issuer.hanging, None
    standing = world.standing(CLICK)
    assert standing.certificate is not None
    if how == "replaced":
        standing.certificate = attrs.evolve(standing.certificate, bundle=bundle_for(CLICK))
    else:
        world.questions.set_names((), {})
    hanging.callback(None)
    world.issuer.info = None
    assert ([], {}) == (world.issuer.issued, outcome(world.store.load()).advices)


def test_nothing_is_asked_of_a_ca_that_is_out(world: World) -> None:
    """
    Once its breaker lets an order through, the question follows within the hour.
    """
    world.put(CLICK)
    world.start(CLICK)
    breaker = world.authority.breaker
    for _ in range(FAILURES_THAT_OPEN):
        breaker.failed(HALF_DAY_SECONDS, 0.5)
    world.run(HALF_DAY_SECONDS)
    assert [] == world.issuer.asked
    breaker.answered()
    world.run(3600.0)
    assert 1 == len(world.issuer.asked)


def test_nothing_is_asked_of_a_ca_that_is_configured_no_more(world: World) -> None:
    """
    Nor about a certificate that has expired or was set aside: the renewer is at it anyway.
    """
    world.put(CLICK)
    world.start(CLICK)
    certificate = world.standing(CLICK).certificate
    assert certificate is not None
    world.standing(CLICK).certificate = attrs.evolve(certificate, directory="https://former.example/")
    world.run(HALF_DAY_SECONDS)
    expired = attrs.evolve(certificate.bundle, not_after=NOW)
    world.standing(CLICK).certificate = attrs.evolve(certificate, bundle=expired)
    world.run(HALF_DAY_SECONDS)
    world.standing(CLICK).certificate = None
    world.run(HALF_DAY_SECONDS)
    assert [] == world.issuer.asked


def test_full_disk_is_said_once_and_the_moment_holds(world: World) -> None:
    """
    Until a restart, which draws another.
    """
    world.put(CLICK)
    world.store.is_full = True
    world.issuer.info = window(30 * DAY, 32 * DAY)
    world.start(CLICK)
    with capturedLogs() as events:
        world.run(2 * 86400)
    assert 1 == len([message for message in messages(events) if "the disk is full" in message])
    assert NOW + 31 * DAY == world.renew_at()


def test_a_fault_of_ours_ends_nothing(world: World) -> None:
    """
    It is logged, and the certificate is asked about again in half a day.
    """
    world.put(CLICK)
    world.issuer.error = RuntimeError("boom")
    world.start(CLICK)
    with capturedLogs() as events:
        world.run(86400)
    assert len(world.issuer.asked) == len(events) == 2


def test_names_come_and_go(world: World) -> None:
    """
    A new name's stored advice is used, one that goes is asked about no more, one without a certificate not yet.
    """
    added, bare = HostName("added.example"), HostName("bare.example")
    world.put(CLICK, added)
    world.start(CLICK)
    loaded = outcome(world.store.load())
    serial = loaded.certificates[added].bundle.serial
    advice = RenewalAdvice(serial, NOW + DAY, NOW + 2 * DAY, NOW + timedelta(hours=20))
    world.renewer.set_names([added], loaded)
    world.questions.set_names([added, bare], {added: advice, CLICK: advice})
    world.questions.changed(CLICK)
    world.run(19 * 3600)
    assert [] == world.issuer.asked
    world.run(2 * 3600)
    assert [serial] == world.issuer.asked


def test_a_new_certificate_is_asked_about_at_its_own_moment(world: World) -> None:
    """
    Within half a day of its coming.
    """
    world.start(CLICK)
    assert [CLICK] == world.issuer.issued
    assert [] == world.issuer.asked
    world.run(HALF_DAY_SECONDS)
    assert 1 == len(set(world.issuer.asked))


def test_cancelled_question_is_no_fault(world: World) -> None:
    """
    An issuer that is being closed may cancel it.
    """
    world.put(CLICK)
    world.issuer.error = CancelledError()
    world.start(CLICK)
    with capturedLogs() as events:
        world.run(86400)
    assert [] == messages(events)

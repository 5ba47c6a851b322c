from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import attrs
import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from zope.interface import implementer
from zope.interface.verify import verifyObject

from sptls.certs import schedule
from sptls.certs.authority import Authority
from sptls.certs.limits import NO_LIMITS, Bucket, Ledger, Limits
from sptls.certs.records import (
    NO_ENTRIES,
    NO_HISTORY,
    History,
    Loaded,
    OrderRecord,
    RenewalAdvice,
    RenewalInfo,
    StoredCertificate,
)
from sptls.certs.renewer import (
    LOOK_AGAIN_SECONDS,
    RESERVED_FOR_CLIENTS,
    STOP_SECONDS,
    Renewer,
)
from sptls.certs.standing import NameState
from sptls.certs.store import InlineWorker, Store
from sptls.errors import (
    AcmeProblem,
    AcmeUnreachable,
    BadCertificate,
    Concern,
    IssuanceFailed,
    OrderCancelled,
    Scope,
    StoreError,
    ValidationFailed,
)
from sptls.interfaces import IIssuer, Issued
from sptls.names import HostName
from tests.certs.authority import NOW
from tests.certs.stored import CA, CLICK, bundle_for, outcome, stored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from sptls.certs.bundle import CertificateBundle
    from sptls.certs.records import RenewalInfo

OTHER = HostName("other.example.com")
WEEK = timedelta(days=7)
UNREACHABLE = IssuanceFailed(AcmeUnreachable("newOrder", "connection refused"))
INVALID = IssuanceFailed(ValidationFailed("click.example.com", ()), failed_authorizations=2)
FULL = StoreError("/var/lib/sptls/store.db", "the disk is full")


@implementer(IIssuer)
class Issuer:
    """
    Makes certificates when the test says so; `answer` decides at once where it is set.
    """

    directory = CA

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self.asked: list[HostName] = []
        self.replaced: list[CertificateBundle | None] = []
        self.running: dict[HostName, Deferred[None]] = {}
        self.cancelled: list[HostName] = []
        self.answer: Callable[[HostName], Exception | None] | None = None
        self.lifetime = timedelta(days=60)
        self.ignores_cancelling = self.cancelling_is_free = False
        self.mistaken_for: HostName | None = None

    async def obtain(
        self, name: HostName, *, replaces: CertificateBundle | None = None, challenge_types: int | None = None
    ) -> Issued:
        """
        Make a certificate, at no cost.
        """
        self.replaced.append(replaces)
        return Issued(await self.issue(name, replaces=replaces))

    async def renewal_info(self, bundle: CertificateBundle) -> RenewalInfo | None:
        """
        Give none.
        """

    async def revoke(self, bundle: CertificateBundle, reason: int = 0) -> None:
        """
        Do nothing.
        """

    async def issue(self, name: HostName, *, replaces: CertificateBundle | None = None) -> CertificateBundle:
        """
        Make a certificate, now or when the test says so.
        """
        self.asked.append(name)
        if self.answer is None:
            waiting: Deferred[None] = Deferred()
            self.running[name] = waiting
            try:
                await waiting
            except CancelledError:
                self.cancelled.append(name)
                if self.ignores_cancelling:
                    await Deferred()
                if self.cancelling_is_free:
                    raise IssuanceFailed(OrderCancelled()) from None
                raise
            finally:
                self.running.pop(name, None)
        elif (error := self.answer(name)) is not None:
            raise error
        now = self._now().replace(microsecond=0)
        return bundle_for(self.mistaken_for or name, now, now + self.lifetime)

    def finish(self, *names: HostName) -> None:
        """
        Let the orders for *names* succeed.
        """
        for name in names:
            self.running[name].callback(None)

    def fail(self, name: HostName, error: Exception) -> None:
        """
        Let the order for *name* end in *error*.
        """
        self.running[name].errback(error)


class FullStore(Store):
    """
    A store whose disk can be full, and whose next write of a history waits for *writing*.
    """

    error: StoreError | None = None
    writing: Deferred[None] | None = None

    async def put_certificate(
        self,
        certificate: StoredCertificate,
        history: History = NO_HISTORY,
        limits: Mapping[str, Mapping[str, float]] = NO_ENTRIES,
    ) -> None:
        """
        Write a certificate, if there is room.
        """
        if self.error is not None:
            raise self.error
        await super().put_certificate(certificate, history, limits)

    async def put_history(
        self, name: HostName, history: History, limits: Mapping[str, Mapping[str, float]] = NO_ENTRIES
    ) -> None:
        """
        Write a history, if there is room.
        """
        if self.error is not None:
            raise self.error
        if self.writing is not None:
            writing, self.writing = self.writing, None
            await writing
        await super().put_history(name, history, limits)


@attrs.define
class Setting:
    """
    A renewer with its surroundings; time passes only as the test says, `set_by` is how far the wall clock was set.
    """

    path: Path
    clock: Clock = attrs.field(factory=Clock)
    set_by: timedelta = timedelta()
    parallel: int = 32
    limits: Limits = NO_LIMITS
    served: dict[HostName, CertificateBundle] = attrs.field(factory=dict)
    failures: list[tuple[HostName, datetime, str]] = attrs.field(factory=list)
    issuer: Issuer = attrs.field(init=False)
    store: FullStore = attrs.field(init=False)
    renewer: Renewer = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.issuer = Issuer(self.now)
        self._begin()

    def now(self) -> datetime:
        """
        Give the wall time.
        """
        return NOW + self.set_by + timedelta(seconds=self.clock.seconds())

    def restart(self) -> None:
        """
        Begin with a new process on the same store, as after a kill -9: the kernel closes the old one's files.
        """
        outcome(self.store.close())
        self._begin()

    def _begin(self) -> None:
        self.store = FullStore(self.path, InlineWorker(), self.now, CA)
        self.renewer = Renewer(
            [self.authority(self.issuer)],
            self.store,
            self.clock,
            self.now,
            lambda: 0.5,
            issued=self.served.__setitem__,
            failed=lambda name, until, error: self.failures.append((name, until, error)),
            parallel=self.parallel,
        )

    def authority(self, issuer: Issuer) -> Authority:
        """
        Give the CA of *issuer*, which has no limits.
        """
        return Authority(issuer, 2, Ledger(self.limits, lambda name: name), lambda: 0.5)

    def start(self, *names: HostName) -> None:
        """
        Start with what is stored.
        """
        self.renewer.start(names, outcome(self.store.load()))

    def advance(self, **amount: float) -> None:
        """
        Let time pass.
        """
        self.clock.advance(timedelta(**amount).total_seconds())

    def state(self, name: HostName = CLICK) -> NameState:
        """
        Tell how *name* stands.
        """
        found = self.renewer.state(name)
        assert found is not None
        return found


@pytest.fixture
def setting(tmp_path: Path) -> Iterator[Setting]:
    """
    A renewer on a real store, not started.
    """
    setting = Setting(tmp_path / "store.db")
    yield setting
    setting.issuer.ignores_cancelling = False
    stopping = Deferred.fromCoroutine(setting.renewer.stop())
    setting.clock.advance(STOP_SECONDS)
    assert stopping.called
    outcome(setting.store.close())


def names(count: int) -> list[HostName]:
    """
    Give *count* names.
    """
    return [HostName(f"n{number}.example.com") for number in range(count)]


def test_double_is_an_issuer(setting: Setting) -> None:
    """
    The double keeps the contract that the real issuers keep.
    """
    verifyObject(IIssuer, setting.issuer)


def test_missing_certificate_is_obtained_stored_and_served(setting: Setting) -> None:
    """
    A configured name gets its certificate without any client.
    """
    setting.start(CLICK)
    assert "issuing" == setting.state().state
    setting.issuer.finish(CLICK)
    loaded = outcome(setting.store.load())
    assert setting.served == {CLICK: loaded.certificates[CLICK].bundle}
    assert (
        NameState("valid", NOW + timedelta(days=60), loaded.certificates[CLICK].renew_at, "", None, CA)
        == setting.state()
    )


def test_hundred_clients_are_one_order(setting: Setting) -> None:
    """
    However many wait for a name, it is ordered once.
    """
    setting.start(CLICK)
    for _ in range(100):
        setting.renewer.want(CLICK)
    setting.issuer.finish(CLICK)
    setting.renewer.want(CLICK)
    assert [CLICK] == setting.issuer.asked


def test_unknown_name_is_never_ordered(setting: Setting) -> None:
    """
    Only names that were configured are.
    """
    setting.start(CLICK)
    setting.renewer.want(OTHER)
    assert ([CLICK], None) == (setting.issuer.asked, setting.renewer.state(OTHER))


def test_thirty_two_orders_run_at_a_time(setting: Setting) -> None:
    """
    The rest waits for a free slot, in the order of the configuration.
    """
    some = names(40)
    setting.start(*some)
    assert some[:32] == list(setting.issuer.running)
    setting.issuer.finish(*some[:3])
    assert some[3:35] == list(setting.issuer.running)
    assert ("valid", "issuing", "waiting") == tuple(setting.state(some[at]).state for at in (0, 34, 35))


def test_wanted_name_goes_first_and_has_slots_of_its_own(setting: Setting) -> None:
    """
    A name that a client waits for starts although 32 run; beyond the reserve it is next.
    """
    some = names(60)
    setting.start(*some)
    wanted = some[-1 : -RESERVED_FOR_CLIENTS - 3 : -1]
    for name in wanted:
        setting.renewer.want(name)
    assert [*some[:32], *wanted[:RESERVED_FOR_CLIENTS]] == setting.issuer.asked
    setting.issuer.finish(some[0])
    assert wanted[RESERVED_FOR_CLIENTS] == setting.issuer.asked[-1]


def test_many_names_that_answer_at_once_do_not_pile_up(setting: Setting) -> None:
    """
    Orders that end before they are waited for are no deeper recursion: 500 of them end well.
    """
    setting.issuer.answer = lambda _name: IssuanceFailed(AcmeProblem(400, "malformed"))
    some = names(500)
    setting.start(*some)
    assert (some, 500) == (setting.issuer.asked, len(setting.failures))


def test_restart_asks_for_nothing(setting: Setting) -> None:
    """
    Stored certificates that are not due cost the CA nothing.
    """
    for name in names(5):
        outcome(setting.store.put_certificate(stored(name.text)))
    setting.start(*names(5))
    setting.advance(days=49)
    assert [] == setting.issuer.asked


def test_renewal_happens_at_its_moment_without_clients(setting: Setting) -> None:
    """
    At the stored moment, not before, a new certificate replaces the old one in store and service.
    """
    outcome(setting.store.put_certificate(stored()))
    setting.start(CLICK)
    setting.clock.pump([LOOK_AGAIN_SECONDS] * (50 * 24 - 1))
    assert [] == setting.issuer.asked
    setting.advance(hours=1)
    assert ([CLICK], "renewing") == (setting.issuer.asked, setting.state().state)
    setting.issuer.lifetime = timedelta(days=20)
    setting.issuer.finish(CLICK)
    assert stored().bundle != setting.served[CLICK]
    assert setting.served[CLICK] == outcome(setting.store.load()).certificates[CLICK].bundle


def test_twenty_second_certificates_are_renewed_for_ever(setting: Setting) -> None:
    """
    Ten short lives in a row, each renewed before its end.
    """
    setting.issuer.answer = lambda _name: None
    setting.issuer.lifetime = timedelta(seconds=20)
    setting.start(CLICK)
    for _ in range(200):
        setting.advance(seconds=0.5)
        assert setting.now() < setting.served[CLICK].not_after
    assert 10 <= len(setting.issuer.asked) <= 12


def test_failing_renewal_is_followed_by_the_next(setting: Setting) -> None:
    """
    The loop does not die of a failure: the old certificate stays, the name is tried again, and others go on.
    """
    outcome(setting.store.put_certificate(stored()))
    setting.start(CLICK)
    setting.advance(days=50)
    setting.issuer.fail(CLICK, UNREACHABLE)
    assert ({}, "failing") == (setting.served, setting.state().state)
    assert stored() == outcome(setting.store.load()).certificates[CLICK]
    setting.advance(seconds=60)
    setting.issuer.fail(CLICK, ZeroDivisionError("a fault of ours"))
    setting.advance(minutes=5)
    setting.issuer.lifetime = timedelta(days=20)
    setting.issuer.finish(CLICK)
    assert ([CLICK] * 3, "valid", "") == (setting.issuer.asked, setting.state().state, setting.state().last_error)


def test_failed_name_waits_however_many_clients_come(setting: Setting) -> None:
    """
    A failure is told at once with the next moment, and until then nobody makes us order.
    """
    setting.start(CLICK)
    setting.issuer.fail(CLICK, UNREACHABLE)
    assert [(CLICK, NOW + timedelta(minutes=1), str(UNREACHABLE))] == setting.failures
    for _ in range(59):
        setting.renewer.want(CLICK)
        setting.advance(seconds=1)
    assert [CLICK] == setting.issuer.asked
    setting.advance(seconds=1)
    assert [CLICK] * 2 == setting.issuer.asked


def test_client_at_the_very_moment_gets_an_order(setting: Setting) -> None:
    """
    A client that comes when the wait is over does not have to wait for the timer.
    """
    setting.start(CLICK)
    setting.issuer.fail(CLICK, UNREACHABLE)
    setting.clock.rightNow += 60
    setting.renewer.want(CLICK)
    assert [CLICK] * 2 == setting.issuer.asked


def test_failures_survive_a_restart(setting: Setting) -> None:
    """
    A new process knows what failed: it says so, and waits for the same moment.
    """
    setting.start(CLICK)
    setting.issuer.fail(CLICK, INVALID)
    told = list(setting.failures)
    outcome(setting.renewer.stop())
    setting.restart()
    setting.start(CLICK)
    assert (told * 2, [CLICK]) == (setting.failures, setting.issuer.asked)
    setting.advance(minutes=1)
    assert [CLICK] * 2 == setting.issuer.asked


def test_attempt_that_was_killed_before_its_order_costs_nothing(setting: Setting) -> None:
    """
    Without an order on record no challenge was answered: after each kill -9 the name is ordered at once.
    """
    for _ in range(5):
        setting.start(CLICK)
        setting.clock.calls.clear()
        setting.restart()
    assert ([CLICK] * 5, []) == (setting.issuer.asked, setting.failures)
    setting.start(CLICK)


def test_order_that_was_cut_off_is_taken_up_at_once(setting: Setting) -> None:
    """
    It is one attempt still, however often: its outcome counts, and nothing else.
    """
    order = OrderRecord(CLICK, CA, "https://ca.example/a/1", "https://ca.example/o/1", b"key", NOW, NOW + WEEK)
    for minutes in range(9):
        setting.start(CLICK)
        outcome(setting.store.put_order(order))
        setting.clock.calls.clear()
        setting.restart()
        setting.clock.advance(60 * minutes)
    assert NOW == outcome(setting.store.load()).histories[CLICK].attempt_started_at
    setting.start(CLICK)
    setting.issuer.fail(CLICK, INVALID)
    assert ([CLICK] * 10, "failing") == (setting.issuer.asked, setting.state().state)
    assert 2 == len(outcome(setting.store.load()).histories[CLICK].failed_authorizations)


def test_name_that_waits_for_the_limit_says_so(setting: Setting) -> None:
    """
    Put off without a failure on record, a name tells people why and until when; a client is refused meanwhile.
    """
    setting.limits = Limits(orders=Bucket(1, 60))
    setting.restart()
    setting.start(CLICK, OTHER)
    before = setting.state(OTHER)
    setting.renewer.want(OTHER)
    state = setting.state(OTHER)
    assert before == state
    # An attempt may need an order for each of the two challenge types.
    assert ("waiting", NOW + timedelta(minutes=2)) == (state.state, state.next_attempt_at)
    assert "limits for our account" in state.last_error
    assert [(OTHER, NOW + timedelta(minutes=2), "")] == setting.failures
    setting.advance(minutes=2)
    assert ("issuing", "") == (setting.state(OTHER).state, setting.state(OTHER).last_error)


def test_renewal_does_not_wait_for_what_new_names_wait_for(setting: Setting) -> None:
    """
    While the account may order nothing new for hours, a renewal that falls due begins at its moment.
    """
    setting.limits = Limits(orders=Bucket(2, 3600))
    outcome(setting.store.put_certificate(stored()))
    setting.set_by = timedelta(days=50) - timedelta(minutes=1)
    setting.restart()
    new, waiting = names(2)
    setting.start(CLICK, new, waiting)
    assert [new] == setting.issuer.asked
    setting.advance(minutes=1)
    assert [new, CLICK] == setting.issuer.asked


def test_what_the_account_may_order_survives_a_restart(setting: Setting) -> None:
    """
    The ledger is on the disk before the CA has answered.
    """
    setting.limits = Limits(orders=Bucket(1, 60))
    setting.restart()
    setting.start(CLICK)
    setting.clock.calls.clear()
    setting.restart()
    setting.start(OTHER)
    assert ([CLICK], {CA: {"orders": NOW.timestamp() + 120}}) == (
        setting.issuer.asked,
        outcome(setting.store.load()).limits,
    )
    setting.advance(minutes=2)
    assert [CLICK, OTHER] == setting.issuer.asked


def test_limit_of_the_ca_stops_what_it_concerns_and_nothing_else(setting: Setting) -> None:
    """
    A 429 for one name: it waits as long as the CA said; the others go on.
    """
    some = names(40)
    setting.start(*some)
    concern = Concern(Scope.NAME, "", NOW + timedelta(hours=5))
    setting.issuer.fail(some[0], IssuanceFailed(AcmeProblem(429, "rateLimited", concern=concern)))
    assert some[:33] == setting.issuer.asked
    setting.issuer.finish(*some[1:33])
    setting.issuer.finish(*some[33:])
    setting.advance(hours=4.9)
    assert 40 == len(setting.issuer.asked)
    setting.advance(hours=0.2)
    assert some[0] == setting.issuer.asked[-1]


def test_limit_of_the_account_stops_everybody_and_is_asked_about_once(setting: Setting) -> None:
    """
    The most urgent name is the first when the CA may be asked again.
    """
    some = names(40)
    setting.start(*some)
    concern = Concern(Scope.ACCOUNT, "", NOW + timedelta(hours=1))
    setting.issuer.fail(some[0], IssuanceFailed(AcmeProblem(429, "rateLimited", concern=concern)))
    setting.issuer.finish(*some[1:32])
    assert some[:32] == setting.issuer.asked
    setting.advance(hours=1)
    assert set(some[32:]) <= set(setting.issuer.asked[32:])


def test_second_ca_is_asked_where_the_first_one_fails(setting: Setting) -> None:
    """
    A refusal at the first one: the second one is asked at once, and whoever waits is not sent away in between; the next
    renewal begins with the first one again.
    """
    second = Issuer(setting.now)
    second.directory = "https://second.example/directory"
    setting.renewer.set_authorities([setting.authority(setting.issuer), setting.authority(second)])
    setting.start(CLICK)
    setting.issuer.fail(CLICK, IssuanceFailed(AcmeProblem(400, "rejectedIdentifier")))
    assert ([CLICK], [CLICK], []) == (setting.issuer.asked, second.asked, setting.failures)
    second.finish(CLICK)
    assert ("valid", second.directory) == (setting.state().state, setting.state().directory)
    setting.advance(days=40)
    assert ([CLICK] * 2, [CLICK]) == (setting.issuer.asked, second.asked)


def test_last_ca_that_fails_sends_clients_away(setting: Setting) -> None:
    """
    There is no other to be asked, so whoever waits would wait in vain.
    """
    second = Issuer(setting.now)
    second.directory = "https://second.example/directory"
    setting.renewer.set_authorities([setting.authority(setting.issuer), setting.authority(second)])
    setting.start(CLICK)
    setting.issuer.fail(CLICK, IssuanceFailed(AcmeProblem(400, "rejectedIdentifier")))
    second.fail(CLICK, IssuanceFailed(AcmeProblem(400, "rejectedIdentifier")))
    assert [CLICK] == [name for name, _, _ in setting.failures]


def test_second_ca_is_asked_while_the_first_one_is_out(setting: Setting) -> None:
    """
    An outage of the first one's costs a name one attempt there, and none once it counts as out.
    """
    second = Issuer(setting.now)
    second.directory, second.answer = "https://second.example/directory", lambda _: None
    setting.issuer.answer = lambda _: UNREACHABLE
    setting.renewer.set_authorities([setting.authority(setting.issuer), setting.authority(second)])
    some = names(40)
    setting.start(*some)
    assert (3, 40, 40) == (len(setting.issuer.asked), len(second.asked), len(setting.served))


def test_certificate_is_replaced_where_it_came_from(setting: Setting) -> None:
    """
    Only the CA that issued it is told which one a new one replaces (RFC 9773 §5).
    """
    outcome(setting.store.put_certificate(attrs.evolve(stored(), renew_at=NOW)))
    outcome(setting.store.put_certificate(attrs.evolve(stored(OTHER.text), directory="https://old.example/")))
    setting.start(CLICK, OTHER)
    assert {CLICK: stored().bundle, OTHER: None} == dict(
        zip(setting.issuer.asked, setting.issuer.replaced, strict=True)
    )


def test_dead_name_stays_under_the_limit(setting: Setting) -> None:
    """
    A name that never validates is tried for ever, with no more than four failed authorizations in an hour.
    """
    setting.issuer.answer = lambda _name: INVALID
    setting.start(CLICK)
    times = []
    for _ in range(24 * 60):
        before = len(setting.issuer.asked)
        setting.renewer.want(CLICK)
        setting.advance(minutes=1)
        times += [setting.clock.seconds()] * (len(setting.issuer.asked) - before)
    assert all(third - first > 3600 for first, third in zip(times, times[2:], strict=False))
    assert 20 <= len(times) <= 26


def test_order_that_hangs_is_ended(setting: Setting) -> None:
    """
    After ten minutes an order is given up, whatever the issuer does.
    """
    setting.start(CLICK)
    setting.advance(seconds=schedule.LONGEST_ATTEMPT.total_seconds())
    assert ([CLICK], "no certificate after 10 minutes") == (setting.issuer.cancelled, setting.state().last_error)


def test_certificate_for_another_name_is_not_served(setting: Setting) -> None:
    """
    What the store refuses is a failure: nothing is served, and the next order is an hour away.
    """
    setting.issuer.mistaken_for = OTHER
    setting.start(CLICK)
    setting.issuer.finish(CLICK)
    assert {} == setting.served
    assert [NOW + timedelta(hours=1)] == [until for _name, until, _error in setting.failures]


def test_full_disk_does_not_lose_a_certificate(setting: Setting) -> None:
    """
    It is served from memory, not ordered again, and stored when there is room; the log says it once.
    """
    setting.start(CLICK)
    setting.store.error = FULL
    with capturedLogs() as events:
        setting.issuer.finish(CLICK)
        setting.renewer.want(CLICK)
        setting.advance(minutes=1)
        setting.store.error = None
        setting.advance(minutes=1)
    assert [LogLevel.error, LogLevel.info, LogLevel.info] == [event["log_level"] for event in events]
    assert [CLICK] == setting.issuer.asked
    assert setting.served == {CLICK: outcome(setting.store.load()).certificates[CLICK].bundle}


def test_full_disk_does_not_keep_clients_waiting(setting: Setting) -> None:
    """
    A name without a certificate is ordered although the attempt can't be recorded: somebody waits for it.
    """
    setting.store.error = FULL
    setting.start(CLICK)
    setting.issuer.finish(CLICK)
    assert [CLICK] == list(setting.served)


def test_full_disk_postpones_renewals(setting: Setting) -> None:
    """
    An order that no restart would know of is not begun while the old certificate serves.
    """
    outcome(setting.store.put_certificate(stored()))
    setting.store.error = FULL
    setting.start(CLICK)
    setting.advance(days=50)
    assert ([], str(FULL)) == (setting.issuer.asked, setting.state().last_error)
    setting.store.error = None
    setting.advance(minutes=1)
    assert [CLICK] == setting.issuer.asked


def test_outage_stops_new_orders_but_for_a_probe(setting: Setting) -> None:
    """
    Three failures of the CA's own: names fail no more in turn, clients are refused at once, and one order probes.
    """
    some = names(40)
    setting.start(*some)
    for name in some[:3]:
        setting.issuer.fail(name, UNREACHABLE)
    asked = len(setting.issuer.asked)
    for name in some[3:32]:
        setting.issuer.fail(name, UNREACHABLE)
    setting.renewer.want(some[39])
    assert (asked, some[39]) == (len(setting.issuer.asked), setting.failures[-1][0])
    setting.clock.advance(40)
    assert asked + 1 == len(setting.issuer.asked)
    setting.issuer.finish(setting.issuer.asked[-1])
    assert asked + 5 < len(setting.issuer.asked)


def test_urgent_renewals_go_before_new_names(setting: Setting) -> None:
    """
    What is about to expire comes before names that never had a certificate.
    """
    some = names(40)
    outcome(setting.store.put_certificate(attrs.evolve(stored(some[39].text), renew_at=NOW)))
    setting.start(*some)
    assert some[39] == setting.issuer.asked[0]


def test_stop_ends_orders(setting: Setting) -> None:
    """
    Orders in the middle are cancelled and waited for, nothing is scheduled any more, and the attempt stays recorded.
    """
    setting.start(CLICK)
    outcome(setting.renewer.stop())
    assert ([CLICK], []) == (setting.issuer.cancelled, setting.clock.getDelayedCalls())
    assert NOW == outcome(setting.store.load()).histories[CLICK].attempt_started_at
    setting.renewer.want(CLICK)
    assert ([CLICK], []) == (setting.issuer.asked, setting.failures)


def test_restarts_while_the_ca_hangs_cost_nothing(setting: Setting) -> None:
    """
    Orders that were given up before the CA validated anything don't count: a new process orders at once.
    """
    setting.issuer.cancelling_is_free = True
    for process in range(1, 6):
        setting.start(CLICK)
        assert [CLICK] * process == setting.issuer.asked
        outcome(setting.renewer.stop())
        assert {} == outcome(setting.store.load()).histories
        setting.restart()


@pytest.mark.parametrize("is_stopped", [True, False], ids=["stopped", "removed"])
def test_order_that_was_about_to_begin_does_not(setting: Setting, *, is_stopped: bool) -> None:
    """
    A stop, or the name's removal, while the attempt is being recorded asks the CA for nothing.
    """
    writing: Deferred[None] = Deferred()
    setting.store.writing = writing
    setting.start(CLICK)
    if is_stopped:
        ending = Deferred.fromCoroutine(setting.renewer.stop())
    else:
        setting.renewer.set_names([], Loaded())
    writing.callback(None)
    assert [] == setting.issuer.asked
    assert not is_stopped or ending.called


def test_stop_does_not_wait_for_ever(setting: Setting) -> None:
    """
    An order that does not let itself be cancelled is left after five seconds.
    """
    setting.issuer.ignores_cancelling = True
    setting.start(CLICK)
    stopping = Deferred.fromCoroutine(setting.renewer.stop())
    assert not stopping.called
    with capturedLogs() as events:
        setting.clock.advance(STOP_SECONDS)
    assert (True, 1) == (stopping.called, len(events))


def test_damaged_certificate_is_obtained_again_once(setting: Setting) -> None:
    """
    A stored one is set aside and replaced at once; a new one that is no better waits like any failure.
    """
    outcome(setting.store.put_certificate(stored()))
    setting.start(CLICK)
    setting.renewer.damaged(CLICK, BadCertificate("no context can be made of it"))
    assert ({}, [CLICK]) == (outcome(setting.store.load()).certificates, setting.issuer.asked)
    setting.issuer.finish(CLICK)
    setting.renewer.damaged(CLICK, BadCertificate("no context can be made of it"))
    setting.renewer.damaged(CLICK, BadCertificate("said twice"))
    assert [(CLICK, NOW + timedelta(minutes=1), "no context can be made of it")] == setting.failures
    assert ([CLICK], "failing") == (setting.issuer.asked, setting.state().state)


def test_damaged_certificate_during_its_renewal_is_replaced_by_it(setting: Setting) -> None:
    """
    The order that runs already is the one that replaces it.
    """
    outcome(setting.store.put_certificate(attrs.evolve(stored(), renew_at=NOW)))
    setting.start(CLICK)
    setting.renewer.damaged(CLICK, BadCertificate("odd"))
    setting.issuer.finish(CLICK)
    assert ([CLICK], [CLICK]) == (setting.issuer.asked, list(outcome(setting.store.load()).certificates))


def test_unknown_name_is_not_damaged(setting: Setting) -> None:
    """
    What is not taken care of is not set aside.
    """
    setting.start()
    setting.renewer.damaged(CLICK, BadCertificate("odd"))
    assert [] == setting.issuer.asked


def test_names_come_and_go(setting: Setting) -> None:
    """
    A new name is served from the store or ordered, a removed one's order is cancelled, the others stay as they are.
    """
    outcome(setting.store.put_certificate(stored(OTHER.text)))
    new = HostName("new.example.com")
    setting.start(CLICK)
    setting.renewer.set_names([OTHER, new], outcome(setting.store.load()))
    assert ([CLICK, new], [CLICK], None) == (
        setting.issuer.asked,
        setting.issuer.cancelled,
        setting.renewer.state(CLICK),
    )
    assert {OTHER: stored(OTHER.text).bundle} == setting.served
    setting.renewer.set_names([new], Loaded())
    assert [new] == list(setting.issuer.running)
    assert [] == setting.failures


def test_names_are_known_while_they_are_configured(setting: Setting) -> None:
    """
    Whoever asks can tell a name that is taken care of from one that never will be.
    """
    setting.start(CLICK)
    assert setting.renewer.takes_care_of(CLICK)
    setting.renewer.set_names([], Loaded())
    assert not setting.renewer.takes_care_of(CLICK)


def test_operator_who_asks_has_a_failed_name_tried_at_once(setting: Setting) -> None:
    """
    The back-off is forgotten; with the CA's limit of failed authorizations used up the name waits all the same.
    """
    setting.start(CLICK)
    for attempts in range(2, 4):
        setting.issuer.fail(CLICK, INVALID)
        setting.renewer.retry(CLICK)
        assert min(attempts, 2) == len(setting.issuer.asked)
    assert ("failing", NOW + schedule.LIMIT_WINDOW) == (setting.state().state, setting.state().next_attempt_at)


def test_name_whose_dns_has_changed_is_tried_at_once_and_says_why(setting: Setting) -> None:
    """
    Until the attempt has ended; the CA's limits hold, and then it is said as well. A running order is not touched.
    """
    setting.start(CLICK)
    setting.renewer.dns_changed(CLICK)
    setting.issuer.fail(CLICK, INVALID)
    assert None is setting.state().dns_changed_at
    setting.renewer.dns_changed(CLICK)
    assert (2, "issuing", NOW) == (len(setting.issuer.asked), setting.state().state, setting.state().dns_changed_at)
    setting.issuer.fail(CLICK, INVALID)
    assert None is setting.state().dns_changed_at
    setting.renewer.dns_changed(CLICK)
    assert (2, NOW) == (len(setting.issuer.asked), setting.state().dns_changed_at)
    setting.renewer.dns_changed(OTHER)
    setting.advance(hours=2)
    setting.issuer.finish(CLICK)
    assert ("valid", None) == (setting.state().state, setting.state().dns_changed_at)


def test_ca_of_a_name_is_that_of_its_last_attempt(setting: Setting) -> None:
    """
    Or the first one, where there was none or that one is gone.
    """
    setting.start(CLICK)
    assert (CA, None) == (setting.renewer.directory_of(CLICK), setting.renewer.directory_of(OTHER))
    setting.renewer.set_authorities([])
    assert None is setting.renewer.directory_of(CLICK)


def test_operator_asks_for_nothing_that_is_there_or_unknown(setting: Setting) -> None:
    """
    A valid certificate is not ordered again, a running order not twice, a name that is not configured never.
    """
    outcome(setting.store.put_certificate(stored()))
    setting.start(CLICK, OTHER)
    for name in (CLICK, OTHER, HostName("stranger.example")):
        setting.renewer.retry(name)
    assert [OTHER] == setting.issuer.asked


def test_other_issuer_replaces_what_came_from_the_old_one(setting: Setting) -> None:
    """
    A certificate of another CA is due at once and served meanwhile; an order that runs there is given up, not failed.
    """
    outcome(setting.store.put_certificate(stored(OTHER.text)))
    setting.start(CLICK, OTHER)
    old, new = setting.issuer, Issuer(setting.now)
    new.directory = "https://other.example/directory"
    setting.renewer.set_authorities([setting.authority(new)])
    assert ([CLICK], [CLICK], []) == (old.asked, old.cancelled, setting.failures)
    assert ([CLICK, OTHER], "renewing") == (sorted(new.asked), setting.state(OTHER).state)
    new.finish(CLICK, OTHER)
    directories = {name: one.directory for name, one in outcome(setting.store.load()).certificates.items()}
    assert {CLICK: new.directory, OTHER: new.directory} == directories
    assert ("valid", "") == (setting.state().state, setting.state().last_error)


def test_order_at_a_ca_that_stays_goes_on(setting: Setting) -> None:
    """
    A second CA beside it, or new keys for it, do not concern what is under way.
    """
    setting.start(CLICK)
    second = Issuer(setting.now)
    second.directory = "https://second.example/directory"
    setting.renewer.set_authorities([setting.authority(second), setting.authority(setting.issuer)])
    setting.issuer.finish(CLICK)
    assert ([], CA, []) == (setting.issuer.cancelled, setting.state().directory, second.asked)


def test_removed_name_leaves_its_slot_to_the_next(setting: Setting) -> None:
    """
    The attempt of a name that is removed while it is being recorded ends later; then another one may begin.
    """
    setting.parallel = 1
    setting.restart()
    writing: Deferred[None] = Deferred()
    setting.store.writing = writing
    setting.start(CLICK)
    setting.renewer.set_names([OTHER], Loaded())
    writing.callback(None)
    assert [OTHER] == setting.issuer.asked


def test_name_removed_while_it_is_stored_is_not_served(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A write that is in progress is finished, for whoever configures the name again.
    """
    setting.start(CLICK)
    writing: Deferred[None] = Deferred()

    async def slow(certificate: StoredCertificate, history: History, _limits: object) -> None:
        await writing
        await Store.put_certificate(setting.store, certificate, history)

    monkeypatch.setattr(setting.store, "put_certificate", slow)
    setting.issuer.finish(CLICK)
    setting.renewer.set_names([], Loaded())
    writing.callback(None)
    assert ({}, [CLICK]) == (setting.served, list(outcome(setting.store.load()).certificates))


def test_clock_set_back_does_not_park_a_failed_name(setting: Setting) -> None:
    """
    A next attempt that has moved a year away is brought back, and whoever answers clients is told.
    """
    setting.start(CLICK)
    setting.issuer.fail(CLICK, UNREACHABLE)
    setting.set_by = timedelta(days=-5)
    setting.renewer.want(CLICK)
    assert NOW - timedelta(days=5) + timedelta(minutes=1) == setting.failures[-1][1]
    setting.advance(minutes=2)
    assert [CLICK] * 2 == setting.issuer.asked


def test_clock_set_ahead_is_noticed_within_the_hour(setting: Setting) -> None:
    """
    A timer on monotonic time does not sleep over a renewal that wall time has made due.
    """
    outcome(setting.store.put_certificate(stored()))
    setting.start(CLICK)
    setting.set_by = timedelta(days=51)
    setting.clock.advance(LOOK_AGAIN_SECONDS)
    assert [CLICK] == setting.issuer.asked


def test_faults_of_the_serving_side_do_not_end_the_loop(setting: Setting) -> None:
    """
    Whatever the callbacks raise, certificates are stored and failures waited out.
    """

    def broken(*_args: object) -> None:
        raise ZeroDivisionError

    setting.renewer._attempts.issued = setting.renewer._attempts.failed = broken
    setting.start(CLICK, OTHER)
    with capturedLogs() as events:
        setting.issuer.finish(CLICK)
        setting.issuer.fail(OTHER, UNREACHABLE)
    setting.advance(minutes=1)
    assert [CLICK, OTHER, OTHER] == setting.issuer.asked
    assert 2 == sum(event["log_level"] == LogLevel.critical for event in events)


def test_fault_while_failing_does_not_end_the_loop(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Even when the failure itself can't be written for an unforeseen reason, the name has its next attempt.
    """

    async def broken(_name: HostName, _history: History) -> None:
        raise ZeroDivisionError

    setting.start(CLICK)
    monkeypatch.setattr(setting.store, "put_history", broken)
    with capturedLogs() as events:
        setting.issuer.fail(CLICK, UNREACHABLE)
    monkeypatch.undo()
    setting.advance(minutes=1)
    assert [CLICK] * 2 == setting.issuer.asked
    assert "an attempt broke off" in events[-1]["log_format"]


def test_cancelled_by_the_issuer_itself_is_a_failure(setting: Setting) -> None:
    """
    An issuer that cancels an order on its own does not make the name vanish.
    """
    setting.start(CLICK)
    setting.issuer.running[CLICK].cancel()
    setting.advance(minutes=1)
    assert [CLICK] * 2 == setting.issuer.asked


def test_log_speaks_when_a_name_changes(setting: Setting) -> None:
    """
    The first failure, another cause, the recovery: a line each, not one for every attempt, and no key in any.
    """
    setting.start(CLICK)
    with capturedLogs() as events:
        for wait, error in [(1, UNREACHABLE), (5, UNREACHABLE), (15, IssuanceFailed(AcmeProblem(429, "rateLimited")))]:
            setting.issuer.fail(CLICK, error)
            setting.advance(minutes=wait)
        setting.issuer.finish(CLICK)
    assert [LogLevel.warn, LogLevel.warn, LogLevel.info] == [event["log_level"] for event in events]
    assert "private" not in repr(events)
    assert not any(isinstance(value, bytes) for event in events for value in event.values())


def test_state_waits_behind_others(setting: Setting) -> None:
    """
    A name for which nothing was tried yet waits.
    """
    setting.renewer.start(names(40), Loaded())
    assert NameState("waiting", None, None, "", None) == setting.state(names(40)[39])


# When the CA wants a renewal


def rescheduled(setting: Setting, days: float, serial: str = "") -> RenewalAdvice:
    """
    Start with a certificate, and have it renewed so many *days* from now.
    """
    outcome(setting.store.put_certificate(stored(), NO_HISTORY))
    setting.start(CLICK)
    advice = RenewalAdvice(stored().bundle.serial, NOW, NOW + WEEK, NOW + WEEK, "https://ca.example/why")
    serial = serial or stored().bundle.serial
    setting.renewer.reschedule(CLICK, serial, NOW + timedelta(days=days), advice)
    return advice


def test_renewal_is_brought_forward(setting: Setting) -> None:
    """
    To a moment to come, then to one that is over, which means now.
    """
    advice = rescheduled(setting, 7)
    assert ([], NOW + WEEK, "https://ca.example/why") == (
        setting.issuer.asked,
        setting.state().renew_at,
        setting.state().explanation_url,
    )
    setting.renewer.reschedule(CLICK, stored().bundle.serial, NOW - WEEK, advice)
    assert [CLICK] == setting.issuer.asked
    assert [stored().bundle] == setting.issuer.replaced
    setting.renewer.reschedule(CLICK, stored().bundle.serial, NOW + WEEK, advice)
    setting.issuer.finish(CLICK)
    assert ([CLICK], "valid") == (setting.issuer.asked, setting.state().state)


def test_renewal_is_put_off(setting: Setting) -> None:
    """
    Until the moment that its CA prefers.
    """
    rescheduled(setting, 60)
    setting.advance(days=59)
    assert [] == setting.issuer.asked
    setting.advance(days=1)
    assert [CLICK] == setting.issuer.asked


@pytest.mark.parametrize("serial", ["0b", stored().bundle.serial])
def test_advice_on_another_certificate_changes_nothing(setting: Setting, serial: str) -> None:
    """
    Nor does that on a name which is nobody's to renew.
    """
    advice = rescheduled(setting, 50, serial)
    setting.renewer.reschedule(OTHER, "0b", NOW, advice)
    assert ([], NOW + timedelta(days=50)) == (setting.issuer.asked, setting.state().renew_at)


def test_stored_advice_is_told_after_a_restart(setting: Setting) -> None:
    """
    Unless it is about a certificate that was replaced.
    """
    outcome(setting.store.put_certificate(stored(), NO_HISTORY))
    for serial, url in ((stored().bundle.serial, "https://ca.example/why"), ("0b", "")):
        advice = RenewalAdvice(serial, NOW, NOW + WEEK, NOW + WEEK, "https://ca.example/why")
        outcome(setting.store.put_renewal(CLICK, serial, NOW + WEEK, advice))
        setting.restart()
        setting.start(CLICK)
        assert url == setting.state().explanation_url
        outcome(setting.renewer.stop())


def test_who_asks_cas_finds_certificates_and_cas(setting: Setting) -> None:
    """
    Those that are there now.
    """
    outcome(setting.store.put_certificate(stored(), NO_HISTORY))
    setting.start(CLICK)
    authority = setting.renewer.authority(CA)
    assert authority is not None
    assert (stored(), None, setting.issuer, None) == (
        setting.renewer.certificate(CLICK),
        setting.renewer.certificate(OTHER),
        authority.issuer,
        setting.renewer.authority("https://other.example/"),
    )


def test_operator_has_a_certificate_replaced_that_is_not_due(setting: Setting) -> None:
    """
    By a successor of it, which is then due when others are.
    """
    setting.issuer.answer = lambda _name: None
    outcome(setting.store.put_certificate(stored()))
    setting.start(CLICK)
    assert [] == setting.issuer.asked
    setting.renewer.renew(CLICK)
    assert ([CLICK], [stored().bundle]) == (setting.issuer.asked, setting.issuer.replaced)
    setting.advance(days=1)
    assert ("valid", [CLICK]) == (setting.state().state, setting.issuer.asked)


def test_renewal_that_an_operator_asks_for_keeps_to_back_off_and_limits(tmp_path: Path) -> None:
    """
    Unless the failure is forgiven; what the CA allows is not ours to forgive.
    """
    setting = Setting(tmp_path / "store.db", limits=Limits(certificates_per_name=Bucket(1, 3600)))
    setting.issuer.answer = lambda _name: UNREACHABLE
    outcome(setting.store.put_certificate(stored()))
    setting.start(CLICK)
    for _ in range(2):
        setting.renewer.renew(CLICK)
    assert ([CLICK], "failing") == (setting.issuer.asked, setting.state().state)
    setting.issuer.answer = lambda _name: None
    setting.renewer.retry(CLICK)
    assert ([CLICK] * 2, "valid") == (setting.issuer.asked, setting.state().state)
    setting.renewer.renew(CLICK)
    assert ([CLICK] * 2, "waiting") == (setting.issuer.asked, setting.state().state)
    assert "limits" in setting.state().last_error
    outcome(setting.store.close())


def test_renewal_of_what_is_running_or_unknown_changes_nothing(setting: Setting) -> None:
    """
    A new one comes anyway.
    """
    setting.start(CLICK)
    setting.renewer.renew(CLICK)
    setting.renewer.renew(OTHER)
    assert [CLICK] == setting.issuer.asked


def test_adopted_certificate_is_served_stored_and_renewed_when_due(setting: Setting) -> None:
    """
    The CA is asked for nothing until then, failures are forgotten.
    """
    setting.start(CLICK)
    setting.issuer.fail(CLICK, INVALID)
    assert outcome(setting.renewer.adopt(stored()))
    assert ({CLICK: stored().bundle}, "valid") == (setting.served, setting.state().state)
    setting.advance(hours=2)
    assert [CLICK] == setting.issuer.asked
    assert stored() == outcome(setting.store.load()).certificates[CLICK]
    setting.advance(days=50)
    assert [CLICK] * 2 == setting.issuer.asked


def test_order_of_before_is_forgotten_with_an_adopted_certificate(setting: Setting) -> None:
    """
    It isn't gone on with after the next start either.
    """
    outcome(setting.store.put_order(OrderRecord(CLICK, CA, "a", "o", b"key", NOW, NOW + WEEK)))
    setting.renewer._is_stopping = True
    setting.start(CLICK)
    assert outcome(setting.renewer.adopt(stored()))
    assert outcome(setting.store.order(CLICK)) is None


def test_certificate_is_not_adopted_while_an_order_runs_or_for_nobody(setting: Setting) -> None:
    """
    The order brings another, and its record must stay.
    """
    setting.start(CLICK)
    assert not outcome(setting.renewer.adopt(stored()))
    assert not outcome(setting.renewer.adopt(stored("other.example.com")))
    assert {} == setting.served


def test_renewal_that_an_operator_asked_for_survives_a_kill(setting: Setting) -> None:
    """
    The next process finds the certificate due, also where the last one had not begun.
    """
    setting.start(CLICK)
    setting.issuer.finish(CLICK)
    setting.renewer._is_stopping = True
    setting.renewer.renew(CLICK)
    setting.clock.calls.clear()
    setting.restart()
    setting.start(CLICK)
    assert [CLICK] * 2 == setting.issuer.asked


def test_kills_use_up_no_limit(setting: Setting) -> None:
    """
    A process that is killed over and over, before its order is on record or after, parks no name for the days that the
    certificates of a name take to be allowed again.
    """
    setting.limits = Limits(Bucket(4, 3600), Bucket(4, 3600), Bucket(4, 3600))
    order = OrderRecord(CLICK, CA, "https://ca.example/a/1", "https://ca.example/o/1", b"key", NOW, NOW + WEEK)
    setting.restart()
    for kill in range(20):
        setting.start(CLICK)
        if kill == 10:
            outcome(setting.store.put_order(order))
        setting.clock.calls.clear()
        setting.restart()
    setting.start(CLICK)
    setting.issuer.finish(CLICK)
    assert ([CLICK] * 21, []) == (setting.issuer.asked, setting.failures)
    stored_limits = outcome(setting.store.load()).limits[CA]
    # One certificate, and the two orders that an attempt may need: how many the killed ones made is not known.
    assert {3600.0, 7200.0} == {moment - NOW.timestamp() for moment in stored_limits.values()}

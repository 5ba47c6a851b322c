"""
Tests for `sptls.certs.attempts`: what one attempt leaves behind. What comes of many is in test_renewer.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from sptls.certs.attempts import Attempts
from sptls.certs.authorities import Attempt
from sptls.certs.authority import Authority
from sptls.certs.diagnosis import Diagnosis, Finding, Who
from sptls.certs.limits import Bucket, Demand, Ledger, Limits, Priority
from sptls.certs.recorder import Recorder
from sptls.certs.records import NO_HISTORY, History, StoredCertificate
from sptls.certs.schedule import LONGEST_ATTEMPT
from sptls.certs.standing import Standing
from sptls.certs.store import InlineWorker, Store
from sptls.errors import IssuanceFailed, OrderCancelled, PrecheckFailed, ValidationFailed
from sptls.interfaces import Issued
from tests.certs.authority import NOW
from tests.certs.stored import CA, CLICK, bundle_for, outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sptls.certs.bundle import CertificateBundle

LIFETIME = timedelta(days=60)
INVALID = IssuanceFailed(ValidationFailed("click.example.com", ()), failed_authorizations=1, orders=1)


@attrs.define
class Issuer:
    """
    Ends each order as the test says.
    """

    outcome: Issued | Exception
    begins: Callable[[], None]
    directory: str = CA
    challenge_types: int | None = None

    async def obtain(
        self, _name: object, *, replaces: CertificateBundle | None = None, challenge_types: int | None = None
    ) -> Issued:
        """
        Give the outcome.
        """
        self.challenge_types = challenge_types
        self.begins()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@attrs.define
class Scene:
    """
    Attempts on a real store, for one name at one CA that allows one order a minute.
    """

    store: Store
    path: Path
    name: Standing = attrs.field(factory=lambda: Standing(CLICK, None, NO_HISTORY))
    told: list[Any] = attrs.field(factory=list)
    clock: Clock = attrs.field(factory=Clock)
    begins: Callable[[], None] = lambda: None
    challenge_types: int = 2
    attempts: Attempts = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        def failed(_name: object, until: datetime, error: str) -> None:
            self.told.append((until, error))

        def issued(_name: object, bundle: CertificateBundle) -> None:
            self.told.append(bundle)

        recorder = Recorder(self.store, self.clock)
        self.attempts = Attempts(recorder, self.clock, lambda: NOW, lambda: 0.5, issued, failed)

    def make(self, result: Issued | Exception, *, is_stopping: bool = False) -> Authority:
        """
        Make an attempt that ends in *result*, and give the CA; *is_stopping* says that the daemon is stopped meanwhile.
        """

        def begins() -> None:
            self.attempts.is_stopping = is_stopping
            self.begins()

        issuer: Any = Issuer(result, begins)
        ledger = Ledger(Limits(orders=Bucket(1, 60)), lambda name: name)
        authority = Authority(issuer, 2, ledger, lambda: 0.5)
        outcome(
            self.attempts.make(Attempt(self.name, authority, Demand(CLICK.text, Priority.NEW), self.challenge_types))
        )
        return authority

    @property
    def history(self) -> History:
        """
        Give what is stored of the name's attempts.
        """
        return outcome(self.store.load()).histories.get(CLICK, NO_HISTORY)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """
    Give a scene.
    """
    path = tmp_path / "store.db"
    store = Store(path, InlineWorker(), lambda: NOW)
    yield Scene(store, path)
    outcome(store.close())


def test_certificate_is_stored_served_and_counted(scene: Scene) -> None:
    """
    It is drawn when it will be due; what a first challenge type failed at the CA before is remembered.
    """
    bundle = bundle_for(CLICK, NOW, NOW + LIFETIME)
    scene.make(Issued(bundle, failed_authorizations=1, orders=1))
    stored = outcome(scene.store.load()).certificates[CLICK]
    assert ([bundle], stored) == (scene.told, scene.name.certificate)
    assert NOW < stored.renew_at < NOW + LIFETIME * 2 / 3
    assert ((NOW,), 0) == (scene.history.failed_authorizations, scene.history.consecutive_failures)
    assert {"orders": NOW.timestamp() + 60} == outcome(scene.store.load()).limits[CA]


def test_certificate_and_what_it_spent_are_stored_together(scene: Scene) -> None:
    """
    Nothing is left to be written afterwards that a kill could lose.
    """
    later: list[object] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(scene.store, "put_limits", lambda *entries: later.append(entries))
        scene.make(Issued(bundle_for(CLICK, NOW, NOW + LIFETIME), orders=1))
    assert [] == later
    assert {"orders": NOW.timestamp() + 60} == outcome(scene.store.load()).limits[CA]


def test_attempt_with_fewer_challenge_types_costs_no_more(scene: Scene) -> None:
    """
    The issuer is told, and where the cost is not known it counts as that of the types that may have been tried.
    """
    scene.challenge_types = 1
    issuer: Any = scene.make(ZeroDivisionError()).issuer
    assert (1, (NOW,)) == (issuer.challenge_types, scene.history.failed_authorizations)


def test_failure_leaves_a_next_attempt(scene: Scene) -> None:
    """
    In the store, and with whoever answers clients.
    """
    scene.make(INVALID)
    assert (1, NOW + timedelta(minutes=1), None) == (
        scene.history.consecutive_failures,
        scene.history.next_attempt_at,
        scene.history.attempt_started_at,
    )
    assert [(NOW + timedelta(minutes=1), str(INVALID))] == scene.told


def test_stop_before_anything_was_asked_leaves_nothing(scene: Scene) -> None:
    """
    A name that was about to be ordered is as it was.
    """
    scene.make(IssuanceFailed(OrderCancelled()), is_stopping=True)
    assert (NO_HISTORY, []) == (scene.history, scene.told)


def test_stop_in_the_middle_leaves_the_attempt_as_begun(scene: Scene) -> None:
    """
    Its cost is not known: the next process finds that it was cut off.
    """
    scene.make(CancelledError(), is_stopping=True)
    assert (NOW, []) == (scene.history.attempt_started_at, scene.told)


def test_attempt_that_is_resumed_keeps_its_beginning(scene: Scene) -> None:
    """
    It is the same attempt still, and its end tells what all of it has cost.
    """
    begun = attrs.evolve(NO_HISTORY, directory=CA, attempt_started_at=NOW - timedelta(minutes=5))
    scene.name = Standing(CLICK, None, begun, is_resuming=True)
    scene.make(INVALID)
    assert (1, False) == (len(scene.history.failed_authorizations), scene.name.is_resuming)


ELSEWHERE = Finding(Diagnosis("dns-elsewhere", Who.CUSTOMER, "it leads elsewhere", "mend it"), is_fatal=True)


@attrs.define
class Looking:
    """
    A look that finds *findings*, and with *is_gate* lets no order begin.
    """

    findings: tuple[Finding, ...] = (ELSEWHERE,)
    is_gate: bool = False
    explained: list[BaseException] = attrs.field(factory=list)

    async def gate(self, name: object, _directory: str) -> None:
        """
        Let an order begin, or not.
        """
        if self.is_gate:
            raise IssuanceFailed(PrecheckFailed(str(name), self.findings))

    async def explain(self, _name: object, _directory: str, error: BaseException) -> tuple[Finding, ...]:
        """
        Give what was found.
        """
        self.explained.append(error)
        return self.findings


def test_what_a_look_found_is_stored_and_logged_once(scene: Scene) -> None:
    """
    The log speaks again when the cause changes, and the diagnosis survives a restart.
    """
    scene.attempts.look = look = Looking()
    with capturedLogs() as events:
        scene.make(INVALID)
        scene.make(INVALID)
        look.findings = ()
        scene.make(INVALID)
    lines = [formatEvent(event) for event in events]
    assert 2 == len(lines)
    assert "(it leads elsewhere; the CA offers no challenge type" in lines[0]
    assert "; to act: the customer (DNS); mend it; " in lines[0]
    assert "no-challenge" == getattr(scene.history.diagnosis, "code", "")


def test_gate_stops_an_order_before_it_costs_anything(scene: Scene) -> None:
    """
    The CA is not asked, and the name waits as after any failure.
    """
    scene.attempts.look = Looking(is_gate=True)
    scene.make(ZeroDivisionError())
    assert (1, (), "dns-elsewhere") == (
        scene.history.consecutive_failures,
        scene.history.failed_authorizations,
        getattr(scene.history.diagnosis, "code", ""),
    )
    assert {"orders": NOW.timestamp()} == outcome(scene.store.load()).limits[CA]


def test_nothing_is_explained_to_nobody(scene: Scene) -> None:
    """
    A stop does not wait for a look.
    """
    scene.attempts.look = look = Looking()
    scene.make(INVALID, is_stopping=True)
    assert [] == look.explained


FAILED = History(1, NOW, last_error="refused", directory=CA)


def test_clients_of_a_failing_name_are_refused_while_it_is_tried_again(scene: Scene) -> None:
    """
    It most probably fails again; who waits for the first attempt, or has an old certificate, is not told anything.
    """
    scene.name.history = FAILED
    scene.make(INVALID)
    assert (NOW + LONGEST_ATTEMPT, "refused") == scene.told[0]
    assert (NOW + timedelta(minutes=5), str(INVALID)) == scene.told[1]
    expiring = StoredCertificate(CLICK, bundle_for(CLICK, NOW, NOW + LIFETIME), CA, NOW)
    scene.name, scene.told = Standing(CLICK, expiring, FAILED), []
    scene.make(INVALID)
    assert 1 == len(scene.told)


def test_clients_may_wait_again_when_another_ca_is_asked_instead(scene: Scene) -> None:
    """
    The retry was given up: the CA that is configured now has not failed yet.
    """
    scene.name.history, scene.name.is_given_up = FAILED, True
    scene.make(IssuanceFailed(OrderCancelled()))
    assert [NOW + LONGEST_ATTEMPT, NOW] == [until for until, _ in scene.told]


def test_attempt_and_what_it_spends_are_stored_in_one_write(scene: Scene) -> None:
    """
    A kill in between would find one without the other.
    """
    seen: list[tuple[bool, int]] = []

    def look() -> None:
        with closing(sqlite3.connect(scene.path)) as connection:
            (begun,) = connection.execute("SELECT attempt_started_at FROM history").fetchone()
            (spent,) = connection.execute("SELECT count(*) FROM ca_limit").fetchone()
        seen.append((begun is not None, spent))

    scene.begins = look
    scene.make(INVALID)
    assert [(True, 1)] == seen


def test_attempt_that_ended_before_its_order_is_as_if_it_had_not_been(scene: Scene) -> None:
    """
    Its CA's books get back what it had spent, once; a CA that is configured no more keeps its own.
    """
    authority = scene.make(CancelledError(), is_stopping=True)
    begun = attrs.evolve(NO_HISTORY, directory=CA, attempt_started_at=NOW)
    scene.name = Standing(CLICK, None, begun)
    scene.attempts.withdraw(scene.name, authority)
    assert (None, NO_HISTORY) == (scene.name.history.attempt_started_at, scene.history)
    assert {"orders": NOW.timestamp()} == outcome(scene.store.load()).limits[CA]
    scene.attempts.withdraw(Standing(CLICK, None, begun), None)
    assert NO_HISTORY == scene.history

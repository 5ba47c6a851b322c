"""
A CA that refuses: rate limits, its own failures, nonces, problem documents of every kind, and what each leads to.
"""

from __future__ import annotations

from datetime import timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING

import pytest

from sptls.acme.retry import MAX_BAD_NONCES
from sptls.errors import AcmeProblem, AcmeUnreachable, Scope, ValidationFailed
from tests.acme_front.faults import PREFIX, STEPS, Answer, Change, Fault, Say, answer, problem
from tests.faults.world import NAME, World

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.pebble

TWO_MINUTES = 120
# Asked for by a request that is signed.
SIGNED = STEPS[2:]


def in_seconds(world: World) -> str:
    """
    Give Retry-After in seconds.
    """
    return str(TWO_MINUTES)


def as_date(world: World) -> str:
    """
    Give Retry-After as a date.
    """
    return format_datetime(world.now() + timedelta(seconds=TWO_MINUTES), usegmt=True)


def refused(world: World) -> AcmeProblem:
    """
    Fail with a refusal.
    """
    came = world.failure()
    assert isinstance(came.cause, AcmeProblem), came.cause
    return came.cause


# Rate limits


@pytest.mark.parametrize(
    ("step", "scope"), [("newAccount", Scope.CA), ("newOrder", Scope.ACCOUNT), ("finalize", Scope.ACCOUNT)]
)
@pytest.mark.parametrize("retry_after", [in_seconds, as_date])
def test_a_rate_limit_is_taken_at_its_word(
    world: World, step: str, scope: Scope, retry_after: Callable[[World], str]
) -> None:
    """
    It is asked once, not again and again; when the CA wants to be asked again goes to the schedule.
    """
    world.front.arm(Fault(step, Say(problem(429, "rateLimited", retry_after=retry_after(world))), times=None))
    cause = refused(world)
    assert ("rateLimited", 429, step) == (cause.type, cause.status, cause.operation)
    assert cause.retry_after_seconds == pytest.approx(TWO_MINUTES, abs=2)
    assert scope is cause.scope
    assert 1 == world.front.count(step)
    world.recover()


@pytest.mark.parametrize("content_type", ["text/html", "application/problem+json"])
def test_a_rate_limit_of_a_front_that_knows_no_acme_is_one(world: World, content_type: str) -> None:
    """
    A bare 429 is a limit as well.
    """
    said = answer(429, b"<html>slow down</html>", content_type, retry_after="60")
    world.front.arm(Fault("newOrder", Say(said), times=None))
    cause = refused(world)
    assert ("rateLimited", 60) == (cause.type, cause.retry_after_seconds)
    assert 1 == world.front.count("newOrder")
    world.recover()


def test_a_limit_of_one_name_does_not_stop_another(world: World) -> None:
    """
    While one name has too many failures, others get their certificates.
    """
    detail = f'too many failed authorizations (5) for "{NAME}" in the last 1h0m0s'
    came = world.failure_of_one(Fault("newOrder", Say(problem(429, "rateLimited", detail, "720"))))
    assert isinstance(came.cause, AcmeProblem)
    assert (Scope.NAME, "a.test") == (came.cause.scope, came.cause.concern.subject)
    world.recover()


def test_a_rate_limited_finalize_keeps_its_order(world: World) -> None:
    """
    The order is authorized already, so the next attempt finalizes it instead of ordering anew.
    """
    world.front.arm(Fault("finalize", Say(problem(429, "rateLimited", retry_after="60"))))
    world.failure()
    came = world.recover()
    assert ("order", "finalize", "order", "certificate") == came.operations
    assert 0 == came.orders


# The CA's own failures


@pytest.mark.parametrize(("step", "status"), list(zip(STEPS, [500, 503] * 4, strict=True)))
def test_two_failures_of_the_ca_are_sat_out(world: World, step: str, status: int) -> None:
    """
    Each step is asked again after a short wait.
    """
    world.front.arm(Fault(step, Say(answer(status, b"oops"), gives_nonce=False), times=2))
    came = world.issue()
    assert came.bundle is not None, came.cause
    assert (3 if step != "authorization" else 4) == came.operations.count(step)
    assert 1.5 <= came.seconds < 3


@pytest.mark.parametrize(("step", "status"), [("directory", 503), ("newOrder", 500), ("finalize", 503)])
def test_a_ca_that_goes_on_failing_is_given_up(world: World, step: str, status: int) -> None:
    """
    After six tries in a quarter of a minute the attempt ends, and the error tells whose fault it is.
    """
    world.front.arm(Fault(step, Say(problem(status, "serverInternal", "the database is away")), times=None))
    came = world.failure()
    assert isinstance(came.cause, AcmeUnreachable)
    assert f"the CA could not be reached for {step}: it answered {status}: the database is away" == str(came.cause)
    assert (6, Scope.CA) == (world.front.count(step), came.cause.scope)
    assert 15 <= came.seconds <= 17
    world.recover()


@pytest.mark.parametrize("retry_after", ["20", "a date"])
def test_a_short_retry_after_is_waited_for(world: World, retry_after: str) -> None:
    """
    Within the order the CA's own wait goes before ours.
    """
    text = format_datetime(world.now() + timedelta(seconds=20), usegmt=True) if retry_after == "a date" else "20"
    world.front.arm(Fault("newOrder", Say(answer(503, retry_after=text))))
    came = world.issue()
    assert came.bundle is not None, came.cause
    assert 18 <= came.seconds <= 22
    assert 2 == came.operations.count("newOrder")


@pytest.mark.parametrize("step", ["newAccount", "newOrder", "finalize"])
def test_a_long_retry_after_is_for_the_schedule(world: World, step: str) -> None:
    """
    Nobody holds a place in the queue for an hour, and nobody asks before it is over.
    """
    world.front.arm(Fault(step, Say(answer(503, retry_after="3600")), times=None))
    came = world.failure()
    assert isinstance(came.cause, AcmeUnreachable)
    assert 3600 == came.cause.retry_after_seconds
    assert (1, True) == (world.front.count(step), came.seconds < 2)
    world.recover()


@pytest.mark.parametrize("field", ["-5", "soon", "99999999999999999999", "Wed, 99 Foo 2026 00:00:00 GMT", ""])
def test_an_odd_retry_after_does_no_harm(world: World, field: str) -> None:
    """
    Nonsense counts as none, or as a week at the most.
    """
    world.front.arm(Fault("newOrder", Say(problem(429, "rateLimited", retry_after=field))))
    seconds = refused(world).retry_after_seconds
    assert seconds is None or 0 <= seconds <= 7 * 86400
    world.recover()


def test_a_retry_after_as_a_date_is_meant_by_the_ca_s_clock(world: World) -> None:
    """
    Whatever ours says.
    """
    said = problem(429, "rateLimited", retry_after=as_date(world))
    world.set_by = -timedelta(days=1)
    world.front.arm(Fault("newOrder", Say(said)))
    assert refused(world).retry_after_seconds == pytest.approx(TWO_MINUTES, abs=2)


# Nonces


@pytest.mark.parametrize("step", ["newAccount", "newOrder", "challenge", "finalize"])
def test_twenty_bad_nonces_in_a_row_are_survived(world: World, step: str) -> None:
    """
    Each try has the nonce that came with the refusal, at once.
    """
    world.front.arm(Fault(step, Say(problem(400, "badNonce")), times=MAX_BAD_NONCES))
    came = world.issue()
    assert came.bundle is not None, came.cause
    assert 1 == came.operations.count("newNonce")
    assert (21 if step != "authorization" else 22) == came.operations.count(step)
    assert came.seconds < 2


def test_one_bad_nonce_more_ends_the_attempt(world: World) -> None:
    """
    A CA that never takes a nonce is not asked for ever.
    """
    world.front.arm(Fault("newOrder", Say(problem(400, "badNonce")), times=None))
    assert ("badNonce", Scope.CA) == ((cause := refused(world)).type, cause.scope)
    assert MAX_BAD_NONCES + 1 == world.front.count("newOrder")
    world.recover()


@pytest.mark.parametrize("step", SIGNED[:-1])
def test_stale_nonces_are_replaced(world: World, step: str) -> None:
    """
    A nonce that the CA has forgotten is refused by it once.
    """
    world.front.arm(Fault(step, Change(lambda said: said.with_field("Replay-Nonce", "AAAAAAAAAAAAAAAAAAAAAA"))))
    came = world.issue()
    assert came.bundle is not None, came.cause
    assert 1 == came.operations.count("newNonce")


@pytest.mark.parametrize("step", SIGNED[:-1])
def test_a_missing_nonce_is_asked_for(world: World, step: str) -> None:
    """
    An answer without one costs one request.
    """
    world.front.arm(Fault(step, Change(lambda said: said.without("Replay-Nonce"))))
    came = world.issue()
    assert came.bundle is not None, came.cause
    assert 2 == came.operations.count("newNonce")


def test_a_ca_without_nonces_is_given_up(world: World) -> None:
    """
    A new nonce that is none breaks the protocol, and is not asked for in a circle.
    """
    world.front.arm(Fault("newNonce", Change(lambda said: said.without("Replay-Nonce")), times=None))
    came = world.failure()
    assert "the CA's answer to newNonce breaks the protocol: it has no Replay-Nonce" == str(came.cause)
    assert 1 == world.front.count("newNonce")
    world.recover()


# Problem documents


@pytest.mark.parametrize(
    ("step", "kind", "scope"),
    [
        ("newOrder", "rejectedIdentifier", Scope.NAME),
        ("newOrder", "unsupportedIdentifier", Scope.NAME),
        ("newOrder", "malformed", Scope.NAME),
        ("finalize", "badCSR", Scope.NAME),
        ("finalize", "badPublicKey", Scope.NAME),
        ("finalize", "caa", Scope.NAME),
        ("finalize", "unauthorized", Scope.NAME),
        ("challenge", "malformed", Scope.NAME),
        ("certificate", "unauthorized", Scope.NAME),
        ("newAccount", "invalidContact", Scope.ACCOUNT),
    ],
)
def test_a_refusal_ends_the_attempt_at_once(world: World, step: str, kind: str, scope: Scope) -> None:
    """
    It is not asked again, costs no failed authorization, and meets no other name.
    """
    fault = Fault(step, Say(problem(403, kind, "because")), times=None)
    if scope is Scope.NAME:
        came = world.failure_of_one(fault)
    else:
        world.front.arm(fault)
        came = world.failure()
    assert "because" in str(came.cause)
    assert 1 == world.front.count(step, NAME.text if scope is Scope.NAME else "")
    assert 0 == came.failed_authorizations
    assert came.seconds < 5
    world.recover()


def test_subproblems_are_kept(world: World) -> None:
    """
    What the CA says of single identifiers reaches whoever reads the error.
    """
    sub = [{"type": f"{PREFIX}caa", "detail": "not our CA", "identifier": {"type": "dns", "value": "a.test"}}]
    world.front.arm(Fault("newOrder", Say(problem(403, "compound", "several", subproblems=sub))))
    cause = refused(world)
    assert ["caa"] == [each.type for each in cause.subproblems]
    assert "caa (a.test): not our CA" in str(cause)
    world.recover()


@pytest.mark.parametrize("kind", ["caa", "dns"])
def test_a_fault_of_the_name_is_not_tried_with_every_type(world: World, kind: str) -> None:
    """
    Where every challenge type would meet the same, one failed authorization is enough.
    """
    world.issuer = world.make_issuer(types=("tls-alpn-01", "http-01"))
    came = world.failure_of_one(invalid(kind))
    assert isinstance(came.cause, ValidationFailed)
    assert (1, 1) == (came.failed_authorizations, came.orders)
    world.recover()


@pytest.mark.parametrize("kind", ["connection", "unauthorized", "tls", "incorrectResponse"])
def test_other_faults_are_tried_with_the_other_type(world: World, kind: str) -> None:
    """
    A firewall before one port is no reason to give up: a new order tries the other type.
    """
    world.issuer = world.make_issuer(types=("tls-alpn-01", "http-01"))
    world.front.arm(invalid(kind))
    came = world.issue()
    assert came.bundle is not None, came.cause
    assert (1, 2) == (came.failed_authorizations, came.orders)
    assert [kind for kind in came.operations if kind == "challenge"] == ["challenge"] * 2


def invalid(kind: str) -> Fault:
    """
    Give an authorization that became invalid by a problem of this *kind*, when it is looked at after its challenge.
    """
    error = {"type": PREFIX + kind, "detail": f"{kind} for you", "status": 403}

    def change(said: Answer) -> Answer:
        challenges = [
            {**each, "status": "invalid", "error": error} if each["status"] != "pending" else each
            for each in said.json()["challenges"]
        ]
        return said.with_members(status="invalid", challenges=challenges)

    return Fault("authorization", Change(change), nth=2)


def test_an_order_that_is_not_ready_yet_is_waited_for(world: World) -> None:
    """
    A CA whose order lags behind its authorizations is asked again, not given up.
    """
    world.front.arm(Fault("finalize", Say(problem(403, "orderNotReady"))))
    came = world.issue()
    assert came.bundle is not None, came.cause
    assert (2, 2) == (came.operations.count("finalize"), came.operations.count("order"))


def test_an_order_that_is_never_ready_ends_the_attempt(world: World) -> None:
    """
    Finalized twice and no more.
    """
    world.front.arm(Fault("finalize", Say(problem(403, "orderNotReady")), times=None))
    assert "orderNotReady" == refused(world).type
    assert 2 == world.front.count("finalize")
    world.recover()

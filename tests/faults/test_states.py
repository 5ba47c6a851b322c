"""
Orders and authorizations in every state that RFC 8555 §7.1.6 knows, at moments when they should not be in it.
"""

from __future__ import annotations

from typing import Any

import pytest

from sptls.acme.issue import ORDER_SECONDS
from sptls.acme.retry import LONGEST_POLL_SECONDS
from sptls.errors import AcmeProblem, AcmeProtocolError, AcmeUnreachable, ValidationFailed
from tests.acme_front.faults import PREFIX, Answer, Change, Fault, Say, problem
from tests.faults.world import NAME, World

pytestmark = pytest.mark.pebble

# Polls thin out until there is one every three seconds.
MOST_POLLS = ORDER_SECONDS / LONGEST_POLL_SECONDS + 12


def in_status(operation: str, status: str, nth: int = 1, times: int | None = None, **members: object) -> Fault:
    """
    Let the CA say that an order or authorization is in this *status*.
    """
    return Fault(operation, Change(lambda said: said.with_members(status=status, **members)), nth, times)


def pending_again(said: Answer) -> Answer:
    """
    Give an authorization whose challenge is still being validated.
    """
    challenges = [
        {"type": each["type"], "url": each["url"], "token": each["token"], "status": "processing"}
        for each in said.json()["challenges"]
    ]
    return said.with_members(status="pending", challenges=challenges)


def test_an_authorization_that_stays_pending_ends_with_the_order_s_time(world: World) -> None:
    """
    It is polled ever more slowly, until three minutes are over; what it may still cost counts.
    """
    came = world.failure_of_one(Fault("authorization", Change(pending_again), nth=2, times=None))
    assert isinstance(came.cause, AcmeUnreachable)
    assert ("authorization", 1) == (came.cause.operation, came.failed_authorizations)
    assert "not finished when the order's time was up" in str(came.cause)
    assert came.operations.count("authorization") <= MOST_POLLS + 2
    assert ORDER_SECONDS - LONGEST_POLL_SECONDS <= came.seconds
    world.recover()


def test_an_order_that_stays_processing_ends_with_the_order_s_time(world: World) -> None:
    """
    The CA may still issue it, so the next attempt asks for it first, and gets it.
    """
    came = world.failure_of_one(in_status("finalize", "processing"), in_status("order", "processing"))
    assert isinstance(came.cause, AcmeUnreachable)
    assert ("order", 0) == (came.cause.operation, came.failed_authorizations)
    assert came.operations.count("order") <= MOST_POLLS
    later = world.recover()
    assert ("order", "certificate") == later.operations
    assert 0 == later.orders


def test_an_order_that_is_stuck_for_an_hour_is_ordered_anew(world: World) -> None:
    """
    It is not followed for ever.
    """
    world.front.arm(in_status("finalize", "processing"), in_status("order", "processing"))
    world.failure()
    world.reactor.pass_time(3600)
    world.front.faults.clear()
    world.front.arm(in_status("order", "processing", times=1))
    came = world.issue()
    assert came.bundle is not None, came.cause
    assert ("order", "newOrder") == came.operations[:2]


@pytest.mark.parametrize("status", ["pending", "ready"])
def test_an_order_that_falls_back_after_finalizing_breaks_the_protocol(world: World, status: str) -> None:
    """
    A finalized order is processing, valid or invalid.
    """
    came = world.failure_of_one(in_status("finalize", status))
    assert isinstance(came.cause, AcmeProtocolError)
    assert f"a finalized order can't be {status}" == came.cause.reason
    world.recover()


def test_an_order_that_never_becomes_ready_ends_with_the_order_s_time(world: World) -> None:
    """
    Though its authorizations are valid.
    """
    world.front.arm(Fault("finalize", Say(problem(403, "orderNotReady")), times=None), in_status("order", "pending"))
    came = world.failure()
    assert isinstance(came.cause, AcmeUnreachable)
    assert ("order", 0) == (came.cause.operation, came.failed_authorizations)
    world.recover()


@pytest.mark.parametrize("status", ["processing", "valid"])
def test_a_new_order_that_is_not_new_breaks_the_protocol(world: World, status: str) -> None:
    """
    Its certificate would have a key that is not ours.
    """
    more: dict[str, Any] = {"certificate": "https://127.0.0.1/certZ/1"} if status == "valid" else {}
    came = world.failure_of_one(in_status("newOrder", status, **more))
    assert isinstance(came.cause, AcmeProtocolError)
    assert f"a new order can't be {status}" == came.cause.reason
    world.recover()


def test_a_valid_order_without_a_certificate_breaks_the_protocol(world: World) -> None:
    """
    There is nothing to download.
    """
    came = world.failure_of_one(Fault("order", Change(lambda said: said.with_members(certificate="")), times=None))
    assert isinstance(came.cause, AcmeProtocolError)
    world.recover()


@pytest.mark.parametrize("operation", ["newOrder", "finalize", "order"])
def test_an_invalid_order_says_why(world: World, operation: str) -> None:
    """
    The CA's reason is the error; the next attempt orders anew.
    """
    error = {"type": PREFIX + "serverInternal", "detail": "the key is on a list", "status": 403}
    came = world.failure_of_one(in_status(operation, "invalid", error=error))
    assert isinstance(came.cause, AcmeProblem)
    assert ("the key is on a list", 0) == (came.cause.detail, came.failed_authorizations)
    assert 1 == world.recover().operations.count("newOrder")


def test_an_invalid_order_without_a_reason_is_said(world: World) -> None:
    """
    So that nobody looks for it.
    """
    came = world.failure_of_one(in_status("order", "invalid"))
    assert "the order is invalid; the CA gave no reason" in str(came.cause)
    world.recover()


@pytest.mark.parametrize(
    ("status", "words"),
    [("deactivated", "was deactivated"), ("expired", "expired"), ("revoked", "was revoked"), ("invalid", "is invalid")],
)
@pytest.mark.parametrize("nth", [1, 2], ids=["at once", "after the challenge"])
def test_an_authorization_that_ended_costs_its_order(world: World, status: str, words: str, nth: int) -> None:
    """
    Only an invalid one after our answer counts as failed; a leftover costs a new order, and so does the next attempt.
    """
    came = world.failure_of_one(in_status("authorization", status, nth=nth))
    assert isinstance(came.cause, ValidationFailed)
    assert f"the authorization {words}; the CA gave no reason" in str(came.cause)
    assert (1 if (status, nth) == ("invalid", 2) else 0) == came.failed_authorizations
    assert came.orders <= 2
    world.recover()


@pytest.mark.parametrize("status", ["deactivated", "expired", "revoked", "invalid"])
def test_one_stale_authorization_is_ordered_anew(world: World, status: str) -> None:
    """
    A leftover of an earlier order, which the CA had attached to the new one, does not fail the attempt.
    """
    world.front.arm(in_status("authorization", status, times=1))
    came = world.issue()
    assert came.bundle is not None, came.cause
    assert (2, 0) == (came.orders, came.failed_authorizations)


def test_a_valid_authorization_needs_no_challenge(world: World) -> None:
    """
    What the CA still holds valid is not proven again; here the order is not ready, so finalizing is refused for good.
    """
    world.front.arm(in_status("authorization", "valid"))
    came = world.failure()
    assert 0 == came.operations.count("challenge")
    world.recover()


def test_a_challenge_type_that_is_not_offered_is_said(world: World) -> None:
    """
    Without an order for each type: the CA will not offer it the next moment.
    """

    def change(said: Answer) -> Answer:
        return said.with_members(challenges=[each for each in said.json()["challenges"] if each["type"] == "dns-01"])

    came = world.failure_of_one(Fault("authorization", Change(change), times=None))
    assert "a.test can't be validated: the CA offered no challenge type that is configured" == str(came.cause)
    assert (0, 1) == (came.failed_authorizations, came.orders)
    world.recover()


@pytest.mark.parametrize("token", ["", "../../etc/passwd", "a b", "é"])
def test_a_token_that_is_none_is_never_presented(world: World, token: str) -> None:
    """
    It would become part of a path.
    """

    def change(said: Answer) -> Answer:
        return said.with_members(challenges=[{**each, "token": token} for each in said.json()["challenges"]])

    came = world.failure_of_one(Fault("authorization", Change(change), times=None))
    assert isinstance(came.cause, AcmeProtocolError)
    assert 0 == world.front.count("challenge", NAME.text)
    world.recover()

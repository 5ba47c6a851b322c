from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred

from sptls.acme.validation import RESPONDER_SECONDS
from sptls.errors import (
    AcmeUnreachable,
    OrderCancelled,
    ValidationFailed,
)
from tests.acme.fake_ca import ORIGIN, json_reply, problem
from tests.acme.world import NAME, UNREACHABLE, World, lose_answer


def test_what_worked_is_tried_first_the_next_time(world: World) -> None:
    """
    A firewall costs one failed authorization, not one for each renewal.
    """
    world.fail_types("tls-alpn-01")
    world.issue()
    world.ca.requests.clear()
    world.issue()
    assert 1 == world.ca.requests["newOrder"]


def test_a_type_that_is_not_offered_costs_nothing(world: World) -> None:
    """
    The next one in order of preference is taken, in the same order.
    """
    world.ca.challenge_types = ["dns-01", "http-01"]
    world.issue()
    assert (1, ["a.test"]) == (world.ca.requests["newOrder"], world.http.names)


def test_no_configured_type_offered_fails_without_cost(world: World) -> None:
    """
    Nothing is answered that nobody can answer.
    """
    world.ca.challenge_types = ["dns-01"]
    cause, failed_authorizations = world.failure()
    assert (ValidationFailed, 0) == (type(cause), failed_authorizations)


def test_a_valid_authorization_is_used(world: World) -> None:
    """
    What the CA holds valid is not proven again.
    """
    world.ca.reuses_authorizations = True
    world.issue()
    world.issue()
    assert 1 == world.ca.requests["challenge"]


def test_a_valid_authorization_of_a_pending_order_is_skipped(world: World) -> None:
    """
    Some CAs leave the order pending while its authorizations are valid.
    """
    valid = {"identifier": {"type": "dns", "value": "a.test"}, "status": "valid", "challenges": []}
    world.ca.fail("authorization", json_reply(valid))
    cause, _ = world.failure()
    assert 0 == world.ca.requests["challenge"]
    # The fake CA still holds it pending, so it never becomes ready; the order is polled until its time is up.
    assert isinstance(cause, AcmeUnreachable)


def test_an_authorization_that_is_being_validated_is_waited_for(world: World) -> None:
    """
    After a lost answer or a restart the CA may be at work already.
    """
    challenge = {"type": "http-01", "url": f"{ORIGIN}/c", "token": "t", "status": "processing"}
    identifier = {"type": "dns", "value": "a.test"}
    pending = {"identifier": identifier, "status": "pending", "challenges": [challenge]}
    invalid = {"identifier": identifier, "status": "invalid", "challenges": [{**challenge, "error": UNREACHABLE}]}
    world.ca.fail("authorization", json_reply(pending), json_reply(pending), json_reply(invalid))
    world.issue()
    assert 2 == world.ca.requests["newOrder"]


@pytest.mark.parametrize("status", ["expired", "deactivated", "revoked"])
def test_an_authorization_that_ended_is_no_failed_validation(world: World, status: str) -> None:
    """
    Only an invalid authorization counts against the CA's limit.
    """
    ended = {"identifier": {"type": "dns", "value": "a.test"}, "status": status, "challenges": []}
    world.ca.fail("authorization", *[json_reply(ended)] * 9)
    cause, failed_authorizations = world.failure()
    assert (ValidationFailed, 0) == (type(cause), failed_authorizations)
    assert 3 == world.ca.requests["newOrder"]


def test_a_lost_answer_to_a_challenge_is_survived(world: World) -> None:
    """
    The repeated response is refused, because the first one is being acted on.
    """
    world.ca.validation_polls = 1
    lose_answer(world, "challenge")
    world.issue()
    assert (2, 1) == (world.ca.requests["challenge"], world.ca.requests["newOrder"])


def test_a_refused_challenge_is_the_cas_problem(world: World) -> None:
    """
    When the authorization is still waiting for a response, the refusal was meant.
    """
    world.ca.fail("challenge", problem(400, "malformed", "no"))
    cause, failed_authorizations = world.failure()
    assert ("malformed", 0) == (getattr(cause, "type", ""), failed_authorizations)


def test_a_broken_responder_is_a_failed_type_without_cost(world: World) -> None:
    """
    The next type is tried, and the CA is not told of a challenge that nobody answers.
    """
    world.tls.starts = RuntimeError("port in use")
    assert (NAME,) == world.issue().names
    assert 1 == world.ca.requests["challenge"]
    world.http.starts = RuntimeError("disk full")
    world.issuer = world.new_issuer()
    cause, failed_authorizations = world.failure()
    assert "port in use" in str(cause)
    assert "disk full" in str(cause)
    assert 0 == failed_authorizations


def test_a_responder_that_does_not_stop_changes_nothing(world: World) -> None:
    """
    The certificate was issued all the same.
    """
    world.tls.stops = RuntimeError("cannot stop")
    assert (NAME,) == world.issue().names


def test_a_hanging_responder_is_given_up(world: World) -> None:
    """
    The next type is tried after a minute.
    """
    world.tls.starts = Deferred()
    world.issue()
    assert RESPONDER_SECONDS <= world.reactor.seconds() < RESPONDER_SECONDS + 5


def test_a_responder_may_take_its_time(world: World) -> None:
    """
    The CA is told when the answer is there, not before.
    """
    world.tls.starts = Deferred()
    issued = Deferred.fromCoroutine(world.issuer.obtain(NAME))
    assert 0 == world.ca.requests["challenge"]
    world.tls.starts.callback(None)
    outcomes: list[object] = []
    issued.addCallback(outcomes.append)
    world.reactor.settle(outcomes)
    assert 1 == world.ca.requests["challenge"]


def test_cancelling_withdraws_a_challenge_that_is_being_presented(world: World) -> None:
    """
    The responder is stopped though it has not started yet.
    """
    world.tls.starts = Deferred()
    issued = Deferred.fromCoroutine(world.issuer.obtain(NAME))
    issued.cancel()
    outcomes: list[object] = []
    issued.addErrback(lambda failure: outcomes.append(str(failure.value)))
    assert ([str(OrderCancelled())], {}, 0) == (outcomes, world.tls.open, world.ca.requests["challenge"])


def test_a_challenge_answered_before_a_crash_is_answered_on(world: World) -> None:
    """
    The CA validates while nobody answers, unless the next process does at once.
    """
    world.ca.validation_polls = 3
    begun = Deferred.fromCoroutine(world.issuer.obtain(NAME))
    begun.addErrback(lambda _: None)
    while "processing" not in {each["status"] for order in world.ca.orders for each in order.challenges.values()}:
        world.reactor.advance(0.05)
    begun.cancel()
    assert {} == world.tls.open
    world.restart()
    issued = world.obtain()
    assert (0, 0, 1) == (issued.orders, issued.failed_authorizations, world.ca.requests["newOrder"])


def test_a_challenge_that_is_still_being_validated_may_fail_yet(world: World) -> None:
    """
    The CA owes its outcome, so it counts; the attempt that goes on with it does not count it again.
    """
    world.ca.validation_polls = 10**6
    assert 1 == world.failure()[1]
    assert 0 == world.failure()[1]
    world.ca.orders[0].validation_polls = world.ca.validation_polls = 0
    world.fail_types("tls-alpn-01", "http-01")
    assert 2 == world.failure()[1]


def test_a_challenge_that_we_can_not_answer_is_waited_for(world: World) -> None:
    """
    Another client of the same account may prove the name in its own way, and the CA counts it if that fails.
    """
    challenge = {"type": "dns-01", "url": f"{ORIGIN}/c", "token": "t", "status": "processing"}
    identifier = {"type": "dns", "value": "a.test"}
    pending = {"identifier": identifier, "status": "pending", "challenges": [challenge]}
    world.ca.fail("authorization", json_reply(pending), json_reply({**pending, "status": "invalid"}))
    assert 1 == world.obtain().failed_authorizations

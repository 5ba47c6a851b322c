from __future__ import annotations

from datetime import timedelta

import attrs
import pytest
from twisted.internet.defer import Deferred

from sptls.acme.issue import ORDER_SECONDS
from sptls.acme.ordering import MOST_UNRECORDED
from sptls.acme.renewal import certificate_identifier
from sptls.config import AcmeConfig
from sptls.errors import (
    AcmeProblem,
    AcmeProtocolError,
    AcmeUnreachable,
    ActionRequired,
    BadCertificate,
    ConfigError,
    IssuanceFailed,
    SptlsError,
    ValidationFailed,
)
from sptls.interfaces import Issued
from sptls.names import HostName
from tests.acme.fake_ca import AUTHORITY, DIRECTORY, NOW, ORIGIN, Reply, json_reply, problem
from tests.acme.world import CAA, NAME, World, lose_answer


def test_each_certificate_has_a_new_key(world: World) -> None:
    """
    A key is used for one certificate only.
    """
    assert world.issue().key != world.issue().key


def test_the_second_type_is_tried_with_a_new_order(world: World) -> None:
    """
    A failed challenge costs its order; the next type gets another.
    """
    world.fail_types("tls-alpn-01")
    assert (NAME,) == world.issue().names
    assert 2 == world.ca.requests["newOrder"]
    assert ({}, {}) == (world.http.open, world.tls.open)


def test_when_every_type_fails_all_are_told(world: World) -> None:
    """
    The failure counts both authorizations and has both problems; no order is wasted once no type is left.
    """
    world.fail_types("tls-alpn-01", "http-01")
    cause, failed_authorizations = world.failure()
    assert isinstance(cause, ValidationFailed)
    assert ["tls-alpn-01", "http-01"] == [kind for kind, _ in cause.failures]
    assert "refused" in str(cause)
    assert (2, 2) == (failed_authorizations, world.ca.requests["newOrder"])


def test_a_fault_of_the_name_is_not_tried_twice(world: World) -> None:
    """
    CAA forbids every type, so one failed authorization is enough.
    """
    world.fail_types("tls-alpn-01", error=CAA)
    cause, failed_authorizations = world.failure()
    assert (1, 1) == (failed_authorizations, world.ca.requests["newOrder"])
    assert isinstance(cause, ValidationFailed)


def test_a_lost_answer_to_finalize_is_survived(world: World) -> None:
    """
    The repeated request finds the order processing, and what comes of it is ours.
    """
    lose_answer(world, "finalize")
    assert (NAME,) == world.issue().names
    assert (2, 1) == (world.ca.requests["finalize"], world.ca.requests["newOrder"])


def test_an_order_that_is_ready_a_moment_later_is_finalized(world: World) -> None:
    """
    A CA that needs a moment to see its own authorization is waited for (RFC 8555 §7.4).
    """
    world.ca.fail("finalize", problem(403, "orderNotReady"))
    world.issue()
    assert 2 == world.ca.requests["finalize"]


def test_a_refused_csr_is_the_cas_problem(world: World) -> None:
    """
    Other refusals of finalize stand.
    """
    world.ca.fail("finalize", problem(400, "badCSR"))
    assert "badCSR" == getattr(world.failure()[0], "type", "")


def test_a_slow_ca_is_waited_for(world: World) -> None:
    """
    Validation and issuance may take many polls.
    """
    world.ca.validation_polls = world.ca.processing_polls = 20
    assert (NAME,) == world.issue().names


@pytest.mark.parametrize("stuck", ["validation_polls", "processing_polls"])
def test_a_stuck_order_ends_at_its_deadline(world: World, stuck: str) -> None:
    """
    A CA that never finishes holds the order no longer than its time.
    """
    setattr(world.ca, stuck, 10**6)
    cause, failed_authorizations = world.failure()
    # A challenge whose outcome the CA owes us may fail yet.
    assert (AcmeUnreachable, stuck == "validation_polls") == (type(cause), failed_authorizations)
    assert 170 < world.reactor.seconds() <= ORDER_SECONDS


@pytest.mark.parametrize("status", ["processing", "valid"])
def test_a_new_order_in_an_impossible_state_breaks_the_protocol(world: World, status: str) -> None:
    """
    A certificate for a key that is not ours is of no use.
    """
    world.ca.fail("newOrder", new_order(status))
    assert isinstance(world.failure()[0], AcmeProtocolError)


def new_order(status: str, **more: object) -> Reply:
    """
    Give the answer to newOrder with an order in *status*.
    """
    order = {"status": status, "authorizations": [], "finalize": f"{ORIGIN}/f", "certificate": f"{ORIGIN}/c", **more}
    return json_reply(order, 201, {"Location": f"{ORIGIN}/order/0"})


def test_an_invalid_order_is_the_cas_problem(world: World) -> None:
    """
    What the CA says of it is the cause, also when it says nothing.
    """
    world.ca.fail("newOrder", new_order("invalid", error=CAA))
    assert "caa" == getattr(world.failure()[0], "type", "")
    world.ca.fail("newOrder", new_order("invalid"))
    assert "unauthorized" == getattr(world.failure()[0], "type", "")


@pytest.mark.parametrize(("status", "cause"), [("invalid", AcmeProblem), ("pending", AcmeProtocolError)])
def test_a_finalized_order_that_gives_no_certificate_fails(world: World, status: str, cause: type[SptlsError]) -> None:
    """
    Invalid is a refusal; any other state is none that finalize leads to.
    """
    world.ca.fail("finalize", new_order(status))
    assert cause is type(world.failure()[0])


def test_a_rejected_name_is_the_cas_problem(world: World) -> None:
    """
    Policy refuses before any authorization.
    """
    world.ca.fail("newOrder", problem(400, "rejectedIdentifier", "policy", subproblems=[CAA]))
    cause, failed_authorizations = world.failure()
    assert isinstance(cause, AcmeProblem)
    assert ("caa", 0) == (cause.subproblems[0].type, failed_authorizations)


def test_a_certificate_that_is_not_valid_yet_is_refused(world: World) -> None:
    """
    Nothing is handed on that a client would reject.
    """
    world.ca.valid_from = NOW + timedelta(days=2)
    assert isinstance(world.failure()[0], BadCertificate)


@pytest.mark.parametrize("chain", [b"", b"garbage", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_chain_that_is_none_is_refused(world: World, chain: bytes) -> None:
    """
    Garbage of the right type is a bad certificate.
    """
    world.ca.fail("certificate", Reply(content=chain, content_type="application/pem-certificate-chain"))
    assert isinstance(world.failure()[0], BadCertificate)


@pytest.mark.parametrize(
    ("preferred", "expected", "requests"),
    [("", "Fake", 1), ("Fake Root", "Fake", 1), ("Other Root", "Other", 2), ("No", "Fake", 2)],
)
def test_the_preferred_issuers_chain_is_taken(world: World, preferred: str, expected: str, requests: int) -> None:
    """
    Alternates are fetched only as long as they are needed; without a match the CA's own choice stays.
    """
    world.ca.offers_other_chain, world.preferred_issuer = True, preferred
    world.issuer = world.new_issuer()
    assert f"CN={expected} Root" == world.issue().issuer
    assert requests == world.ca.requests["certificate"]


@pytest.mark.parametrize("operation", ["authorization", "challenge", "finalize", "order", "certificate"])
def test_a_crash_costs_no_second_order(world: World, operation: str) -> None:
    """
    Wherever it was, the next process goes on with the order, and gets the certificate for the key that it had.
    """
    world.crash(operation)
    key = world.orders.records[NAME].key
    issued = world.obtain()
    assert (0, 0, 0) == (world.ca.requests["newOrder"], issued.orders, issued.failed_authorizations)
    assert key == issued.bundle.key


def test_a_certificate_that_was_never_stored_is_fetched_again(world: World) -> None:
    """
    The order is kept until whoever stores the certificate removes it.
    """
    first = world.reactor.run(world.issuer.obtain(NAME)).bundle
    world.ca.requests.clear()
    world.restart()
    assert first == world.issue()
    assert {"newNonce": 1, "directory": 1, "order": 1, "certificate": 1} == world.ca.requests


def types_of(world: World) -> list[list[str]]:
    """
    Give the challenge types that were answered, order by order.
    """
    return [
        [kind for kind, each in order.challenges.items() if each["status"] != "pending"] for order in world.ca.orders
    ]


def test_an_authorization_that_failed_in_a_crash_counts_once(world: World) -> None:
    """
    The CA found nobody who answered; the next type gets a new order in the same attempt.
    """
    world.crash_in_validation()
    issued = world.obtain()
    assert (1, 1) == (issued.failed_authorizations, issued.orders)
    assert [["tls-alpn-01"], ["http-01"]] == types_of(world)


def test_a_crash_in_each_type_s_validation_ends_the_attempt(world: World) -> None:
    """
    However often it was cut off, an attempt fails each challenge type once, and says what it cost in all.
    """
    world.crash_in_validation()
    world.crash_in_validation()
    cause, failed_authorizations = world.failure()
    assert (ValidationFailed, 2, 2) == (type(cause), failed_authorizations, len(world.ca.orders))
    assert {} == world.orders.records


def test_what_failed_before_a_crash_is_counted_after_it(world: World) -> None:
    """
    The first type's failure is on record with the order for the second one, which is gone on with.
    """
    world.fail_types("tls-alpn-01")
    world.crash("finalize")
    issued = world.obtain()
    assert (1, 0, 2) == (issued.failed_authorizations, issued.orders, len(world.ca.orders))


def test_a_failure_is_counted_though_the_next_order_was_never_made(world: World) -> None:
    """
    Until another order takes its place, the one that failed is on record.
    """
    world.fail_types("tls-alpn-01")
    world.crash("newOrder", in_validation=True)
    assert ["invalid"] == [order.status for order in world.ca.orders]
    issued = world.obtain()
    assert (1, 1) == (issued.failed_authorizations, issued.orders)


@pytest.mark.parametrize("operation", ["newOrder", "finalize"])
def test_what_an_attempt_has_told_it_does_not_tell_again(world: World, operation: str) -> None:
    """
    It ends by a limit, before or in the second type's order, which the next attempt may go on with.
    """
    world.fail_types("tls-alpn-01")
    world.arm_in_validation(operation, problem(429, "rateLimited"))
    assert 1 == world.failure()[1]
    world.ca.validate = world.validate
    assert 0 == world.obtain().failed_authorizations


def test_an_order_that_ended_meanwhile_is_replaced(world: World) -> None:
    """
    It is forgotten, and a new one made in the same attempt.
    """
    world.crash("finalize")
    world.ca.orders[0].status = "invalid"
    issued = world.obtain()
    assert (1, 1) == (world.ca.requests["newOrder"], issued.orders)


@pytest.mark.parametrize(
    "answer", [problem(404, "malformed", "no such order"), Reply(content=b"<html>", content_type="text/html")]
)
def test_an_order_that_the_ca_lost_is_replaced(world: World, answer: Reply) -> None:
    """
    A CA that was set up anew knows nothing of it, and says so in its own way.
    """
    world.crash("challenge")
    world.ca.fail("order", answer)
    assert 1 == world.obtain().orders


def test_an_order_waits_for_a_ca_that_is_busy(world: World) -> None:
    """
    A limit is no reason to order again: the next attempt goes on with it.
    """
    world.crash("finalize")
    world.ca.fail("order", problem(429, "rateLimited", "", {"Retry-After": "60"}))
    assert 0 == world.failure()[1]
    assert 0 == world.obtain().orders


def test_a_stuck_order_is_gone_on_with_and_then_given_up(world: World) -> None:
    """
    The attempt that ran out of time leaves its order; an hour later a new one is made.
    """
    world.ca.processing_polls = 10**6
    assert isinstance(world.failure()[0], AcmeUnreachable)
    world.ca.requests.clear()
    assert isinstance(world.failure()[0], AcmeUnreachable)
    assert 0 == world.ca.requests["newOrder"]
    world.orders.records[NAME] = attrs.evolve(world.orders.records[NAME], created_at=NOW - timedelta(hours=2))
    world.ca.processing_polls = 0
    assert 1 == world.obtain().orders


def test_a_lost_account_loses_its_orders(world: World) -> None:
    """
    The order of an account that is gone is not asked for, nor kept.
    """
    world.crash("finalize")
    world.orders.records[NAME] = attrs.evolve(world.orders.records[NAME], account_url=f"{ORIGIN}/account/9")
    assert 1 == world.obtain().orders
    assert {} == world.orders.records


def test_an_order_that_fails_is_forgotten(world: World) -> None:
    """
    Nothing is kept that leads nowhere.
    """
    world.fail_types("tls-alpn-01", "http-01")
    world.failure()
    assert {} == world.orders.records
    world.ca.validate = world.validate
    world.ca.fail("finalize", problem(400, "badPublicKey"))
    world.failure()
    assert {} == world.orders.records


def test_a_leftover_that_leads_to_the_old_certificate_is_no_renewal(world: World) -> None:
    """
    What was stored without its order being removed is ordered anew when it is due.
    """
    world.ca.valid_from = NOW - timedelta(days=60)
    old = world.reactor.run(world.issuer.obtain(NAME)).bundle
    world.ca.valid_from = NOW - timedelta(hours=1)
    assert old.not_after < world.obtain(replaces=old).bundle.not_after


def test_a_leftover_whose_certificate_can_not_be_served_is_replaced(world: World) -> None:
    """
    Downloaded again it would be no better; the new one has a new key.
    """
    old = world.reactor.run(world.issuer.obtain(NAME)).bundle
    (order,) = world.ca.orders
    assert order.csr is not None
    order.chain = AUTHORITY.issue(order.csr, NOW - timedelta(days=100))
    issued = world.obtain()
    assert (1, True) == (issued.orders, issued.bundle.key != old.key)


def test_a_challenge_that_fails_in_a_taken_up_order_costs_its_type(world: World) -> None:
    """
    The next type gets a new order.
    """
    world.crash("authorization")
    world.fail_types("tls-alpn-01")
    issued = world.obtain()
    assert (1, 1) == (issued.orders, issued.failed_authorizations)


def test_a_success_tells_what_it_cost(world: World) -> None:
    """
    A type that failed before the other worked is told, since the CA counts it.
    """
    world.fail_types("tls-alpn-01")
    issued = world.obtain()
    assert (1, 2, False) == (issued.failed_authorizations, issued.orders, issued.is_replacement)


def test_a_failure_tells_the_orders_it_cost(world: World) -> None:
    """
    The CA counts orders for each account.
    """
    world.fail_types("tls-alpn-01", "http-01")
    with pytest.raises(IssuanceFailed) as raised:
        world.issue()
    assert (2, 2) == (raised.value.orders, raised.value.failed_authorizations)


def test_a_renewal_replaces_its_predecessor(world: World) -> None:
    """
    The CA is told which certificate is replaced (RFC 9773 §5), and then counts no order.
    """
    world.ca.renewal_window = {}
    old = world.issue()
    issued = world.obtain(replaces=old)
    assert (True, 0) == (issued.is_replacement, issued.orders)
    assert certificate_identifier(old.chain[0]) == world.ca.payloads[-1]["replaces"]


def test_what_was_replaced_once_is_ordered_without(world: World) -> None:
    """
    One more request, and the certificate comes all the same.
    """
    world.ca.renewal_window = {}
    old = world.issue()
    world.obtain(replaces=old)
    world.ca.requests.clear()
    issued = world.obtain(replaces=old)
    assert (2, 1, False) == (world.ca.requests["newOrder"], issued.orders, issued.is_replacement)


def test_only_one_more_order_is_asked_for(world: World) -> None:
    """
    What is refused without replacing too was not refused for that.
    """
    world.ca.renewal_window = {}
    old = world.issue()
    world.ca.requests.clear()
    world.ca.fail("newOrder", *[problem(403, "unauthorized", "deactivated")] * 9)
    cause, _ = world.failure(replaces=old)
    assert (ActionRequired, 2) == (type(cause), world.ca.requests["newOrder"])


@pytest.mark.parametrize("refusal", ["rateLimited", "rejectedIdentifier"])
def test_a_limit_is_not_tried_without_replacing(world: World, refusal: str) -> None:
    """
    It was not about the replacement.
    """
    world.ca.renewal_window = {}
    old = world.issue()
    world.ca.requests.clear()
    world.ca.fail("newOrder", problem(429, refusal))
    world.failure(replaces=old)
    assert 1 == world.ca.requests["newOrder"]


def test_a_ca_without_renewal_information_is_told_of_no_predecessor(world: World) -> None:
    """
    It may refuse members that it does not know.
    """
    old = world.issue()
    assert not world.obtain(replaces=old).is_replacement
    assert "replaces" not in world.ca.payloads[-1]


def test_a_restart_remembers_that_an_order_replaces(world: World) -> None:
    """
    The limits do not count it then either.
    """
    world.ca.renewal_window = {}
    old = world.issue()
    world.ca.valid_from = NOW
    world.reactor.run(world.issuer.obtain(NAME, replaces=old))
    world.restart()
    assert world.obtain(replaces=old).is_replacement


def with_profile(world: World, profile: str) -> None:
    """
    Configure *profile*.
    """
    world.issuer = world.new_issuer(AcmeConfig(directory=DIRECTORY, agree_to_terms=True, profile=profile))


def test_the_profile_is_ordered(world: World) -> None:
    """
    The one that is configured, where the CA offers it.
    """
    world.ca.profiles = {"shortlived": "160 hours"}
    with_profile(world, "shortlived")
    world.issue()
    assert "shortlived" == world.ca.payloads[-1]["profile"]


def test_an_unknown_profile_costs_nothing(world: World) -> None:
    """
    No order is made, the error names what there is, and one that is added later is found.
    """
    world.ca.profiles = {"classic": "the usual"}
    with_profile(world, "shortlived")
    cause, _ = world.failure()
    assert isinstance(cause, ConfigError)
    assert "it offers classic" in str(cause)
    assert 0 == world.ca.requests["newOrder"]
    world.ca.profiles["shortlived"] = "160 hours"
    world.issue()


def test_a_profile_that_is_withdrawn_is_told(world: World) -> None:
    """
    Though the directory of this morning has it; the next attempt looks again.
    """
    world.ca.profiles = {"shortlived": "160 hours", "classic": "the usual"}
    with_profile(world, "shortlived")
    world.issue()
    del world.ca.profiles["shortlived"]
    cause, _ = world.failure()
    assert "the CA refuses 'shortlived': no such profile; it offers classic" in str(cause)
    assert "'shortlived' is no profile of this CA's" in str(world.failure()[0])


def test_few_orders_at_a_time_are_known_to_the_ca_alone(world: World) -> None:
    """
    What a kill would have ordered twice; the others are ordered as soon as one is on record, or given up.
    """
    world.ca.fail("newOrder", *[Reply(hangs=True)] * MOST_UNRECORDED)
    begun = [
        Deferred.fromCoroutine(world.issuer.obtain(HostName(f"{number}.test"))) for number in range(MOST_UNRECORDED + 2)
    ]
    for _ in range(20):
        world.reactor.advance(0.1)
    assert MOST_UNRECORDED == world.ca.requests["newOrder"]
    begun[0].addErrback(lambda failure: failure.trap(IssuanceFailed)).cancel()
    outcomes: list[object] = []
    begun[-1].addBoth(outcomes.append)
    world.reactor.settle(outcomes)
    assert isinstance(outcomes[0], Issued)
    assert MOST_UNRECORDED + 2 == world.ca.requests["newOrder"]
    for one in begun[1:-1]:
        one.addErrback(lambda _: None).cancel()


def test_attempt_with_one_challenge_type_orders_once(world: World) -> None:
    """
    The CA counts one failed authorization, and the other type waits for another attempt; with both, it is tried.
    """
    world.fail_types("tls-alpn-01")
    with pytest.raises(IssuanceFailed) as raised:
        world.obtain(challenge_types=1)
    assert (1, 1) == (raised.value.failed_authorizations, world.ca.requests["newOrder"])
    assert 1 == world.obtain(challenge_types=2).failed_authorizations

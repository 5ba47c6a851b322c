from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import attrs
import pytest
from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from sptls.acme.issue import ORDER_SECONDS, RESPONDER_SECONDS, AcmeIssuer
from sptls.config import AcmeConfig
from sptls.errors import (
    AcmeProblem,
    AcmeProtocolError,
    AcmeUnreachable,
    BadCertificate,
    ConfigError,
    IssuanceFailed,
    OrderCancelled,
    SptlsError,
    ValidationFailed,
)
from sptls.interfaces import IIssuer
from sptls.names import HostName
from tests.acme.fake_ca import DIRECTORY, NOW, ORIGIN, AccountsInMemory, FakeCa, Reply, json_reply, problem

if TYPE_CHECKING:
    from sptls.acme.jws import KeyAuthorization
    from sptls.acme.messages import Challenge
    from sptls.certs.bundle import CertificateBundle
    from tests.acme.conftest import Reactor

NAME = HostName("a.test")
UNREACHABLE = {"type": "urn:ietf:params:acme:error:connection", "detail": "refused"}
CAA = {"type": "urn:ietf:params:acme:error:caa", "detail": "forbidden"}


@attrs.define
class Responder:
    """
    Answers challenges of one type in memory; *starts* may be an error or a Deferred.
    """

    challenge_type: str
    starts: Exception | Deferred[None] | None = None
    stops: Exception | None = None
    open: dict[str, str] = attrs.field(factory=dict)
    names: list[str] = attrs.field(factory=list)

    def start_responding(
        self, server_name: str, challenge: Challenge, response: KeyAuthorization
    ) -> Deferred[None] | None:
        """
        Answer.
        """
        self.names.append(server_name)
        self.open[challenge.encode("token")] = response.key_authorization
        if isinstance(self.starts, Exception):
            raise self.starts
        return self.starts

    def stop_responding(
        self, server_name: str, challenge: Challenge, response: KeyAuthorization
    ) -> Deferred[None] | None:
        """
        Answer no more.
        """
        del self.open[challenge.encode("token")]
        if self.stops:
            raise self.stops
        return None


@attrs.define
class World:
    """
    An issuer, its CA, and its two responders.
    """

    ca: FakeCa
    reactor: Reactor
    accounts: AccountsInMemory
    tls: Responder = attrs.field(factory=lambda: Responder("tls-alpn-01"))
    http: Responder = attrs.field(factory=lambda: Responder("http-01"))
    preferred_issuer: str = ""
    issuer: AcmeIssuer = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.ca.validate = self.validate
        self.issuer = self.new_issuer()

    def new_issuer(self, config: AcmeConfig | None = None) -> AcmeIssuer:
        """
        Give an issuer as a restart would.
        """
        return AcmeIssuer(
            agent=self.ca.agent,
            reactor=cast("Any", self.reactor),
            wall_clock=lambda: NOW,
            config=config or AcmeConfig(directory=DIRECTORY, agree_to_terms=True),
            responders=[self.tls, self.http],
            accounts=self.accounts,
            threads=cast("Any", self.reactor),
            draw=lambda: 0.5,
            preferred_issuer=self.preferred_issuer,
        )

    def validate(self, kind: str, token: str, expected: str) -> dict[str, Any] | None:
        """
        Validate as a CA does: look at what is being answered.
        """
        responder = self.tls if kind == "tls-alpn-01" else self.http
        return None if responder.open.get(token) == expected else UNREACHABLE

    def fail_types(self, *kinds: str, error: dict[str, Any] = UNREACHABLE) -> None:
        """
        Let validation of these challenge types fail.
        """
        self.ca.validate = lambda kind, token, expected: (
            error if kind in kinds else self.validate(kind, token, expected)
        )

    def issue(self) -> CertificateBundle:
        """
        Get a certificate for a.test.
        """
        return self.reactor.run(self.issuer.issue(NAME))

    def failure(self) -> tuple[SptlsError, int]:
        """
        Fail to get one; gives the cause and the failed authorizations, and checks that no challenge was left open.
        """
        with pytest.raises(IssuanceFailed) as raised:
            self.issue()
        assert ({}, {}) == (self.http.open, self.tls.open)
        return raised.value.cause, raised.value.failed_authorizations


@pytest.fixture
def world(ca: FakeCa, reactor: Reactor, accounts: AccountsInMemory) -> World:
    """
    Give a world in which everything works.
    """
    return World(ca, reactor, accounts)


def test_provides_the_seam(world: World) -> None:
    """
    It is an issuer, of the directory in the configuration.
    """
    assert verifyObject(IIssuer, world.issuer)
    assert DIRECTORY == world.issuer.directory


def test_gets_a_certificate_with_seven_requests(world: World) -> None:
    """
    A fast CA is asked once for each thing, and the challenge is withdrawn.
    """
    world.issue()
    world.ca.requests.clear()
    bundle = world.issue()
    assert (NAME,) == bundle.names
    assert {"newOrder": 1, "authorization": 2, "challenge": 1, "finalize": 1, "order": 1, "certificate": 1} == (
        world.ca.requests
    )
    assert (["a.test"] * 2, {}) == (world.tls.names, world.tls.open)
    assert {"sptls/"} == {str(agent)[:6] for agent in world.ca.user_agents}


def test_each_certificate_has_a_new_key(world: World) -> None:
    """
    A key is used for one certificate only.
    """
    assert world.issue().key != world.issue().key


def test_a_restart_keeps_the_account(world: World) -> None:
    """
    The stored account is used again.
    """
    world.issue()
    world.issuer = world.new_issuer()
    world.issue()
    assert 1 == world.ca.requests["newAccount"]


def test_the_second_type_is_tried_with_a_new_order(world: World) -> None:
    """
    A failed challenge costs its order; the next type gets another.
    """
    world.fail_types("tls-alpn-01")
    assert (NAME,) == world.issue().names
    assert 2 == world.ca.requests["newOrder"]
    assert ({}, {}) == (world.http.open, world.tls.open)


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


def test_a_lost_answer_to_finalize_is_survived(world: World) -> None:
    """
    The repeated request finds the order processing, and what comes of it is ours.
    """
    lose_answer(world, "finalize")
    assert (NAME,) == world.issue().names
    assert (2, 1) == (world.ca.requests["finalize"], world.ca.requests["newOrder"])


def lose_answer(world: World, operation: str) -> None:
    """
    Let the CA carry out the next *operation* and answer 502 all the same, as a broken front end would.
    """
    carry_out = getattr(world.ca, f"_{operation}")

    def lose(*arguments: Any) -> Reply:
        setattr(world.ca, f"_{operation}", carry_out)
        carry_out(*arguments)
        return Reply(502)

    setattr(world.ca, f"_{operation}", lose)


def test_a_refused_challenge_is_the_cas_problem(world: World) -> None:
    """
    When the authorization is still waiting for a response, the refusal was meant.
    """
    world.ca.fail("challenge", problem(400, "malformed", "no"))
    cause, failed_authorizations = world.failure()
    assert ("malformed", 0) == (getattr(cause, "type", ""), failed_authorizations)


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
    assert (AcmeUnreachable, 0) == (type(cause), failed_authorizations)
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


def test_a_rate_limit_reaches_the_schedule(world: World) -> None:
    """
    The cause says when to come back.
    """
    world.ca.fail("newOrder", problem(429, "rateLimited", "", {"Retry-After": "7200"}))
    cause, _ = world.failure()
    assert isinstance(cause, AcmeProblem)
    assert 7200.0 == cause.retry_after_seconds


def test_a_lost_account_is_replaced_once(world: World) -> None:
    """
    A CA that forgot us gets us again, and the order goes on; one that goes on forgetting is given up.
    """
    world.issue()
    world.ca.accounts.clear()
    assert (NAME,) == world.issue().names
    world.ca.fail("newOrder", *[problem(400, "accountDoesNotExist")] * 9)
    assert "accountDoesNotExist" == getattr(world.failure()[0], "type", "")
    assert 2 == world.ca.requests["newOrder"] - 2 - 1


def test_a_certificate_that_is_not_valid_yet_is_refused(world: World) -> None:
    """
    Nothing is handed on that a client would reject.
    """
    world.ca.valid_from = NOW + timedelta(days=1)
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
    issued = Deferred.fromCoroutine(world.issuer.issue(NAME))
    assert 0 == world.ca.requests["challenge"]
    world.tls.starts.callback(None)
    outcomes: list[object] = []
    issued.addCallback(outcomes.append)
    world.reactor.settle(outcomes)
    assert 1 == world.ca.requests["challenge"]


@pytest.mark.parametrize("operation", ["newNonce", "newOrder", "challenge", "finalize", "certificate"])
def test_cancelling_withdraws_the_challenge_and_the_request(world: World, operation: str) -> None:
    """
    Wherever an issue is cancelled, nothing of it goes on.
    """
    world.ca.fail(operation, Reply(hangs=True))
    issued = Deferred.fromCoroutine(world.issuer.issue(NAME))
    while world.reactor.seconds() < 5 and not world.ca.hanging:
        world.reactor.advance(0.05)
    before = world.ca.requests.total()
    issued.cancel()
    outcomes: list[object] = []
    issued.addErrback(lambda failure: outcomes.append(str(failure.value)))
    # Before the challenge is answered it is known to have cost nothing.
    expected = str(OrderCancelled()) if operation in ("newNonce", "newOrder") else ""
    assert ([expected], {}) == (outcomes, world.tls.open)
    assert ([], before) == (world.reactor.getDelayedCalls(), world.ca.requests.total())


def test_cancelling_withdraws_a_challenge_that_is_being_presented(world: World) -> None:
    """
    The responder is stopped though it has not started yet.
    """
    world.tls.starts = Deferred()
    issued = Deferred.fromCoroutine(world.issuer.issue(NAME))
    issued.cancel()
    outcomes: list[object] = []
    issued.addErrback(lambda failure: outcomes.append(str(failure.value)))
    assert ([str(OrderCancelled())], {}, 0) == (outcomes, world.tls.open, world.ca.requests["challenge"])


def test_a_ca_that_is_down_fails_within_seconds(world: World) -> None:
    """
    The schedule sits an outage out, not the order.
    """
    world.ca.fail("directory", *[Reply(503)] * 9)
    assert isinstance(world.failure()[0], AcmeUnreachable)
    assert world.reactor.seconds() < 20


def test_missing_consent_is_the_operators_fault(world: World) -> None:
    """
    The cause is a configuration error with the terms' URL.
    """
    world.issuer = world.new_issuer(AcmeConfig(directory=DIRECTORY))
    cause, _ = world.failure()
    assert isinstance(cause, ConfigError)
    assert f"{ORIGIN}/terms" in str(cause)

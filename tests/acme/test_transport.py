from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from twisted.internet.defer import Deferred, gatherResults

from sptls.acme import jws
from sptls.acme.transport import MAX_NONCES, AcmeTransport, NoncePool
from sptls.errors import AcmeProblem, AcmeProtocolError, AcmeUnreachable
from tests.acme.fake_ca import DIRECTORY, ORIGIN, FakeCa, Reply, problem

if TYPE_CHECKING:
    from sptls.acme.exchange import Answer
    from tests.acme.conftest import Reactor

NEW_NONCE, NEW_ACCOUNT = f"{ORIGIN}/newNonce", f"{ORIGIN}/newAccount"
TERMS = {"termsOfServiceAgreed": True}
UNTIL = 180.0

# What the CA's own clock says.
DATE = "Sat, 01 Aug 2026 12:00:00 GMT"


async def register(transport: AcmeTransport, until: float = UNTIL) -> Answer:
    """
    Make one signed request.
    """
    account = jws.Account(jws.AccountKey.generate())
    return await transport.post("newAccount", NEW_ACCOUNT, account, NEW_NONCE, dict(TERMS), until)


def test_one_nonce_is_fetched_and_the_rest_come_with_answers(
    ca: FakeCa, transport: AcmeTransport, reactor: Reactor
) -> None:
    """
    Three requests in a row cost one HEAD (RFC 8555 §6.5).
    """
    for _ in range(3):
        reactor.run(register(transport))
    assert {"newNonce": 1, "newAccount": 3} == ca.requests


def test_a_bad_nonce_costs_one_more_request(ca: FakeCa, transport: AcmeTransport, reactor: Reactor) -> None:
    """
    The refusal itself brings the next nonce.
    """
    ca.fail("newAccount", *[problem(400, "badNonce")] * 5)
    reactor.run(register(transport))
    assert {"newNonce": 1, "newAccount": 6} == ca.requests
    assert 0.0 == reactor.seconds()


def test_a_bad_nonce_that_brings_none_is_survived(ca: FakeCa, transport: AcmeTransport, reactor: Reactor) -> None:
    """
    Then the next nonce is fetched.
    """
    ca.fail("newAccount", Reply(400, problem(400, "badNonce").content, "application/problem+json", gives_nonce=False))
    reactor.run(register(transport))
    assert {"newNonce": 2, "newAccount": 2} == ca.requests


def test_a_ca_that_takes_no_nonce_is_given_up(ca: FakeCa, transport: AcmeTransport, reactor: Reactor) -> None:
    """
    The tries are bounded.
    """
    ca.fail("newAccount", *[problem(400, "badNonce")] * 100)
    with pytest.raises(AcmeProblem, match="badNonce"):
        reactor.run(register(transport))
    assert 21 == ca.requests["newAccount"]


@pytest.mark.parametrize("nonce", [{}, {"Replay-Nonce": "not base64url"}, {"Replay-Nonce": ""}])
def test_a_ca_without_nonces_breaks_the_protocol(
    ca: FakeCa, transport: AcmeTransport, reactor: Reactor, nonce: dict[str, str]
) -> None:
    """
    A missing or malformed nonce is none.
    """
    ca.fail("newNonce", Reply(fields=nonce, gives_nonce=False))
    with pytest.raises(AcmeProtocolError, match="Replay-Nonce"):
        reactor.run(register(transport))


def test_parallel_requests_fetch_nonces_one_at_a_time(ca: FakeCa, transport: AcmeTransport, reactor: Reactor) -> None:
    """
    While one fetch hangs no other is made: CAs limit them.
    """
    ca.fail("newNonce", Reply(hangs=True))
    requests = [Deferred.fromCoroutine(register(transport, until)) for until in (10.0, UNTIL, UNTIL)]
    assert 1 == ca.requests["newNonce"]
    outcomes: list[object] = []
    gatherResults(requests, consumeErrors=True).addErrback(outcomes.append)
    reactor.settle(outcomes)
    assert 10.0 == reactor.seconds()


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_failing_ca_is_asked_again(ca: FakeCa, transport: AcmeTransport, reactor: Reactor, status: int) -> None:
    """
    A restart of the CA's front end is sat out, at our own pace.
    """
    ca.fail("newAccount", Reply(status), Reply(status, b"<html>", "text/html"))
    reactor.run(register(transport))
    assert 1.5 == reactor.seconds()


@pytest.mark.parametrize(("field", "seconds"), [("20", 20.0), ("Sat, 01 Aug 2026 12:00:30 GMT", 30.0)])
def test_a_busy_ca_is_asked_when_it_says(
    ca: FakeCa, transport: AcmeTransport, reactor: Reactor, field: str, seconds: float
) -> None:
    """
    Both forms of Retry-After are kept to.
    """
    ca.fail("newAccount", Reply(503, fields={"Retry-After": field, "Date": DATE}))
    reactor.run(register(transport))
    assert seconds == reactor.seconds()


@pytest.mark.parametrize(("field", "seconds"), [("3600", 3600.0), ("Sat, 01 Aug 2026 13:00:00 GMT", 3600.0)])
def test_a_rate_limit_goes_to_the_caller_at_once(
    ca: FakeCa, transport: AcmeTransport, reactor: Reactor, field: str, seconds: float
) -> None:
    """
    The schedule sits it out, not the order.
    """
    ca.fail("newAccount", problem(429, "rateLimited", "too many", {"Retry-After": field, "Date": DATE}))
    with pytest.raises(AcmeProblem) as raised:
        reactor.run(register(transport))
    assert seconds == raised.value.retry_after_seconds
    assert (1, 0.0) == (ca.requests["newAccount"], reactor.seconds())


def test_a_ca_that_stays_down_is_given_up(ca: FakeCa, transport: AcmeTransport, reactor: Reactor) -> None:
    """
    After six failures the error stands, a quarter of a minute later.
    """
    ca.fail("directory", *[Reply(500)] * 10)
    with pytest.raises(AcmeUnreachable, match="500"):
        reactor.run(transport.get("directory", DIRECTORY, UNTIL))
    assert (6, 15.5) == (ca.requests["directory"], reactor.seconds())


def test_nothing_outlasts_the_deadline(ca: FakeCa, transport: AcmeTransport, reactor: Reactor) -> None:
    """
    A CA that hangs for ever ends with the order's time.
    """
    ca.fail("directory", *[Reply(hangs=True)] * 10)
    with pytest.raises(AcmeUnreachable):
        reactor.run(transport.get("directory", DIRECTORY, 70.0))
    assert reactor.seconds() <= 70.0


@pytest.mark.parametrize("reply", [Reply(404, b"<html>", "text/html"), Reply(301, fields={"Location": ORIGIN})])
def test_what_is_no_acme_answer_is_a_protocol_error(
    ca: FakeCa, transport: AcmeTransport, reactor: Reactor, reply: Reply
) -> None:
    """
    It is not tried again.
    """
    ca.fail("newAccount", reply)
    with pytest.raises(AcmeProtocolError):
        reactor.run(register(transport))
    assert 1 == ca.requests["newAccount"]


def test_the_pool_is_bounded_and_gives_the_newest_first() -> None:
    """
    Old nonces are the likelier to be forgotten by the CA.
    """
    pool = NoncePool()
    for number in range(MAX_NONCES + 1):
        pool.put(f"n{number}")
    pool.put(None)
    taken = [pool.take() for _ in range(MAX_NONCES + 1)]
    assert [*(f"n{number}" for number in range(MAX_NONCES, 0, -1)), None] == taken

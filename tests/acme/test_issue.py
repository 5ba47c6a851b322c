from __future__ import annotations

from datetime import UTC, datetime, timedelta

import attrs
import pytest
from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from sptls.acme.issue import RENEWAL_INFO_SECONDS
from sptls.certs.records import RenewalInfo
from sptls.config import AcmeConfig, KeyType
from sptls.errors import AcmeProblem, AcmeUnreachable, ActionRequired, ConfigError, OrderCancelled
from sptls.interfaces import IIssuer
from tests.acme.fake_ca import DIRECTORY, NOW, ORIGIN, Reply, json_reply, problem
from tests.acme.world import NAME, World

DAY = timedelta(days=1)
WINDOW = {"start": (NOW + 9 * DAY).isoformat(), "end": (NOW + 10 * DAY).isoformat()}


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


def test_a_restart_keeps_the_account(world: World) -> None:
    """
    The stored account is used again.
    """
    world.issue()
    world.issuer = world.new_issuer()
    world.issue()
    assert 1 == world.ca.requests["newAccount"]


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


@pytest.mark.parametrize("operation", ["newNonce", "newOrder", "challenge", "finalize", "certificate"])
def test_cancelling_withdraws_the_challenge_and_the_request(world: World, operation: str) -> None:
    """
    Wherever an issue is cancelled, nothing of it goes on.
    """
    world.ca.fail(operation, Reply(hangs=True))
    issued = Deferred.fromCoroutine(world.issuer.obtain(NAME))
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


def test_a_lost_account_costs_less_than_two_seconds(world: World) -> None:
    """
    One registration, and the order goes on.
    """
    world.issue()
    world.ca.accounts.clear()
    world.ca.requests.clear()
    begun = world.reactor.seconds()
    world.issue()
    assert 1 == world.ca.requests["newAccount"]
    assert world.reactor.seconds() - begun < 2


@pytest.mark.parametrize("operation", ["order", "finalize", "certificate"])
def test_an_account_lost_in_mid_order_is_registered_again(world: World, operation: str) -> None:
    """
    Its order is lost with it; the attempt makes a new one.
    """
    world.issue()
    lost = world.ca.accounts.copy()

    def forget(*_: object) -> Reply:
        delattr(world.ca, f"_{operation}")
        for url in lost:
            world.ca.accounts.pop(url, None)
        world.ca.accounts[f"{ORIGIN}/account/gone"] = None
        return problem(400, "accountDoesNotExist")

    setattr(world.ca, f"_{operation}", forget)
    assert 2 == world.obtain().orders


def test_a_deactivated_account_is_for_a_person(world: World) -> None:
    """
    It costs one request an attempt, and no new account is made.
    """
    world.issue()
    world.ca.requests.clear()
    world.ca.fail("newOrder", problem(401, "unauthorized", "account is deactivated"))
    cause, _ = world.failure()
    assert isinstance(cause, ActionRequired)
    assert 0 == world.ca.requests["newAccount"]


def test_changed_terms_are_for_a_person(world: World) -> None:
    """
    The error has both addresses.
    """
    fields = {"Link": f'<{ORIGIN}/terms/2>;rel="terms-of-service"'}
    world.ca.fail("newOrder", problem(403, "userActionRequired", "new terms", fields, instance=f"{ORIGIN}/agree"))
    cause, _ = world.failure()
    assert f"{ORIGIN}/terms/2, and agree to them at {ORIGIN}/agree" in str(cause)


def test_the_ca_suggests_when_to_renew(world: World) -> None:
    """
    The window comes as it is, with the page for people.
    """
    world.ca.renewal_window = WINDOW
    bundle = world.issue()
    assert RenewalInfo(NOW + 9 * DAY, NOW + 10 * DAY, 43200.0, f"{ORIGIN}/why") == world.reactor.run(
        world.issuer.renewal_info(bundle)
    )


@pytest.mark.parametrize(
    ("window", "end"),
    [
        ({"start": "2020-01-01T00:00:00Z", "end": "2020-01-02T00:00:00Z"}, datetime(2020, 1, 2, tzinfo=UTC)),
        ({"start": "2026-08-10T12:00:00Z", "end": "9999-12-31T00:00:00Z"}, None),
    ],
)
def test_odd_windows_that_make_sense_are_kept(world: World, window: dict[str, str], end: datetime | None) -> None:
    """
    The past means now, and none ends later than the certificate.
    """
    world.ca.renewal_window = window
    bundle = world.issue()
    info = world.reactor.run(world.issuer.renewal_info(bundle))
    assert info is not None
    assert (end or bundle.not_after) == info.end


@pytest.mark.parametrize(
    "answers",
    [
        [json_reply({"suggestedWindow": {"start": "2026-08-10T12:00:00Z", "end": "2026-08-10T12:00:00Z"}})],
        [json_reply({"suggestedWindow": {"start": "2999-01-01T00:00:00Z", "end": "2999-01-02T00:00:00Z"}})],
        [Reply(content=b"<html>")],
        [problem(404, "malformed")],
        [problem(429, "rateLimited")],
        [Reply(503)] * 9,
        [Reply(hangs=True)] * 9,
    ],
)
def test_no_usable_answer_is_no_information(world: World, answers: list[Reply]) -> None:
    """
    Whatever the CA does, there is an end to it within half a minute, and no error.
    """
    world.ca.renewal_window = WINDOW
    bundle = world.issue()
    begun = world.reactor.seconds()
    world.ca.fail("renewalInfo", *answers)
    assert world.reactor.run(world.issuer.renewal_info(bundle)) is None
    assert world.reactor.seconds() - begun <= RENEWAL_INFO_SECONDS


def test_a_certificate_without_a_name_for_it_is_not_asked_about(world: World) -> None:
    """
    Its CA put no key identifier in.
    """
    world.ca.renewal_window = WINDOW
    bundle = attrs.evolve(world.issue(), chain=(b"garbage",))
    world.ca.requests.clear()
    assert world.reactor.run(world.issuer.renewal_info(bundle)) is None
    assert 0 == world.ca.requests.total()


def test_a_ca_without_renewal_information_gives_none(world: World) -> None:
    """
    The schedule goes by the lifetime then.
    """
    bundle = world.issue()
    assert world.reactor.run(world.issuer.renewal_info(bundle)) is None


def test_a_certificate_is_revoked_by_the_account(world: World) -> None:
    """
    Once; a second time is fine.
    """
    bundle = world.issue()
    world.reactor.run(world.issuer.revoke(bundle, 4))
    world.reactor.run(world.issuer.revoke(bundle, 4))
    assert {bundle.chain[0]: 4} == world.ca.revoked


@pytest.mark.parametrize("key_type", ["ec-p256", "rsa-2048"])
def test_another_accounts_certificate_is_revoked_by_its_key(world: World, key_type: KeyType) -> None:
    """
    An imported one, or one of an account that was lost.
    """
    world.issuer = world.new_issuer(AcmeConfig(directory=DIRECTORY, agree_to_terms=True, key_type=key_type))
    bundle = world.issue()
    world.accounts.records.clear()
    world.restart()
    world.reactor.run(world.issuer.revoke(bundle))
    assert {bundle.chain[0]: 0} == world.ca.revoked


def test_a_refused_revocation_is_told(world: World) -> None:
    """
    With the CA's reason; terms to agree to are told as ever.
    """
    bundle = world.issue()
    world.ca.fail("revokeCert", problem(400, "badRevocationReason", "not that one"))
    with pytest.raises(AcmeProblem, match="not that one"):
        world.reactor.run(world.issuer.revoke(bundle, 7))
    world.ca.fail("revokeCert", problem(403, "userActionRequired", "new terms"))
    with pytest.raises(ActionRequired):
        world.reactor.run(world.issuer.revoke(bundle, 7))

from __future__ import annotations

from tests.acme_front.faults import Answer
from tests.acme_front.limits import LetsEncryptLimits, Limit

ACCOUNT, OTHER = "https://ca/acct/1", "https://ca/acct/2"


class Moment:
    """
    A clock that only the test moves.
    """

    now = 0.0

    def __call__(self) -> float:
        """
        Give the present moment.
        """
        return self.now


def wait_seconds(refusal: Answer | None) -> int:
    """
    Give what a refusal says of the time to wait; 0 for none.
    """
    return 0 if refusal is None else int(refusal.field("retry-after"))


def test_orders_are_limited_per_account() -> None:
    """
    Three hundred at once, then one in 36 s; another account has its own.
    """
    moment = Moment()
    limits = LetsEncryptLimits(moment)
    for number in range(300):
        assert limits.new_order(ACCOUNT, [f"n{number}.d{number}.test"]) is None
    assert 36 == wait_seconds(limits.new_order(ACCOUNT, ["x.test"]))
    assert limits.new_order(OTHER, ["x.test"]) is None
    moment.now = 36.0
    assert limits.new_order(ACCOUNT, ["x.test"]) is None
    assert ["new orders: https://ca/acct/1"] == limits.refusals


def test_failed_authorizations_are_limited_per_name() -> None:
    """
    Five, then one in twelve minutes; a success of the name's does not give them back.
    """
    moment = Moment()
    limits = LetsEncryptLimits(moment)
    for _ in range(5):
        assert limits.new_order(ACCOUNT, ["a.test"]) is None
        limits.failed_authorization(ACCOUNT, "a.test")
    refusal = limits.new_order(ACCOUNT, ["a.test"])
    assert refusal is not None
    assert (429, 720) == (refusal.status, wait_seconds(refusal))
    assert limits.new_order(ACCOUNT, ["b.test"]) is None
    moment.now = 720.0
    assert limits.new_order(ACCOUNT, ["a.test"]) is None


def test_another_bucket_of_failed_authorizations() -> None:
    """
    One that is given stands in for Let's Encrypt's, and is not refilled before its own time.
    """
    moment = Moment()
    limits = LetsEncryptLimits(moment, failed_authorizations=Limit("failed authorizations", 1, 3600.0))
    limits.failed_authorization(ACCOUNT, "a.test")
    moment.now = 720.0
    assert 2880 == wait_seconds(limits.new_order(ACCOUNT, ["a.test"]))


def test_certificates_are_limited_per_set_and_domain() -> None:
    """
    Five of a set and fifty of a domain a week; renewals count for the set alone, ARI renewals for nothing.
    """
    limits = LetsEncryptLimits(Moment())
    for _ in range(5):
        assert limits.new_order(ACCOUNT, ["a.test"]) is None
        limits.issued(ACCOUNT, ["a.test"])
    assert 7 * 86400 / 5 == wait_seconds(limits.new_order(ACCOUNT, ["a.test"]))
    assert limits.new_order(ACCOUNT, ["a.test"], replaces=True) is None
    for number in range(50):
        limits.issued(ACCOUNT, [f"n{number}.many.test"])
    assert limits.new_order(ACCOUNT, ["new.many.test"]) is not None
    assert limits.new_order(ACCOUNT, ["n7.many.test"]) is None


def test_a_name_that_fails_for_months_is_paused() -> None:
    """
    Until a person unpauses it, or it succeeds.
    """
    moment = Moment()
    limits = LetsEncryptLimits(moment)
    for _ in range(1152):
        limits.failed_authorization(ACCOUNT, "a.test")
    moment.now = 1e7
    refusal = limits.new_order(ACCOUNT, ["a.test"])
    assert refusal is not None
    assert b"paused" in refusal.content
    limits.issued(ACCOUNT, ["a.test"])
    assert limits.new_order(ACCOUNT, ["a.test"]) is None


def test_requests_and_accounts_are_limited_per_address() -> None:
    """
    Too many requests meet a 503; the eleventh account in three hours a 429.
    """
    moment = Moment()
    limits = LetsEncryptLimits(moment, scale=2.0)
    for _ in range(10):
        assert limits.request("newNonce") is None
        assert limits.new_account() is None
    refusal = limits.request("newNonce")
    assert refusal is not None
    assert 503 == refusal.status
    # Time passes twice as fast for the buckets.
    assert 540 == wait_seconds(limits.new_account())

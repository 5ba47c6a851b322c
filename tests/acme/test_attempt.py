from __future__ import annotations

from sptls.acme.attempt import Attempt, Failed
from sptls.errors import AcmeProblem
from sptls.names import HostName

PROBLEM = AcmeProblem(403, "connection", "refused")


def test_a_challenge_without_an_outcome_counts_as_failed() -> None:
    """
    The CA may fail it after we stopped asking.
    """
    attempt = Attempt(HostName("a.test"), 180.0)
    assert 0 == attempt.cost
    attempt.failed_authorizations, attempt.is_being_validated = 1, True
    assert 2 == attempt.cost


def test_types_that_failed_are_not_left() -> None:
    """
    The order of preference stays, and all failures together are one error.
    """
    attempt = Attempt(HostName("a.test"), 180.0)
    attempt.failures.append(Failed("http-01", PROBLEM))
    assert ("tls-alpn-01", "dns-01") == attempt.types_left(("tls-alpn-01", "http-01", "dns-01"))
    assert (("http-01", PROBLEM),) == attempt.validation_failed().failures


def test_the_key_is_not_shown() -> None:
    """
    A key is a secret.
    """
    assert "secret" not in repr(Attempt(HostName("a.test"), 180.0, key=b"secret"))

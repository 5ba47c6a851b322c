from __future__ import annotations

import attrs

from sptls.acme.attempt import Attempt, Failed
from sptls.errors import AcmeProblem
from sptls.names import HostName
from tests.certs.stored import order_for

PROBLEM = AcmeProblem(403, "connection", "refused")


def test_a_challenge_without_an_outcome_counts_as_failed() -> None:
    """
    The CA may fail it after we stopped asking.
    """
    attempt = Attempt(HostName("a.test"), 180.0)
    assert 0 == attempt.cost
    attempt.failed_types, attempt.is_being_validated = ["http-01"], True
    assert 2 == attempt.cost


def test_an_attempt_that_goes_on_has_cost_what_it_had() -> None:
    """
    What failed before the restart is neither forgotten nor tried again.
    """
    attempt = Attempt(HostName("a.test"), 180.0)
    attempt.go_on(attrs.evolve(order_for(), failed_types=("tls-alpn-01",)))
    attempt.failed(Failed("dns-01", PROBLEM))
    assert (1, ("http-01",)) == (attempt.cost, attempt.types_left(("tls-alpn-01", "http-01", "dns-01")))
    attempt.failed(Failed("http-01", PROBLEM, is_counted=True))
    assert (2, (), True) == (attempt.cost, attempt.types_left(("tls-alpn-01", "http-01")), attempt.is_order_over)


def test_types_that_failed_are_not_left() -> None:
    """
    The order of preference stays, and all failures together are one error.
    """
    attempt = Attempt(HostName("a.test"), 180.0)
    attempt.failures.append(Failed("http-01", PROBLEM))
    assert ("tls-alpn-01", "dns-01") == attempt.types_left(("tls-alpn-01", "http-01", "dns-01"))
    assert (("http-01", PROBLEM),) == attempt.validation_failed().failures


def test_an_outcome_may_be_counted_before_it_is_known() -> None:
    """
    An earlier attempt that did not hear of it did so; a new order's is this attempt's to count.
    """
    attempt = Attempt(HostName("a.test"), 180.0)
    assert not attempt.is_counted
    attempt.go_on(attrs.evolve(order_for(), is_counted=True))
    assert attempt.is_counted


def test_the_key_is_not_shown() -> None:
    """
    A key is a secret.
    """
    assert "secret" not in repr(Attempt(HostName("a.test"), 180.0, key=b"secret"))


def test_no_other_type_is_left_once_as_many_have_failed_as_may() -> None:
    """
    Failures that the CA does not count are none of them, those of the same attempt before a restart are.
    """
    types = ("tls-alpn-01", "http-01")
    attempt = Attempt(HostName("a.test"), 180.0, challenge_types=1)
    before = attempt.types_left(types)
    attempt.failed(Failed("tls-alpn-01", PROBLEM))
    free = attempt.types_left(types)
    attempt.failed(Failed("http-01", PROBLEM, is_counted=True))
    assert (types, ("http-01",), ()) == (before, free, attempt.types_left((*types, "dns-01")))
    assert () == Attempt(HostName("a.test"), 180.0, challenge_types=1, failed_types=["dns-01"]).types_left(types)

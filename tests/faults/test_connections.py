"""
Connections to the CA that fail at each step of an order: once, and for as long as an order lasts.
"""

from __future__ import annotations

from typing import Literal

import pytest

from sptls.acme.exchange import REQUEST_SECONDS
from sptls.errors import AcmeUnreachable, Scope
from sptls.names import HostName
from tests.acme_front.faults import STEPS, Break, Fault, GoDown
from tests.faults.world import NAME, OTHER, World

pytestmark = pytest.mark.pebble

# One try and five more, with half to eight seconds between them.
TRIES = 6
BACKOFF_SECONDS = 15.5

How = Literal["close", "reset", "hang"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(("how", "asks_ca"), [("close", False), ("reset", True), ("hang", False), ("hang", True)])
def test_one_lost_answer_costs_one_request(world: World, step: str, how: How, asks_ca: bool) -> None:
    """
    Whether or not the CA did what it was asked for, asking once more leads to the certificate, in the same attempt.
    """
    world.front.arm(Fault(step, Break(how, asks_ca=asks_ca)))
    came = world.issue()
    assert came.bundle is not None, came.cause
    assert (2 if step != "authorization" else 3) == came.operations.count(step)
    assert came.seconds < (REQUEST_SECONDS if how == "hang" else 0) + 5
    assert 0 == came.failed_authorizations


@pytest.mark.parametrize(
    ("step", "how"),
    [
        ("directory", "close"),
        ("newAccount", "hang"),
        ("newOrder", "close"),
        ("authorization", "hang"),
        ("challenge", "close"),
        ("finalize", "hang"),
        ("certificate", "close"),
        ("certificate", "hang"),
    ],
)
def test_an_answer_that_ends_in_the_middle_is_asked_for_again(world: World, step: str, how: How) -> None:
    """
    Of an answer that is cut off, or stops coming, nothing is believed.
    """
    world.front.arm(Fault(step, Break(how, content_bytes=20)))
    came = world.issue()
    assert came.bundle is not None, came.cause
    assert (2 if step != "authorization" else 3) == came.operations.count(step)
    assert came.seconds < (REQUEST_SECONDS if how == "hang" else 0) + 5


@pytest.mark.parametrize(
    ("how", "step"), [*(("hang", step) for step in STEPS), ("reset", "newNonce"), ("reset", "finalize")]
)
def test_answers_that_never_come_end_the_attempt(world: World, step: str, how: How) -> None:
    """
    After six tries, or at its deadline, the attempt ends, says where, and the next one works.
    """
    world.front.arm(Fault(step, Break(how), nth=2 if step == "authorization" else 1, times=None))
    came = world.failure()
    assert isinstance(came.cause, AcmeUnreachable)
    assert (step, Scope.CA) == (came.cause.operation, came.cause.scope)
    assert came.operations.count(step) <= 2 * TRIES
    assert came.seconds >= BACKOFF_SECONDS
    world.recover()


@pytest.mark.parametrize("step", ["newOrder", "challenge", "certificate"])
def test_a_name_whose_requests_hang_delays_no_other(world: World, step: str) -> None:
    """
    While one name's order hangs until its deadline, another's is done in its usual time.
    """
    world.bundle(HostName("c.test"))
    world.front.arm(Fault(step, Break("hang"), times=None, name=NAME.text))
    failed, other = world.issue_all(NAME, OTHER)
    assert isinstance(failed.cause, AcmeUnreachable)
    assert other.bundle is not None
    assert other.seconds < 2
    world.recover()


@pytest.mark.parametrize("step", ["directory", "newNonce", "authorization", "finalize"])
def test_a_ca_that_goes_down_in_the_middle_is_given_up(world: World, step: str) -> None:
    """
    Refused connections end the attempt after its six tries; when the CA is back the next attempt works.
    """
    world.front.arm(Fault(step, GoDown("refuse")))
    came = world.failure()
    assert isinstance(came.cause, AcmeUnreachable)
    assert "refused" in str(came.cause)
    assert 1 == came.operations.count(step) - (step == "authorization" and "challenge" in came.operations)
    assert BACKOFF_SECONDS <= came.seconds <= BACKOFF_SECONDS + 2
    world.recover()


@pytest.mark.parametrize("step", ["newAccount", "newOrder", "challenge", "certificate"])
def test_a_restart_of_the_ca_s_front_end_is_sat_out(world: World, step: str) -> None:
    """
    Ten seconds of refused connections in the middle of an order cost ten seconds.
    """
    world.front.arm(Fault(step, GoDown("refuse", seconds=10)))
    came = world.issue()
    assert came.bundle is not None, came.cause
    assert 10 <= came.seconds <= 10 + BACKOFF_SECONDS


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("garbage", "TLS: "),
        ("untrusted", "a CA whose own HTTPS has a private root needs that root in the file that acme.trust names"),
        ("silent", "no answer within"),
    ],
)
@pytest.mark.parametrize("step", ["newOrder", "finalize"])
def test_a_tls_failure_is_named(
    world: World, step: str, how: Literal["garbage", "untrusted", "silent"], words: str
) -> None:
    """
    Another server on the port, an unknown root, a connection that says nothing: the error tells which.
    """
    world.front.arm(Fault(step, GoDown(how)))
    came = world.failure()
    assert isinstance(came.cause, AcmeUnreachable)
    assert words in str(came.cause)
    world.recover()


def test_a_ca_that_is_down_from_the_start_costs_nothing(world: World) -> None:
    """
    Nothing was ordered, so nothing counts against any limit.
    """
    world.front.door.close()
    failures = world.issue_all(NAME, OTHER)
    assert [0, 0] == [came.failed_authorizations + came.orders for came in failures]
    assert ["directory"] * 2 == [getattr(came.cause, "operation", "") for came in failures]
    # Those who waited for the one that asked share its failure.
    assert max(came.seconds for came in failures) <= BACKOFF_SECONDS + 2
    world.recover()

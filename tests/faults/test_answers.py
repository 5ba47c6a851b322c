"""
Answers that are none: empty, huge, cut off, not JSON, of the wrong type, without what RFC 8555 wants in them.
"""

from __future__ import annotations

import json

import pytest

from sptls.acme.exchange import MAX_CONTENT_BYTES
from sptls.errors import AcmeProtocolError, Scope
from tests.acme_front.faults import STEPS, Answer, Change, Fault, Say, answer
from tests.faults.world import World

pytestmark = pytest.mark.pebble

# Whose content is JSON that something hangs on; a challenge's is only acknowledged.
JSON_STEPS = ("directory", "newOrder", "authorization", "challenge", "finalize")
WITH_CONTENT = (*JSON_STEPS, "certificate")
HUGE = b" " * (MAX_CONTENT_BYTES + 1)

SPOILT = {
    "empty": lambda said: said.with_content(b""),
    "cut off": lambda said: said.with_content(said.content[: len(said.content) // 2]),
    "a page": lambda said: said.with_content(b"<html><body>Welcome to the Grand Hotel</body></html>"),
    "no object": lambda said: said.with_content(b"[1, 2]"),
    "null": lambda said: said.with_content(b"null"),
    "not UTF-8": lambda said: said.with_content(b'{"status": "\xff\xfe"}'),
    "deep": lambda said: said.with_content(b"[" * 100_000),
    "huge": lambda said: said.with_content(said.content + HUGE),
}


def protocol_error(world: World, step: str) -> AcmeProtocolError:
    """
    Fail because the answer to *step* is none, after asking once and at once.
    """
    came = world.failure()
    assert isinstance(came.cause, AcmeProtocolError), came.cause
    assert (step, Scope.CA) == (came.cause.operation, came.cause.scope)
    assert came.seconds < 3
    return came.cause


# Each of them at two steps.
@pytest.mark.parametrize(
    ("step", "how"),
    [(JSON_STEPS[(number + shift) % len(JSON_STEPS)], how) for number, how in enumerate(SPOILT) for shift in (0, 2)],
)
def test_an_answer_that_is_none_breaks_the_protocol(world: World, step: str, how: str) -> None:
    """
    It ends the attempt with an error that names the operation, and is not asked for again and again.
    """
    world.front.arm(Fault(step, Change(SPOILT[how]), times=None))
    protocol_error(world, step)
    assert 1 == world.front.count(step)
    world.recover()


@pytest.mark.parametrize("step", WITH_CONTENT)
def test_an_answer_may_be_large(world: World, step: str) -> None:
    """
    Up to the limit, size is no fault.
    """
    world.front.arm(Fault(step, Change(lambda said: said.with_content(said.content + b" " * 100_000))))
    assert world.issue().bundle is not None


def test_a_huge_certificate_is_refused(world: World) -> None:
    """
    A chain over the limit is not read to its end.
    """
    world.front.arm(Fault("certificate", Change(lambda said: said.with_content(said.content + HUGE)), times=None))
    assert "it is over 262144 bytes" in str(protocol_error(world, "certificate"))
    world.recover()


@pytest.mark.parametrize(
    ("step", "location"),
    [
        ("newAccount", ""),
        ("newAccount", "http://127.0.0.1/my-account/1"),
        ("newOrder", ""),
        ("newOrder", "/my-order/1"),
        ("newOrder", "javascript:alert(1)"),
    ],
)
def test_a_missing_or_odd_location_breaks_the_protocol(world: World, step: str, location: str) -> None:
    """
    Without its URL nothing that was made can be used; one that is not https is none.
    """

    def change(said: Answer) -> Answer:
        return said.with_field("Location", location) if location else said.without("Location")

    world.front.arm(Fault(step, Change(change), times=None))
    assert "its Location is missing or not an https URL" in str(protocol_error(world, step))
    world.recover()


@pytest.mark.parametrize(
    ("step", "member", "value"),
    [
        ("directory", "newNonce", None),
        ("directory", "newAccount", 7),
        ("directory", "newOrder", "odd"),
        ("newOrder", "status", "odd"),
        ("newOrder", "authorizations", 7),
        ("newOrder", "finalize", None),
        ("authorization", "status", None),
        ("authorization", "identifier", "odd"),
        ("authorization", "challenges", 7),
    ],
)
def test_a_missing_or_odd_member_breaks_the_protocol(world: World, step: str, member: str, value: object) -> None:
    """
    The error names the member.
    """

    def change(said: Answer) -> Answer:
        members = said.json()
        del members[member]
        return said.with_content(json.dumps({**members, **({member: value} if value is not None else {})}).encode())

    world.front.arm(Fault(step, Change(change), times=None))
    assert member in protocol_error(world, step).reason
    world.recover()


@pytest.mark.parametrize("content_type", ["text/html", "application/pkix-cert", ""])
def test_a_certificate_of_another_type_is_none(world: World, content_type: str) -> None:
    """
    Only application/pem-certificate-chain is what was asked for (RFC 8555 §7.4.2).
    """
    world.front.arm(
        Fault("certificate", Change(lambda said: said.with_field("Content-Type", content_type)), times=None)
    )
    assert "it is not application/pem-certificate-chain" == protocol_error(world, "certificate").reason
    world.recover()


@pytest.mark.parametrize("step", JSON_STEPS)
def test_a_wrong_type_of_json_does_no_harm(world: World, step: str) -> None:
    """
    What can be read is read: a proxy on the way may have changed the type.
    """
    world.front.arm(Fault(step, Change(lambda said: said.with_field("Content-Type", "text/plain"))))
    assert world.issue().bundle is not None


@pytest.mark.parametrize(("step", "status"), list(zip(STEPS, [301, 404, 418] * 3, strict=False)))
def test_a_status_that_is_no_refusal_breaks_the_protocol(world: World, step: str, status: int) -> None:
    """
    Redirects are not followed, and pages of a server that is no CA are not believed.
    """
    world.front.arm(
        Fault(step, Say(answer(status, b"<html>").with_field("Location", "https://127.0.0.1/")), times=None)
    )
    protocol_error(world, step)
    world.recover()

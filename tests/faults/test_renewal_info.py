"""
Renewal information (RFC 9773), profiles, and orders that replace a certificate: what the CA may do wrong there.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from josepy.json_util import encode_b64jose

from sptls.acme.issue import RENEWAL_INFO_SECONDS
from sptls.errors import ConfigError
from tests.acme_front import renewal_info
from tests.acme_front.faults import Action, Answer, Break, Change, Fault, GoDown, Say, answer, problem
from tests.faults.world import OTHER, World

if TYPE_CHECKING:
    from sptls.certs.records import RenewalInfo

pytestmark = pytest.mark.pebble

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MALFORMED = renewal_info.malformed()


def offer(world: World, action: Action) -> None:
    """
    Let the CA answer so for every certificate.
    """
    world.front.renewal_info = {"": action}
    world.issuer = world.make_issuer()


def ask(world: World) -> tuple[RenewalInfo | None, float]:
    """
    Ask for the renewal information of a new certificate; gives how many seconds that took, too.
    """
    bundle = world.bundle()
    begun = world.reactor.seconds()
    info = world.reactor.run_coroutine(world.issuer.renewal_info(bundle))
    return info, world.reactor.seconds() - begun


def second(moment: datetime) -> datetime:
    """
    Give *moment* as it stands in JSON.
    """
    return moment.replace(microsecond=0)


@pytest.mark.parametrize(
    ("start", "end"),
    [(60 * DAY, 62 * DAY), (-DAY, -HOUR), (-DAY, HOUR), (-4000 * DAY, -3999 * DAY)],
    ids=["usual", "past", "now", "long past"],
)
def test_a_window_is_given_as_it_is(world: World, start: timedelta, end: timedelta) -> None:
    """
    One in the past means now; what follows is the schedule's to decide.
    """
    begin, finish = second(world.now() + start), second(world.now() + end)
    offer(world, Say(renewal_info.window(begin, finish, "3600", "https://ca.test/incident")))
    info, _ = ask(world)
    assert info is not None
    assert (begin, finish, 3600.0) == (info.start, info.end, info.ask_again_seconds)
    assert "https://ca.test/incident" == info.explanation_url
    assert 1 == world.front.count("renewalInfo")


def test_the_certificate_is_named_as_the_rfc_says(world: World) -> None:
    """
    Authority key identifier and serial number, base64url: the front has an answer for that name only.
    """
    offer(world, Say(answer(404)))
    bundle = world.bundle()
    leaf = x509.load_der_x509_certificate(bundle.chain[0])
    authority = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    serial = leaf.serial_number
    number = (
        f"{encode_b64jose(authority or b'')}.{encode_b64jose(serial.to_bytes(serial.bit_length() // 8 + 1, 'big'))}"
    )
    window = renewal_info.window_of(bundle.not_before, bundle.not_after)
    world.front.renewal_info = {number: Say(window)}
    info = world.reactor.run_coroutine(world.issuer.renewal_info(bundle))
    assert info is not None


def test_a_window_after_the_expiry_counts_as_none(world: World) -> None:
    """
    Whoever waited for it would be late.
    """
    now = world.now()
    offer(world, Say(renewal_info.window(now + 4000 * DAY, now + 4001 * DAY)))
    assert ask(world)[0] is None


def test_a_window_that_reaches_over_the_expiry_is_cut(world: World) -> None:
    """
    No moment in it is later than the certificate.
    """
    now = world.now()
    offer(world, Say(renewal_info.window(now + 60 * DAY, now + 4000 * DAY)))
    info, _ = ask(world)
    assert info is not None
    assert info.end <= now + 90 * DAY


@pytest.mark.parametrize("how", MALFORMED)
def test_what_is_no_renewal_information_counts_as_none(world: World, how: str) -> None:
    """
    Nothing is raised, and it takes no longer than it may.
    """
    offer(world, Say(MALFORMED[how]))
    info, seconds = ask(world)
    assert info is None
    assert seconds <= RENEWAL_INFO_SECONDS + 1
    assert world.front.count("renewalInfo") <= 6


@pytest.mark.parametrize(
    "action",
    [Break("hang"), Break("reset"), Break("hang", content_bytes=5), GoDown("refuse"), GoDown("silent")],
    ids=["hangs", "reset", "hangs in the middle", "refused", "silent"],
)
def test_no_answer_counts_as_none(world: World, action: Action) -> None:
    """
    In half a minute at most; orders go on meanwhile and afterwards.
    """
    offer(world, Say(answer(404)))
    bundle = world.bundle()
    world.front.arm(Fault("renewalInfo", action, times=None))
    begun = world.reactor.seconds()
    assert world.reactor.run_coroutine(world.issuer.renewal_info(bundle)) is None
    assert world.reactor.seconds() - begun <= RENEWAL_INFO_SECONDS + 1
    world.recover()


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [("21600", 21600), (None, 12 * 3600), ("1", 60), ("604800", 86400), ("soon", 12 * 3600)],
)
def test_when_to_ask_again_is_within_a_minute_and_a_day(world: World, retry_after: str | None, seconds: float) -> None:
    """
    The CA's Retry-After, or twice a day.
    """
    offer(world, Say(renewal_info.window(world.now() + 60 * DAY, world.now() + 61 * DAY, retry_after)))
    info, _ = ask(world)
    assert info is not None
    assert seconds == info.ask_again_seconds


def test_a_ca_without_renewal_information_is_not_asked(world: World) -> None:
    """
    Its directory says so.
    """
    assert (None, 0) == (ask(world)[0], world.front.count("renewalInfo"))


# Replacing


def test_a_renewal_says_what_it_replaces(world: World) -> None:
    """
    The order names the certificate, and counts against no limit.
    """
    offer(world, Say(answer(404)))
    old = world.bundle()
    came = world.reactor.run_coroutine(world.attempt(old.names[0], old))
    assert (True, 0) == (came.is_replacement, came.orders)
    assert "." in world.front.last("newOrder").payload["replaces"]


@pytest.mark.parametrize(
    "refusal",
    [problem(409, "alreadyReplaced"), problem(404, "malformed", "no such certificate"), problem(403, "unauthorized")],
    ids=["replaced before", "unknown", "another account's"],
)
def test_a_certificate_that_can_t_be_replaced_is_renewed_all_the_same(world: World, refusal: Answer) -> None:
    """
    The CA is asked again at once, without.
    """
    offer(world, Say(answer(404)))
    old = world.bundle()
    world.front.arm(Fault("newOrder", Say(refusal)))
    came = world.reactor.run_coroutine(world.attempt(old.names[0], old))
    assert came.bundle is not None, came.cause
    assert (2, False, 1) == (came.operations.count("newOrder"), came.is_replacement, came.orders)
    assert "replaces" not in world.front.last("newOrder").payload


def test_a_certificate_is_replaced_once(world: World) -> None:
    """
    After a renewal that was lost on our side, the next one goes without.
    """
    offer(world, Say(answer(404)))
    old = world.bundle()
    first, later = (world.reactor.run_coroutine(world.attempt(old.names[0], old)) for _ in range(2))
    assert (True, False) == (first.is_replacement, later.is_replacement)
    assert later.bundle is not None


# Profiles


def test_a_profile_is_ordered(world: World) -> None:
    """
    Where the CA offers it.
    """
    world.front.profiles = {"classic": "as ever", "shortlived": "a week"}
    world.issuer = world.make_issuer(profile="shortlived")
    world.bundle()
    assert "shortlived" == world.front.last("newOrder").payload["profile"]


def test_a_profile_that_is_not_offered_is_for_the_operator(world: World) -> None:
    """
    Nothing is ordered; the error lists what there is. When the CA offers it, the next attempt finds that.
    """
    world.front.profiles = {"classic": "as ever", "tlsserver": "six weeks"}
    world.issuer = world.make_issuer(profile="shortlived")
    came = world.failure()
    assert isinstance(came.cause, ConfigError)
    assert "it offers classic, tlsserver" in str(came.cause)
    assert 0 == world.front.count("newOrder")
    world.front.profiles = {"shortlived": "a week"}
    world.recover()


def test_a_profile_that_is_withdrawn_is_for_the_operator(world: World) -> None:
    """
    The directory that we know has it, the CA refuses it: the error says what there is else, and the next attempt asks
    for the directory again.
    """
    world.front.profiles = {"classic": "as ever", "shortlived": "a week"}
    world.issuer = world.make_issuer(profile="shortlived")
    world.bundle()
    world.front.profiles = {"classic": "as ever"}
    first, second = world.failure(), world.failure(OTHER)
    for came in (first, second):
        assert isinstance(came.cause, ConfigError)
        assert "acme.profile: " in str(came.cause)
        assert "classic" in str(came.cause)
    assert (0, 1) == (first.operations.count("directory"), second.operations.count("directory"))
    assert 0 == second.operations.count("newOrder")


def test_profiles_that_make_no_sense_are_left_out(world: World) -> None:
    """
    A directory with odd ones is a directory all the same.
    """
    odd = {"profiles": ["classic"], "termsOfService": "https://ca.test/terms"}
    world.front.arm(Fault("directory", Change(lambda said: said.with_members(meta=odd))))
    world.bundle()

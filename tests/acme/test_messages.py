from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sptls.acme import messages
from sptls.acme.exchange import Answer
from sptls.acme.messages import Authorization, Challenge, Directory, Order
from sptls.certs.records import RenewalInfo
from sptls.errors import AcmeError, AcmeProblem, AcmeProtocolError, AcmeUnreachable, Scope
from sptls.names import HostName

CA = "https://ca.test"
TOKEN = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
DIRECTORY = {"newNonce": f"{CA}/n", "newAccount": f"{CA}/a", "newOrder": f"{CA}/o"}
ORDER = {"status": "pending", "authorizations": [f"{CA}/z"], "finalize": f"{CA}/f"}
CHALLENGE = {"type": "http-01", "url": f"{CA}/c", "status": "pending", "token": TOKEN}
AUTHORIZATION = {"status": "pending", "identifier": {"type": "dns", "value": "a.test"}, "challenges": [CHALLENGE]}
PREFIX = "urn:ietf:params:acme:error:"
NOW = datetime(2026, 8, 1, tzinfo=UTC)
LINKS = (
    f"<{CA}/dir>;rel=index",
    f'<{CA}/help>; rel="help"',
    f'<{CA}/terms>;rel="terms-of-service"',
    "<ftp://x>;rel=help",
)
WINDOW = {"start": "2026-08-01T12:00:00Z", "end": "2026-08-02T02:00:00.123456789+02:00"}


def encode(value: object, **changes: object) -> bytes:
    """
    Give *value*, an object, with *changes* as JSON.
    """
    assert isinstance(value, dict)
    return json.dumps({**value, **changes}).encode()


def test_reads_a_directory_and_ignores_what_it_does_not_know() -> None:
    """
    Unknown members, as newer CAs have them, are no fault.
    """
    meta = {"termsOfService": f"{CA}/terms", "externalAccountRequired": True, "profiles": {}}
    expected = Directory(f"{CA}/n", f"{CA}/a", f"{CA}/o", f"{CA}/terms", external_account_required=True)
    assert expected == messages.parse_directory(encode(DIRECTORY, meta=meta, renewalInfo=1))
    assert Directory(f"{CA}/n", f"{CA}/a", f"{CA}/o") == messages.parse_directory(encode(DIRECTORY))


def test_reads_an_order() -> None:
    """
    The order has the URL and the delay that came beside it.
    """
    expected = Order(f"{CA}/o/1", "pending", (f"{CA}/z",), f"{CA}/f", retry_after_seconds=3.0)
    assert expected == messages.parse_order("order", f"{CA}/o/1", encode(ORDER), 3.0)


def test_an_invalid_order_has_its_problem() -> None:
    """
    The error of an order is a typed problem, without the RFC's prefix.
    """
    error = {"type": f"{PREFIX}caa", "detail": "forbidden"}
    order = messages.parse_order("order", CA, encode(ORDER, status="invalid", error=error))
    assert order.error is not None
    assert ("caa", "forbidden") == (order.error.type, order.error.detail)


def test_a_valid_order_has_its_certificate() -> None:
    """
    Without a certificate, a valid order is a protocol error.
    """
    order = messages.parse_order("order", CA, encode(ORDER, status="valid", certificate=f"{CA}/cert"))
    assert f"{CA}/cert" == order.certificate
    with pytest.raises(AcmeProtocolError, match="certificate is missing"):
        messages.parse_order("order", CA, encode(ORDER, status="valid"))


def test_reads_an_authorization_with_challenges_of_unknown_types() -> None:
    """
    A type that we don't know needs no token.
    """
    new = {"type": "dns-persist-01", "url": f"{CA}/c2", "status": "pending", "token": 1}
    read = messages.parse_authorization(f"{CA}/z", encode(AUTHORIZATION, challenges=[CHALLENGE, new]), 1.5)
    challenges = (
        Challenge("http-01", f"{CA}/c", "pending", TOKEN),
        Challenge("dns-persist-01", f"{CA}/c2", "pending"),
    )
    assert Authorization(f"{CA}/z", "pending", "a.test", challenges, 1.5) == read


def test_reads_a_challenge_as_responders_use_it() -> None:
    """
    A challenge has what a txacme responder asks of it.
    """
    challenge = messages.parse_challenge(encode(CHALLENGE))
    assert TOKEN == challenge.encode("token")
    assert "http-01" == challenge.typ
    assert "_acme-challenge.a.test" == challenge.validation_domain_name("a.test")


@pytest.mark.parametrize("token", ["../../etc/passwd", "", "a b", "a\n", "a" * 513, 7, None])
def test_a_token_outside_its_alphabet_is_a_protocol_error(token: object) -> None:
    """
    A token becomes part of a path, so nothing else than base64url is one (RFC 8555 §8.1).
    """
    with pytest.raises(AcmeProtocolError, match="token"):
        messages.parse_challenge(encode(CHALLENGE, token=token))


@pytest.mark.parametrize(
    ("parse", "message"),
    [
        (messages.parse_directory, DIRECTORY),
        (lambda content: messages.parse_order("order", CA, content), ORDER),
        (lambda content: messages.parse_authorization(CA, content), AUTHORIZATION),
        (messages.parse_challenge, CHALLENGE),
    ],
)
@given(data=st.data())
def test_a_message_with_a_wrong_member_is_a_protocol_error(parse: Any, message: dict[str, object], data: Any) -> None:
    """
    Every member that we read is checked for its type.
    """
    name = data.draw(st.sampled_from(sorted(message)))
    wrong = data.draw(st.none() | st.integers() | st.lists(st.integers(), min_size=1, max_size=2))
    with pytest.raises(AcmeProtocolError, match=name):
        parse(encode(message, **{name: wrong}))


def refusal(status: int, content: bytes = b"", content_type: str = "application/problem+json") -> AcmeError:
    """
    Give the error for an answer to newOrder that asks to come back in seven seconds.
    """
    answer = Answer(status, content, content_type, links=LINKS, retry_after_seconds=7.0)
    return messages.refusal("newOrder", answer, NOW)


def test_a_refusal_is_the_cas_problem_with_its_subproblems() -> None:
    """
    Status, type, detail, identifiers and the delay all arrive (RFC 8555 §6.7.1).
    """
    sub = {"type": f"{PREFIX}caa", "detail": "no", "identifier": {"type": "dns", "value": "a.test"}}
    error = refusal(403, encode({"type": f"{PREFIX}compound", "detail": "many"}, subproblems=[sub, {}]))
    assert isinstance(error, AcmeProblem)
    assert (403, "compound", "many", 7.0) == (error.status, error.type, error.detail, error.retry_after_seconds)
    first, second = error.subproblems
    assert ("caa", "no", "a.test") == (first.type, first.detail, first.identifier)
    assert ("about:blank", "", None) == (second.type, second.detail, second.identifier)


def test_an_oddly_explained_refusal_is_a_refusal() -> None:
    """
    Wrong types in a problem document hide nothing of what can be read.
    """
    error = refusal(400, encode({"type": 1, "title": "odd"}, subproblems=7, identifier="a", detail=[]))
    assert isinstance(error, AcmeProblem)
    assert ("about:blank", "odd", (), None) == (error.type, error.detail, error.subproblems, error.identifier)


@given(st.binary() | st.dictionaries(st.text(), st.text() | st.integers()).map(encode))
def test_any_refusal_is_a_typed_error(content: bytes) -> None:
    """
    Whatever comes with a 403 ends as a problem or a protocol error.
    """
    assert isinstance(refusal(403, content), AcmeProblem | AcmeProtocolError)


def test_a_failing_ca_is_unreachable() -> None:
    """
    A 5xx is worth another try, explained or not.
    """
    explained = refusal(503, encode({"type": f"{PREFIX}serverInternal", "detail": "busy"}))
    assert isinstance(explained, AcmeUnreachable)
    assert ("it answered 503: busy", 7.0) == (explained.reason, explained.retry_after_seconds)
    assert "it answered 502" == getattr(refusal(502, b"<html>", "text/html"), "reason", None)


def test_a_rate_limit_needs_no_problem_document() -> None:
    """
    A front that knows no ACME limits rates too.
    """
    error = refusal(429, b"slow down", "text/plain")
    assert isinstance(error, AcmeProblem)
    assert ("rateLimited", 7.0) == (error.type, error.retry_after_seconds)


@pytest.mark.parametrize(("status", "reason"), [(301, "redirect"), (404, "without a problem document")])
def test_anything_else_breaks_the_protocol(status: int, reason: str) -> None:
    """
    Redirects and unexplained refusals are no answers of an ACME server.
    """
    error = refusal(status, b"<html>", "text/html")
    assert isinstance(error, AcmeProtocolError)
    assert reason in error.reason


@pytest.mark.parametrize(
    ("links", "expected"),
    [
        ([], ()),
        ([f'<{CA}/1>;rel="alternate"'], (f"{CA}/1",)),
        (
            [f"<{CA}/1>; REL=Alternate , <{CA}/dir>;rel=index", f'<{CA}/2>; title=x; rel="up alternate"'],
            (f"{CA}/1", f"{CA}/2"),
        ),
        (['<http://ca.test/1>;rel="alternate"', "<>;rel=alternate", "alternate"], ()),
        ([f"<{CA}/1>;rel=alternate"] * 99, (f"{CA}/1",) * messages.MAX_ALTERNATES),
    ],
)
def test_reads_alternates_from_link_fields(links: list[str], expected: tuple[str, ...]) -> None:
    """
    Only https URLs with the relation "alternate" count, and not too many (RFC 8555 §7.4.2).
    """
    assert expected == messages.alternates(links)


@given(st.lists(st.text(), max_size=3))
def test_any_link_fields_are_read(links: list[str]) -> None:
    """
    No field is an error.
    """
    assert all(url.startswith("https://") for url in messages.alternates(links))


def test_registers_with_contacts_terms_and_binding() -> None:
    """
    Contacts without a scheme are e-mail addresses; what is not wanted is left out.
    """
    full = messages.new_account(("ops@a.test", "tel:1"), terms_agreed=True, external_account_binding={"payload": ""})
    assert {
        "contact": ["mailto:ops@a.test", "tel:1"],
        "termsOfServiceAgreed": True,
        "externalAccountBinding": {"payload": ""},
    } == full
    assert {} == messages.new_account((), terms_agreed=False, external_account_binding=None)


def test_orders_and_finalizes() -> None:
    """
    Names are identifiers of type dns; the CSR goes in base64url without padding.
    """
    assert {"identifiers": [{"type": "dns", "value": "a.test"}]} == messages.new_order([HostName("a.test")])
    assert {"csr": "_w"} == messages.finalize(b"\xff")


def test_post_as_get_has_an_empty_payload() -> None:
    """
    None and {} are different things to a CA (RFC 8555 §6.3, §7.5.1).
    """
    assert (b"", b"{}") == (messages.serialize(None), messages.serialize({}))


def test_a_directory_has_what_later_documents_add() -> None:
    """
    Renewal information, revocation, profiles; what is odd among it is as if it were not there.
    """
    meta = {"profiles": {"classic": "the usual", "short\nlived": "160 hours", "odd": 7}}
    whole = messages.parse_directory(encode(DIRECTORY, renewalInfo=f"{CA}/r", revokeCert=f"{CA}/v", meta=meta))
    assert (f"{CA}/r", f"{CA}/v") == (whole.renewal_info, whole.revoke_cert)
    assert {"classic": "the usual", "short lived": "160 hours"} == whole.profiles
    odd = messages.parse_directory(encode(DIRECTORY, renewalInfo="http://x", revokeCert=7, meta={"profiles": []}))
    assert ("", "", {}) == (odd.renewal_info, odd.revoke_cert, odd.profiles)


@pytest.mark.parametrize(
    ("expires", "expected"), [("2026-08-01T02:00:00+02:00", NOW), ("tomorrow", None), ("2026-08-01T00:00:00", None)]
)
def test_an_order_says_when_it_expires(expires: str, expected: datetime | None) -> None:
    """
    In UTC; what can't be read is as if it were not there.
    """
    assert expected == messages.parse_order("order", CA, encode(ORDER, expires=expires)).expires


def test_renewal_information_is_a_window() -> None:
    """
    Both ends in UTC, the page for people, and when to ask again (RFC 9773 §4.2).
    """
    content = encode({"suggestedWindow": WINDOW, "explanationURL": f"{CA}/why"})
    start = NOW + timedelta(hours=12)
    end = NOW + timedelta(days=1, microseconds=123456)
    assert RenewalInfo(start, end, 7200.0, f"{CA}/why") == messages.parse_renewal_info(content, 7200.0)
    plain = messages.parse_renewal_info(encode({"suggestedWindow": WINDOW, "explanationURL": "javascript:"}))
    assert ("", 43200.0) == (plain.explanation_url, plain.ask_again_seconds)


@pytest.mark.parametrize(
    "window",
    [
        None,
        {},
        {"start": WINDOW["start"]},
        {"start": WINDOW["end"], "end": WINDOW["start"]},
        {"start": WINDOW["start"], "end": WINDOW["start"]},
        {"start": "now", "end": WINDOW["end"]},
        {"start": "2026-08-01T12:00:00", "end": WINDOW["end"]},
        {"start": WINDOW["start"], "end": "9999-12-31T23:59:59-23:59"},
        {"start": 1, "end": 2},
    ],
)
def test_a_window_that_is_none_is_no_answer(window: object) -> None:
    """
    One that ends before it begins counts as if there were none (RFC 9773 §4.2).
    """
    with pytest.raises(AcmeProtocolError):
        messages.parse_renewal_info(encode({"suggestedWindow": window}))


@given(st.binary() | st.dictionaries(st.text(), st.text()).map(lambda window: encode({"suggestedWindow": window})))
def test_any_renewal_information_is_a_window_or_an_error(content: bytes) -> None:
    """
    Whatever comes, nothing else is raised.
    """
    with pytest.raises(AcmeProtocolError):
        messages.parse_renewal_info(content)


def test_a_refusal_tells_what_it_is_about_and_what_to_read() -> None:
    """
    The operation, whom it concerns, until when, and the URLs for a person (RFC 8555 §6.6, §7.3.3).
    """
    error = refusal(403, encode({"type": f"{PREFIX}userActionRequired", "instance": f"{CA}/agree"}))
    assert isinstance(error, AcmeProblem)
    assert ("newOrder", Scope.ACCOUNT, NOW + timedelta(seconds=7)) == (
        error.operation, error.scope, error.concern.retry_at,
    )  # fmt: skip
    assert {"instance": f"{CA}/agree", "help": f"{CA}/help", "terms-of-service": f"{CA}/terms"} == error.links


def test_an_order_names_its_profile_and_what_it_replaces() -> None:
    """
    Where there is one.
    """
    names = (HostName("a.test"),)
    whole = messages.new_order(names, profile="shortlived", replaces="a.b")
    identifiers = [{"type": "dns", "value": "a.test"}]
    assert {"identifiers": identifiers, "profile": "shortlived", "replaces": "a.b"} == whole
    assert {"identifiers": identifiers} == messages.new_order(names)


def test_a_revocation_has_a_reason_where_there_is_one() -> None:
    """
    0 is "unspecified", which is not to be sent (RFC 5280 §5.3.1).
    """
    assert {"certificate": "YQ", "reason": 1} == messages.revoke_cert(b"a", 1)
    assert {"certificate": "YQ"} == messages.revoke_cert(b"a", 0)

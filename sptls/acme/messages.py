"""
What a CA says and what we tell it: JSON to frozen values, and the payloads of our requests (RFC 8555 §7.1, §6.7;
RFC 9773 §4.2, §5; profiles as in draft-ietf-acme-profiles).

Decides what an acceptable message is: members that we use must be there and of the right type, the rest is
ignored (§7.1: clients ignore what they don't know). Bytes are limited before they come here (`transport`). What
follows from a message is `steps`' to decide.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

import attrs
from josepy.json_util import encode_b64jose

from sptls.acme import concern, renewal
from sptls.acme.members import Members, is_url
from sptls.certs.records import RenewalInfo
from sptls.errors import AcmeProblem, AcmeProtocolError, AcmeUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from sptls.acme.exchange import Answer
    from sptls.errors import AcmeError
    from sptls.names import HostName

Payload = dict[str, object]
Value = TypeVar("Value")

OrderStatus = Literal["pending", "ready", "processing", "valid", "invalid"]
AuthorizationStatus = Literal["pending", "valid", "invalid", "deactivated", "expired", "revoked"]
ChallengeStatus = Literal["pending", "processing", "valid", "invalid"]

PROBLEM_PREFIX = "urn:ietf:params:acme:error:"
# The challenge types that we know to need a token (RFC 8555 §8.3-8.4, RFC 8737 §3).
TOKEN_CHALLENGES = frozenset({"http-01", "tls-alpn-01", "dns-01"})

# RFC 8555 §8.1 wants 128 bits, 22 characters; the token becomes part of a path, so its alphabet is checked.
_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,512}\Z")
# One parameter may stand before "rel"; nobody sends more. A URL has no "<", and each would be looked for its ">".
_LINK = re.compile(r"""<(?P<url>[^<>]*)>\s*;(?:[^,<>]*;)?\s*rel\s*=\s*"?(?P<relation>[a-z0-9. -]+)""", re.IGNORECASE)
# Let's Encrypt has offered two chains at most.
MAX_ALTERNATES = 10
# What a CA may want a person to read: about a limit (RFC 8555 §6.6), new terms (§7.3.3).
_READING = ("help", "terms-of-service")


@attrs.frozen
class Directory:
    """
    Where the CA's resources are (§7.1.1), "" where it has none of a kind; *terms_of_service* is the URL to agree to.

    *profiles* are the kinds of certificates that it offers, by name, with what it says of each.
    """

    new_nonce: str
    new_account: str
    new_order: str
    terms_of_service: str = ""
    external_account_required: bool = False
    revoke_cert: str = ""
    renewal_info: str = ""
    profiles: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen
class Order:
    """
    One request for a certificate (§7.1.3); *certificate* is its URL once the order is valid, or "".
    """

    url: str
    status: OrderStatus
    authorizations: tuple[str, ...]
    finalize: str
    certificate: str = ""
    error: AcmeProblem | None = None
    retry_after_seconds: float | None = None
    expires: datetime | None = None


@attrs.frozen
class Challenge:
    """
    One way to prove control of a name (§8); *token* is "" for types that we don't know.

    It has what a txacme responder asks of a challenge: `typ` and ``encode("token")``.
    """

    type: str
    url: str
    status: ChallengeStatus
    token: str = ""
    error: AcmeProblem | None = None

    @property
    def typ(self) -> str:
        """
        Give the type under the name that certbot's acme library has for it.
        """
        return self.type

    def encode(self, name: str) -> str:
        """
        Give the member *name* as it stands in the JSON.
        """
        return str(getattr(self, name))

    def validation_domain_name(self, name: str) -> str:
        """
        Give the name of the TXT record that answers dns-01 (§8.4), for plugged-in responders.
        """
        return f"_acme-challenge.{name}"


@attrs.frozen
class Authorization:
    """
    Whether, and how, we may prove control of *identifier* (§7.1.4).
    """

    url: str
    status: AuthorizationStatus
    identifier: str
    challenges: tuple[Challenge, ...]
    retry_after_seconds: float | None = None


def parse_directory(content: bytes) -> Directory:
    """
    Read a directory (§7.1.1).

    Raises:
        AcmeProtocolError: it is not one.
    """
    members = Members.parse("directory", content)
    meta = members.optional_nested("meta")
    return Directory(
        new_nonce=members.url("newNonce"),
        new_account=members.url("newAccount"),
        new_order=members.url("newOrder"),
        terms_of_service=meta.lenient_text("termsOfService") if meta else "",
        external_account_required=meta.truth("externalAccountRequired") if meta else False,
        revoke_cert=members.lenient_url("revokeCert"),
        renewal_info=members.lenient_url("renewalInfo"),
        profiles=meta.lenient_texts("profiles") if meta else {},
    )


def parse_order(operation: str, url: str, content: bytes, retry_after_seconds: float | None = None) -> Order:
    """
    Read the order at *url* (§7.1.3).

    Raises:
        AcmeProtocolError: it is not one, or a valid one without a certificate.
    """
    members = Members.parse(operation, content)
    order = Order(
        url=url,
        status=members.one_of("status", get_args(OrderStatus)),
        authorizations=members.urls("authorizations"),
        finalize=members.url("finalize"),
        certificate=members.optional_url("certificate"),
        error=_optional_problem(members, "error"),
        retry_after_seconds=retry_after_seconds,
        expires=members.lenient_moment("expires"),
    )
    if order.status == "valid" and not order.certificate:
        raise members.fault("certificate", "is missing from a valid order")
    return order


def parse_authorization(url: str, content: bytes, retry_after_seconds: float | None = None) -> Authorization:
    """
    Read the authorization at *url* (§7.1.4).

    Raises:
        AcmeProtocolError: it is not one.
    """
    members = Members.parse("authorization", content)
    return Authorization(
        url=url,
        status=members.one_of("status", get_args(AuthorizationStatus)),
        identifier=members.nested("identifier").text("value"),
        challenges=tuple(_challenge(each) for each in members.nested_array("challenges")),
        retry_after_seconds=retry_after_seconds,
    )


def parse_challenge(content: bytes) -> Challenge:
    """
    Read a challenge (§8).

    Raises:
        AcmeProtocolError: it is not one.
    """
    return _challenge(Members.parse("challenge", content))


def _challenge(members: Members) -> Challenge:
    kind = members.text("type")
    token = members.text("token") if kind in TOKEN_CHALLENGES else ""
    if kind in TOKEN_CHALLENGES and not _TOKEN.match(token):
        raise members.fault("token", "has characters outside base64url, or too many")
    return Challenge(
        type=kind,
        url=members.url("url"),
        status=members.one_of("status", get_args(ChallengeStatus)),
        token=token,
        error=_optional_problem(members, "error"),
    )


def parse_renewal_info(content: bytes, retry_after_seconds: float | None = None) -> RenewalInfo:
    """
    Read when the CA wants a certificate renewed (RFC 9773 §4.2).

    Raises:
        AcmeProtocolError: it does not say, or names a window that ends before it begins (which counts as no answer).
    """
    members = Members.parse("renewalInfo", content)
    window = members.nested("suggestedWindow")
    start, end = window.moment("start"), window.moment("end")
    if end <= start:
        raise window.fault("end", "is not after the start")
    seconds = renewal.ask_again_seconds(retry_after_seconds)
    return RenewalInfo(start, end, seconds, members.lenient_url("explanationURL"))


def parse_problem(operation: str, answer: Answer) -> AcmeProblem:
    """
    Read a problem document (RFC 7807, §6.7).

    Raises:
        AcmeProtocolError: it is not a JSON object.
    """
    members = Members.parse(operation, answer.content)
    instance = members.lenient_url("instance")
    return _problem(
        members,
        answer.status,
        operation=operation,
        retry_after_seconds=answer.retry_after_seconds,
        links={**({"instance": instance} if instance else {}), **reading(answer.links)},
    )


def refusal(operation: str, answer: Answer, now: datetime) -> AcmeError:
    """
    Give the error that an *answer* other than 2xx, which came at *now*, is (§6.7).

    A 5xx is the CA failing, whatever it says of it; a 429 is a rate limit, also from a front that knows no ACME.
    """
    status, seconds = answer.status, answer.retry_after_seconds
    problem = _problem_in(operation, answer)
    if status >= 500:
        said = f": {problem.detail}" if problem and problem.detail else ""
        return AcmeUnreachable(operation, f"it answered {status}{said}", retry_after_seconds=seconds)
    if problem is None and status == 429:
        problem = AcmeProblem(status, "rateLimited", retry_after_seconds=seconds, operation=operation)
    if problem:
        return concern.with_concern(problem, now)
    reason = "a redirect" if 300 <= status < 400 else "without a problem document"
    return AcmeProtocolError(operation, f"it answered {status}, {reason}")


def _problem_in(operation: str, answer: Answer) -> AcmeProblem | None:
    if answer.content_type not in ("application/problem+json", "application/json"):
        return None
    return _lenient(lambda: parse_problem(operation, answer), None)


def _optional_problem(members: Members, name: str) -> AcmeProblem | None:
    problem = members.optional_nested(name)
    return _problem(problem, 0) if problem else None


def _problem(members: Members, status: int, **of_the_answer: Any) -> AcmeProblem:
    subproblems = tuple(_one_problem(each, status) for each in _subproblems(members))
    return _one_problem(members, status, subproblems=subproblems, **of_the_answer)


def _one_problem(members: Members, status: int, **more: Any) -> AcmeProblem:
    identifier = _lenient(lambda: members.optional_nested("identifier"), None)
    return AcmeProblem(
        status,
        members.lenient_text("type").removeprefix(PROBLEM_PREFIX) or "about:blank",
        members.lenient_text("detail") or members.lenient_text("title"),
        identifier=(identifier.lenient_text("value") or None) if identifier else None,
        **more,
    )


def _subproblems(members: Members) -> tuple[Members, ...]:
    return _lenient(lambda: members.nested_array("subproblems"), ())


def _lenient(read: Callable[[], Value], otherwise: Value) -> Value:
    """
    Every member of a problem is optional (RFC 7807), and a refusal with an odd explanation is a refusal all the same.
    """
    try:
        return read()
    except AcmeProtocolError:
        return otherwise


def alternates(links: Sequence[str]) -> tuple[str, ...]:
    """
    Give the URLs of the other chains for a certificate, from the answer's Link fields (§7.4.2, RFC 8288 §3).
    """
    return tuple(url for url, relations in _links(links) if "alternate" in relations)[:MAX_ALTERNATES]


def reading(links: Sequence[str]) -> dict[str, str]:
    """
    Give the URLs by relation that the CA wants a person to read, from a refusal's Link fields.
    """
    return {
        relation: url for url, relations in reversed(_links(links)) for relation in _READING if relation in relations
    }


def _links(fields: Sequence[str]) -> list[tuple[str, list[str]]]:
    found = (match for field in fields for match in _LINK.finditer(field))
    return [(match["url"], match["relation"].lower().split()) for match in found if is_url(match["url"])]


def new_account(contact: Sequence[str], *, terms_agreed: bool, external_account_binding: Payload | None) -> Payload:
    """
    Give the payload that registers an account or finds ours (§7.3, §7.3.1); contacts without a scheme are e-mail.
    """
    payload: Payload = {}
    if contact:
        payload["contact"] = [each if ":" in each else f"mailto:{each}" for each in contact]
    if terms_agreed:
        payload["termsOfServiceAgreed"] = True
    if external_account_binding is not None:
        payload["externalAccountBinding"] = external_account_binding
    return payload


def new_order(names: Sequence[HostName], *, profile: str = "", replaces: str = "") -> Payload:
    """
    Give the payload that orders one certificate for *names* (§7.4), of that *profile*.

    *replaces* is the identifier of the certificate that it is to succeed (RFC 9773 §5).
    """
    payload: Payload = {"identifiers": [{"type": "dns", "value": name.text} for name in names]}
    if profile:
        payload["profile"] = profile
    if replaces:
        payload["replaces"] = replaces
    return payload


def revoke_cert(certificate: bytes, reason: int) -> Payload:
    """
    Give the payload that revokes *certificate*, DER, for *reason* (§7.6, RFC 5280 §5.3.1); 0 is none given.
    """
    payload: Payload = {"certificate": encode_b64jose(certificate)}
    if reason:
        payload["reason"] = reason
    return payload


def finalize(csr: bytes) -> Payload:
    """
    Give the payload that hands in *csr*, DER (§7.4).
    """
    return {"csr": encode_b64jose(csr)}


def serialize(payload: Payload | None) -> bytes:
    """
    Give the bytes of *payload*; None is POST-as-GET's empty one (§6.3).
    """
    return b"" if payload is None else json.dumps(payload).encode()

"""
What the front may do to a request: values, and the list of them that a test arms.

A `Fault` says to which request (operation, which one of them, about which name) and an action what becomes of it:
another answer, the CA's answer changed, a connection that ends or hangs, the whole CA gone for a while.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Literal

import attrs

PROBLEM_TYPE = "application/problem+json"
PREFIX = "urn:ietf:params:acme:error:"

# What Pebble (2.4 to 2.6) calls RFC 8555's resources.
OPERATIONS = {
    "dir": "directory",
    "nonce-plz": "newNonce",
    "sign-me-up": "newAccount",
    "order-plz": "newOrder",
    "my-order": "order",
    "authZ": "authorization",
    "chalZ": "challenge",
    "finalize-order": "finalize",
    "certZ": "certificate",
    "my-account": "account",
    "revoke-cert": "revokeCert",
    "rollover-account-key": "keyChange",
    "renewal-info": "renewalInfo",
}
# In the order in which they are asked for one certificate.
STEPS = ("directory", "newNonce", "newAccount", "newOrder", "authorization", "challenge", "finalize", "certificate")


@attrs.frozen
class Answer:
    """
    An HTTP answer; *fields* are pairs in order.
    """

    status: int = 200
    content: bytes = attrs.field(default=b"", repr=lambda content: repr(content[:80]))
    fields: tuple[tuple[str, str], ...] = ()

    def field(self, name: str) -> str:
        """
        Give the first field called *name*, or "".
        """
        return next((text for each, text in self.fields if each.lower() == name.lower()), "")

    def without(self, name: str) -> Answer:
        """
        Give it without the field *name*.
        """
        return attrs.evolve(self, fields=tuple(pair for pair in self.fields if pair[0].lower() != name.lower()))

    def with_field(self, name: str, text: str) -> Answer:
        """
        Give it with *text* as its only field *name*.
        """
        without = self.without(name)
        return attrs.evolve(without, fields=(*without.fields, (name, text)))

    def with_content(self, content: bytes) -> Answer:
        """
        Give it with other *content*.
        """
        return attrs.evolve(self, content=content)

    def with_members(self, **members: object) -> Answer:
        """
        Give it with *members* of its JSON object changed.
        """
        return self.with_content(json.dumps({**self.json(), **members}).encode())

    def json(self) -> dict[str, Any]:
        """
        Give its content as the JSON object that it is.
        """
        members: dict[str, Any] = json.loads(self.content)
        return members


def answer(
    status: int, content: bytes = b"", content_type: str = "text/plain", retry_after: str | None = None
) -> Answer:
    """
    Make an answer.
    """
    fields = [("Content-Type", content_type)]
    if retry_after is not None:
        fields.append(("Retry-After", retry_after))
    return Answer(status, content, tuple(fields))


def problem(status: int, kind: str, detail: str = "", retry_after: str | None = None, **members: object) -> Answer:
    """
    Make a problem document (RFC 8555 §6.7) of an answer.
    """
    document = {"type": PREFIX + kind, "detail": detail or f"no {kind} for you", "status": status, **members}
    return answer(status, json.dumps(document).encode(), PROBLEM_TYPE, retry_after)


@attrs.frozen
class Say:
    """
    Answer in the CA's place; with *asks_ca* it has done what it was asked for all the same.

    A refusal leaves the request's nonce unused, so that one is given back, unless *gives_nonce* is false.
    """

    answer: Answer
    asks_ca: bool = False
    gives_nonce: bool = True


@attrs.frozen
class Change:
    """
    Answer what the CA said, after *change*.
    """

    change: Callable[[Answer], Answer]


@attrs.frozen
class Break:
    """
    Give no (whole) answer: *how* the connection ends, or that nothing more comes on it.

    With *asks_ca* the CA has done what it was asked for; with *content_bytes* the head and so much of the content
    went out before.
    """

    how: Literal["close", "reset", "hang"]
    asks_ca: bool = False
    content_bytes: int | None = None


@attrs.frozen
class GoDown:
    """
    Give no answer, and let every connection from now on meet *how*, for *seconds* or until the front is brought back.
    """

    how: Literal["refuse", "silent", "garbage", "untrusted"]
    seconds: float | None = None


Action = Say | Change | Break | GoDown


@attrs.frozen
class Fault:
    """
    Do *action* to the *nth* request for *operation* from now on, and to those after it until it was done *times* times.

    *operation* "" is any of them, *times* None is for ever; with *name* only requests about that name count.
    """

    operation: str
    action: Action
    nth: int = 1
    times: int | None = 1
    name: str = ""


@attrs.define
class _Armed:
    fault: Fault
    seen: int = 0

    def takes(self, operation: str, name: str) -> bool:
        fault = self.fault
        if fault.operation not in ("", operation) or fault.name not in ("", name):
            return False
        self.seen += 1
        return self.seen >= fault.nth and (fault.times is None or self.seen < fault.nth + fault.times)


@attrs.define
class Faults:
    """
    What is armed.
    """

    _armed: list[_Armed] = attrs.field(factory=list)

    def arm(self, *faults: Fault) -> None:
        """
        Add *faults*; of several that take a request the first acts.
        """
        self._armed.extend(map(_Armed, faults))

    def clear(self) -> None:
        """
        Do nothing any more.
        """
        self._armed.clear()

    def action(self, operation: str, name: str) -> Action | None:
        """
        Give what becomes of a request, or None for the usual.
        """
        taken = [armed.fault.action for armed in self._armed if armed.takes(operation, name)]
        return taken[0] if taken else None

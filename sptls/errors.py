"""
Every exception of sptls, split by who can fix it.

Facts are attributes, the sentence is in ``__str__``: what happened, why, and what to do. No secret and no full
tracking path is ever put in one.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from sptls.certs.diagnosis import Finding


class SptlsError(Exception):
    """
    The root of all errors that sptls raises on purpose.
    """


@attrs.frozen
class Fault:
    """
    One thing that is wrong in a configuration: its *place* (``domains[1].name``) and the *message*.
    """

    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" if self.place else self.message


class ConfigError(SptlsError):
    """
    The operator can fix this: all faults of a configuration at once, each with its place.
    """

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__(faults)
        self.faults = faults

    def __str__(self) -> str:
        return "\n".join(str(fault) for fault in self.faults)


class StartError(SptlsError):
    """
    The operator can fix this: the daemon can't start (port taken, state directory in use); exit status 1.
    """


class InvalidHostName(SptlsError, ValueError):
    """
    *text* is not a host name, because of *reason*.
    """

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(text, reason)
        self.text, self.reason = text, reason

    def __str__(self) -> str:
        return f"{self.text!r} is not a host name: {self.reason}"


class Scope(Enum):
    """
    What an error of a CA's is about, and so whose next order it stops: one name's, ..., everybody's.
    """

    NAME = "the name"
    REGISTERED_DOMAIN = "the registered domain"
    ACCOUNT = "the account"
    CA = "the CA"


@attrs.frozen
class Concern:
    """
    What a refusal is about: *subject* is the name or the registered domain as the CA wrote it, "" where it did not.

    *retry_at* is when the CA wants to be asked again for what it is about, None where it does not say.
    """

    scope: Scope = Scope.NAME
    subject: str = ""
    retry_at: datetime | None = None


class AcmeError(SptlsError):
    """
    The root of what goes wrong with a CA; *retry_after_seconds* is what the CA asked for, or None.

    *scope* tells whom it stops: what is not a refusal meets everybody.
    """

    retry_after_seconds: float | None = None
    scope: Scope = Scope.CA


class AcmeProblem(AcmeError):
    """
    The CA refused: a problem document (RFC 7807, RFC 8555 §6.7).

    *type* is without the ``urn:ietf:params:acme:error:`` prefix where it had it; *identifier* is set on
    subproblems (RFC 8555 §6.7.1). *operation* is the request that it came for, "" for what an order or a challenge
    has in it. *links* are URLs that it wants a person to read, by relation: "instance" (RFC 7807 §3.1), "help"
    (RFC 8555 §6.6), "terms-of-service" (RFC 8555 §7.3.3).
    """

    def __init__(
        self,
        status: int,
        type: str,  # noqa: A002 - the field's name in RFC 7807
        detail: str = "",
        *,
        subproblems: tuple[AcmeProblem, ...] = (),
        identifier: str | None = None,
        retry_after_seconds: float | None = None,
        operation: str = "",
        concern: Concern = Concern(),
        links: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, type, detail)
        self.status, self.type, self.detail = status, type, detail
        self.subproblems, self.identifier = subproblems, identifier
        self.retry_after_seconds = retry_after_seconds
        self.operation, self.concern, self.scope = operation, concern, concern.scope
        self.links = links or {}

    def __str__(self) -> str:
        about = f" ({self.identifier})" if self.identifier else ""
        more = "".join(f"; {problem}" for problem in self.subproblems)
        return f"the CA refused with {self.type}{about}: {self.detail or 'no detail given'}{more}"


class AcmeProtocolError(AcmeError):
    """
    The CA broke RFC 8555 (or is not an ACME server): *operation* got an answer that it must not send.
    """

    def __init__(self, operation: str, reason: str) -> None:
        super().__init__(operation, reason)
        self.operation, self.reason = operation, reason

    def __str__(self) -> str:
        return f"the CA's answer to {self.operation} breaks the protocol: {self.reason}"


class AcmeUnreachable(AcmeError):
    """
    The CA could not be asked, or failed: refused, reset, TLS, time-out, 5xx; *operation* tells at which step.
    """

    def __init__(self, operation: str, reason: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(operation, reason)
        self.operation, self.reason = operation, reason
        self.retry_after_seconds = retry_after_seconds

    def __str__(self) -> str:
        return f"the CA could not be reached for {self.operation}: {self.reason}"


class ActionRequired(AcmeError):
    """
    The CA serves our account only after a person has acted: *problem* is its refusal, *action* what to do.
    """

    scope = Scope.ACCOUNT

    def __init__(self, problem: AcmeProblem, action: str) -> None:
        super().__init__(problem, action)
        self.problem, self.action = problem, action
        self.retry_after_seconds = problem.retry_after_seconds

    def __str__(self) -> str:
        said = self.problem.detail or self.problem.type
        return f"the CA refuses our account: {said}; {self.action}"


class ValidationFailed(AcmeError):
    """
    Our name is not reachable as the CA wants it: every challenge type that could be tried failed.

    *failures* pairs each challenge type tried with the CA's problem.
    """

    scope = Scope.NAME

    def __init__(self, name: str, failures: tuple[tuple[str, AcmeProblem], ...]) -> None:
        super().__init__(name, failures)
        self.name, self.failures = name, failures

    def __str__(self) -> str:
        if not self.failures:
            return f"{self.name} can't be validated: the CA offered no challenge type that is configured"
        tried = "; ".join(f"{kind}: {problem.detail or problem.type}" for kind, problem in self.failures)
        return f"{self.name} failed validation ({tried})"


class IssuanceFailed(SptlsError):
    """
    No certificate came of an attempt: *cause* tells why, the others what it cost at the CA.

    *failed_authorizations* are the challenges that were answered and did not become valid; one whose outcome the CA
    still owed us counts. *orders* are the new orders that were made, less those that a limit does not count.
    """

    def __init__(self, cause: SptlsError, failed_authorizations: int = 0, orders: int = 0) -> None:
        super().__init__(cause, failed_authorizations, orders)
        self.cause, self.failed_authorizations, self.orders = cause, failed_authorizations, orders

    def __str__(self) -> str:
        return str(self.cause)


class PrecheckFailed(SptlsError):
    """
    The CA was not asked, since *name* can't be validated as it stands: *findings* tell why.
    """

    def __init__(self, name: str, findings: tuple[Finding, ...]) -> None:
        super().__init__(name, findings)
        self.name, self.findings = name, findings

    def __str__(self) -> str:
        causes = "; ".join(finding.diagnosis.cause for finding in self.findings)
        return f"{self.name} was not ordered, the CA could not validate it: {causes or 'no reason given'}"


class OrderCancelled(SptlsError):
    """
    We gave an order up before the CA was asked to validate or to issue anything: it has cost nothing there.
    """

    def __str__(self) -> str:
        return "the order was cancelled before it cost anything at the CA"


class NotRevocable(SptlsError):
    """
    A certificate can't be revoked by who made it; says why and what else to do.
    """


class BadCertificate(SptlsError):
    """
    A certificate, key or chain must not be used, because of *reason*.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class StoreError(SptlsError):
    """
    The store could not be read or written: *path*, and *reason* as the system gave it.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"the store {self.path} can't be used: {self.reason}"


class DeployError(SptlsError):
    """
    A file for another server could not be put in its place: *path*, *reason*, and what to do (*advice*).
    """

    def __init__(self, path: str, reason: str, advice: str) -> None:
        super().__init__(path, reason, advice)
        self.path, self.reason, self.advice = path, reason, advice

    def __str__(self) -> str:
        return f"{self.path} can't be put in place: {self.reason}; {self.advice}"


class DaemonNotRunning(SptlsError):
    """
    No daemon uses the state directory *state_dir*: there is nobody to ask.
    """

    def __init__(self, state_dir: str) -> None:
        super().__init__(state_dir)
        self.state_dir = state_dir

    def __str__(self) -> str:
        return f"no sptls daemon is running with the state directory {self.state_dir}"


class ControlError(SptlsError):
    """
    A running daemon could not be asked, because of *reason*.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the daemon can't be asked: {self.reason}"


class UpstreamError(SptlsError):
    """
    The tracking service gave no usable answer; *status* is what the client gets (RFC 9110 §15.6.3-5).
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status, reason)
        self.status, self.reason = status, reason

    def __str__(self) -> str:
        return f"{self.reason} (answered {self.status})"


class MalformedBody(SptlsError):
    """
    A message's body breaks its framing (RFC 9112 §7.1): nothing more can be read from that connection.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class MalformedMessage(SptlsError):
    """
    What a worker process and its parent say to each other can't be read, or not be sent, because of *reason*.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"a message between worker and parent is unusable: {self.reason}"

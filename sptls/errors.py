"""
Every exception of sptls, split by who can fix it.

Facts are attributes, the sentence is in ``__str__``: what happened, why, and what to do. No secret and no full
tracking path is ever put in one.
"""

from __future__ import annotations

import attrs


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


class AcmeError(SptlsError):
    """
    The root of what goes wrong with a CA; *retry_after_seconds* is what the CA asked for, or None.
    """

    retry_after_seconds: float | None = None


class AcmeProblem(AcmeError):
    """
    The CA refused: a problem document (RFC 7807, RFC 8555 §6.7).

    *type* is without the ``urn:ietf:params:acme:error:`` prefix where it had it; *identifier* is set on
    subproblems (RFC 8555 §6.7.1).
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
    ) -> None:
        super().__init__(status, type, detail)
        self.status, self.type, self.detail = status, type, detail
        self.subproblems, self.identifier = subproblems, identifier
        self.retry_after_seconds = retry_after_seconds

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


class ValidationFailed(AcmeError):
    """
    Our name is not reachable as the CA wants it: every challenge type that could be tried failed.

    *failures* pairs each challenge type tried with the CA's problem.
    """

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
    No certificate came of an attempt: *cause* tells why, *failed_authorizations* what it cost at the CA.
    """

    def __init__(self, cause: SptlsError, failed_authorizations: int = 0) -> None:
        super().__init__(cause, failed_authorizations)
        self.cause, self.failed_authorizations = cause, failed_authorizations

    def __str__(self) -> str:
        return str(self.cause)


class OrderCancelled(SptlsError):
    """
    We gave an order up before the CA was asked to validate or to issue anything: it has cost nothing there.
    """

    def __str__(self) -> str:
        return "the order was cancelled before it cost anything at the CA"


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

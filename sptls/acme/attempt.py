"""
One attempt to get a certificate: what is wanted until when, what was tried, and what it has cost at the CA so far.

Decides which challenge types are left and what the cost is; changed by those who carry the attempt out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from sptls.errors import AcmeProblem, ValidationFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sptls.certs.bundle import CertificateBundle
    from sptls.certs.records import OrderRecord
    from sptls.names import HostName


@attrs.frozen
class Failed:
    """
    A challenge that came to nothing; *is_counted* where the CA counts a failed authorization.
    """

    challenge_type: str
    problem: AcmeProblem
    is_counted: bool = False


@attrs.define(eq=False)
class Attempt:
    """
    An attempt for *name*, whose certificate *replaces* another, until *until* in the clock's seconds.

    No other of its *challenge_types* is tried once so many have cost an authorization (None: all may be).
    *is_committed* is set when the CA is asked to validate or to issue: from then on only its answer tells what that
    costs. *is_being_validated* while it owes us the outcome of a challenge that was answered. *key* (PKCS#8, DER) is
    that of the order under way, *record* what is stored of that order, None for nothing; it *is_taken_up* when an
    earlier attempt made it, *is_order_over* when it leads nowhere. *failed_types* are the challenge types of the
    authorizations that the CA counts as failed.
    """

    name: HostName
    until: float
    replaces: CertificateBundle | None = None
    challenge_types: int | None = None
    failures: list[Failed] = attrs.field(factory=list)
    failed_types: list[str] = attrs.field(factory=list)
    orders: int = 0
    is_committed: bool = False
    is_being_validated: bool = False
    is_replacement: bool = False
    is_taken_up: bool = False
    is_order_over: bool = False
    key: bytes | None = attrs.field(default=None, repr=False)
    record: OrderRecord | None = None

    def go_on(self, record: OrderRecord) -> None:
        """
        Go on with the order of *record*, and with what its attempt had cost before it.
        """
        self.record, self.key, self.is_replacement = record, record.key, record.is_replacement
        self.is_taken_up = True
        self.failed_types = list(record.failed_types)

    def failed(self, failure: Failed) -> None:
        """
        Take note of a *failure*, which ends its order.
        """
        self.failures.append(failure)
        self.is_order_over = True
        if failure.is_counted:
            self.failed_types.append(failure.challenge_type)

    @property
    def failed_authorizations(self) -> int:
        """
        Give how many authorizations failed at the CA.
        """
        return len(self.failed_types)

    @property
    def cost(self) -> int:
        """
        Give how many authorizations failed at the CA, or may still fail without our hearing of it.
        """
        return self.failed_authorizations + self.is_being_validated

    @property
    def is_counted(self) -> bool:
        """
        Tell whether the history knows already what became of the authorization of the order under way.
        """
        return self.record is not None and self.record.is_counted

    def types_left(self, types: Sequence[str]) -> tuple[str, ...]:
        """
        Give those of *types* that did not fail, as long as the attempt may cost one authorization more.
        """
        if self.challenge_types is not None and self.cost >= self.challenge_types:
            return ()
        failed = {*self.failed_types, *(failure.challenge_type for failure in self.failures)}
        return tuple(kind for kind in types if kind not in failed)

    def validation_failed(self) -> ValidationFailed:
        """
        Give the error that all failures together are.
        """
        return ValidationFailed(self.name.text, tuple((each.challenge_type, each.problem) for each in self.failures))

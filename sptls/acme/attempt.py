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
    from sptls.names import HostName


@attrs.frozen
class Failed:
    """
    A challenge that came to nothing.
    """

    challenge_type: str
    problem: AcmeProblem


@attrs.define(eq=False)
class Attempt:
    """
    An attempt for *name*, whose certificate *replaces* another, until *until* in the clock's seconds.

    *is_committed* is set when the CA is asked to validate or to issue: from then on only its answer tells what that
    costs. *is_being_validated* while it owes us the outcome of a challenge that was answered. *key* (PKCS#8, DER) is
    that of the order under way.
    """

    name: HostName
    until: float
    replaces: CertificateBundle | None = None
    failures: list[Failed] = attrs.field(factory=list)
    failed_authorizations: int = 0
    orders: int = 0
    is_committed: bool = False
    is_being_validated: bool = False
    is_replacement: bool = False
    key: bytes | None = attrs.field(default=None, repr=False)

    @property
    def cost(self) -> int:
        """
        Give how many authorizations failed at the CA, or may still fail without our hearing of it.
        """
        return self.failed_authorizations + self.is_being_validated

    def types_left(self, types: Sequence[str]) -> tuple[str, ...]:
        """
        Give those of *types* that did not fail.
        """
        failed = {failure.challenge_type for failure in self.failures}
        return tuple(kind for kind in types if kind not in failed)

    def validation_failed(self) -> ValidationFailed:
        """
        Give the error that all failures together are.
        """
        return ValidationFailed(self.name.text, tuple((each.challenge_type, each.problem) for each in self.failures))

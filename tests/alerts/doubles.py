"""
Doubles for the tests of warnings: a store that may be full, ways to people that may be closed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twisted.internet.defer import Deferred

from sptls.certs.records import Warned
from sptls.certs.warning_rules import CertificateWarning
from sptls.errors import StoreError
from sptls.names import HostName


class Disk:
    """
    A store that may be full.
    """

    def __init__(self) -> None:
        self.stored: dict[HostName, Warned] = {}
        self.is_full = False

    async def put_warned(self, warned: Mapping[HostName, Warned]) -> None:
        """
        Take what people were *warned* of, or don't.
        """
        if self.is_full:
            raise StoreError("/s", "full")
        self.stored.update(warned)


class Way:
    """
    A channel that notes what it delivers; one that is closed says so, one that hangs waits for `hanging`.
    """

    def __init__(self) -> None:
        self.deliveries: list[list[str]] = []
        self.tries = 0
        self.closed = ""
        self.error: Exception | None = None
        self.hanging: Deferred[str] | None = None

    async def deliver(self, warnings: Sequence[CertificateWarning]) -> str:
        """
        Note them.
        """
        self.tries += 1
        if self.error is not None:
            raise self.error
        if self.closed:
            return self.closed
        told = [f"{warning.subject.name} {warning.kind.value}" for warning in warnings]
        if self.hanging is not None:
            failed = await self.hanging
            if failed:
                return failed
        self.deliveries.append(told)
        return ""

"""
A store in memory that keeps what the real one keeps, over a kill -9 too: a year on SQLite would take minutes.

`test_simulation` runs the same weeks on both and compares what the CA saw.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol

import attrs

from sptls.certs.recorder import RecordStore
from sptls.certs.records import (
    NO_ENTRIES,
    NO_HISTORY,
    History,
    Loaded,
    OrderRecord,
    RenewalAdvice,
    StoredCertificate,
)
from sptls.certs.renewal_information import AdviceStore
from sptls.errors import BadCertificate
from sptls.names import HostName


class SimulatedStore(RecordStore, AdviceStore, Protocol):
    """
    What a simulated process needs of its store: the renewer's records, and its CA client's orders.
    """

    async def order(self, name: HostName) -> OrderRecord | None:
        """
        Give the order under way for *name*, or None.
        """

    async def put_order(self, record: OrderRecord) -> None:
        """
        Keep *record* in the place of an old one.
        """

    async def remove_order(self, name: HostName) -> None:
        """
        Forget *name*'s order.
        """


class MemoryStore:
    """
    Everything in dictionaries; what was put is there at once.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._certificates: dict[HostName, StoredCertificate] = {}
        self._histories: dict[HostName, History] = {}
        self._orders: dict[HostName, OrderRecord] = {}
        self._advices: dict[HostName, RenewalAdvice] = {}
        self._limits: dict[str, dict[str, float]] = {}

    async def load(self) -> Loaded:
        """
        Give everything.
        """
        now = self._now().timestamp()
        return Loaded(
            dict(self._certificates),
            dict(self._histories),
            orders=frozenset(self._orders),
            limits={
                directory: {key: moment for key, moment in entries.items() if moment >= now}
                for directory, entries in self._limits.items()
            },
            advices=dict(self._advices),
        )

    async def put_certificate(
        self, certificate: StoredCertificate, history: History, limits: Mapping[str, Mapping[str, float]] = NO_ENTRIES
    ) -> None:
        """
        Keep a certificate, a history, and what changed in ledgers with it; forget the order that led to it.
        """
        if not (certificate.bundle.covers(certificate.name) and certificate.bundle.valid_at(self._now())):
            raise BadCertificate("it is not for this name and moment")
        self._certificates[certificate.name] = certificate
        self._orders.pop(certificate.name, None)
        await self.put_history(certificate.name, history, limits)

    async def put_history(
        self, name: HostName, history: History, limits: Mapping[str, Mapping[str, float]] = NO_ENTRIES
    ) -> None:
        """
        Keep a history, and what changed in ledgers with it.
        """
        for directory, entries in limits.items():
            await self.put_limits(directory, entries)
        if history == NO_HISTORY:
            self._histories.pop(name, None)
        else:
            self._histories[name] = history

    async def put_limits(self, directory: str, entries: Mapping[str, float]) -> None:
        """
        Keep some entries.
        """
        self._limits.setdefault(directory, {}).update(entries)

    async def put_due(self, name: HostName, serial: str, renew_at: datetime) -> None:
        """
        Keep when the certificate *serial*, if it is still *name*'s, is due.
        """
        certificate = self._certificates.get(name)
        if certificate is not None and certificate.bundle.serial == serial:
            self._certificates[name] = attrs.evolve(certificate, renew_at=renew_at)

    async def put_renewal(self, name: HostName, serial: str, renew_at: datetime, advice: RenewalAdvice) -> None:
        """
        Keep what the CA says of the certificate *serial*, if it is still *name*'s, and when it is due.
        """
        certificate = self._certificates.get(name)
        if certificate is not None and certificate.bundle.serial == serial:
            self._certificates[name] = attrs.evolve(certificate, renew_at=renew_at)
            self._advices[name] = advice

    async def set_aside(self, name: HostName, _reason: str) -> None:
        """
        Load *name*'s certificate no more.
        """
        del self._certificates[name]

    async def order(self, name: HostName) -> OrderRecord | None:
        """
        Give the order under way for *name*, or None.
        """
        return self._orders.get(name)

    async def put_order(self, record: OrderRecord) -> None:
        """
        Keep *record* in the place of an old one.
        """
        self._orders[record.name] = record

    async def remove_order(self, name: HostName) -> None:
        """
        Forget *name*'s order.
        """
        self._orders.pop(name, None)

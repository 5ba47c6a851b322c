"""
Which CA issues: the internal one, or an ACME CA whose client is made when the first order needs it.

The ACME libraries take 0.3 s to import and 20 MB to hold; a restart with valid certificates needs neither, so they
are imported on the first order, in a thread, while stored certificates are being served.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThreadPool
from zope.interface import implementer

from sptls.certs import limits
from sptls.certs.authority import Authority
from sptls.certs.internal import InternalCa, open_root
from sptls.certs.registered_domain import registered_domain
from sptls.certs.schedule import Ca
from sptls.config import DIRECTORIES, INTERNAL_DIRECTORY, UNLIMITED
from sptls.errors import IssuanceFailed, OrderCancelled, SptlsError
from sptls.interfaces import IIssuer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from twisted.python.threadpool import ThreadPool

    from sptls.certs.bundle import CertificateBundle
    from sptls.certs.records import RenewalInfo
    from sptls.clock import WallClock
    from sptls.config import AcmeConfig, Rate
    from sptls.interfaces import IAcmeRecords, Issued
    from sptls.names import HostName


# Whose limits we know by heart; another CA's are learnt from what it says, or configured.
_LIMITS: Final = {
    DIRECTORIES["letsencrypt"]: limits.LETS_ENCRYPT,
    DIRECTORIES["letsencrypt-staging"]: limits.LETS_ENCRYPT_STAGING,
}


def ca_of(acme: AcmeConfig) -> Ca:
    """
    Give what `schedule` has to know of a CA.
    """
    return Ca(acme.directory, 0 if acme.directory == INTERNAL_DIRECTORY else len(acme.challenges))


def limits_of(acme: AcmeConfig) -> limits.Limits:
    """
    Give the limits of a CA: what the operator says of each, else what is known of its directory.
    """
    known = _LIMITS.get(acme.directory, limits.NO_LIMITS)
    said = {key: _bucket(rate) for key, rate in attrs.asdict(acme.limits, recurse=False).items() if rate is not None}
    return attrs.evolve(known, **said)


def _bucket(rate: Rate) -> limits.Bucket | None:
    return None if rate == UNLIMITED else limits.Bucket(rate.count, rate.seconds / rate.count)


def make_authority(acme: AcmeConfig, issuer: IIssuer, random: Callable[[], float]) -> Authority:
    """
    Give the CA at which *issuer* issues, with the books of its limits empty.
    """
    ledger = limits.Ledger(limits_of(acme), registered_domain)
    return Authority(issuer, ca_of(acme).challenge_types, ledger, random)


def make_issuer(
    reactor: Any,
    acme: AcmeConfig,
    state_dir: Path,
    trust: Any,
    wall_clock: WallClock,
    threads: ThreadPool,
    records: IAcmeRecords,
    responders: Sequence[Any],
    *,
    has_successor: bool = False,
) -> InternalCa | LateAcmeIssuer:
    """
    Give the issuer that the configuration names.

    *trust* are the roots of the CA's own HTTPS; *threads* make keys; *records* are what a restart must not forget;
    *responders* answer challenges. With *has_successor* another CA is asked after this one, so it gets less patience.

    Raises:
        StartError: the internal CA's root can't be read or made.
    """
    if acme.directory == INTERNAL_DIRECTORY:
        root = open_root(state_dir, wall_clock())
        return InternalCa(root, reactor=reactor, wall_clock=wall_clock, threads=threads, key_type=acme.key_type)
    return LateAcmeIssuer(reactor, acme, trust, wall_clock, threads, records, responders, has_successor=has_successor)


@implementer(IIssuer)
class LateAcmeIssuer:
    """
    An ACME CA, asked through a client that is made on the first order.
    """

    def __init__(
        self,
        reactor: Any,
        acme: AcmeConfig,
        trust: Any,
        wall_clock: WallClock,
        threads: ThreadPool,
        records: IAcmeRecords,
        responders: Sequence[Any],
        *,
        has_successor: bool,
    ) -> None:
        self._has_successor = has_successor
        self.directory = acme.directory
        self._reactor, self._acme, self._trust, self._wall_clock = reactor, acme, trust, wall_clock
        self._threads, self._records = threads, records
        chosen = {responder.challenge_type: responder for responder in responders}
        self._responders = [chosen[kind] for kind in acme.challenges]
        self._is_making = False
        self._waiting: list[Deferred[None]] = []
        self._issuer: Any = None
        self._agent: Any = None

    async def obtain(
        self, name: HostName, *, replaces: CertificateBundle | None = None, challenge_types: int | None = None
    ) -> Issued:
        """
        Get a checked certificate for *name*, as `IIssuer` says.
        """
        try:
            await self._made()
        except CancelledError as error:
            raise IssuanceFailed(OrderCancelled()) from error
        except SptlsError as error:
            raise IssuanceFailed(error) from error
        issued: Issued = await self._issuer.obtain(name, replaces=replaces, challenge_types=challenge_types)
        return issued

    async def renewal_info(self, bundle: CertificateBundle) -> RenewalInfo | None:
        """
        Ask when *bundle* is to be renewed, as `IIssuer` says.
        """
        try:
            await self._made()
        except SptlsError:  # the next order tells what is wrong
            return None
        info: RenewalInfo | None = await self._issuer.renewal_info(bundle)
        return info

    async def revoke(self, bundle: CertificateBundle, reason: int = 0) -> None:
        """
        Have *bundle* revoked, as `IIssuer` says.
        """
        await self._made()
        await self._issuer.revoke(bundle, reason)

    async def close(self) -> None:
        """
        Close the connections to the CA.
        """
        if self._agent is not None:
            await self._agent.close()

    async def _made(self) -> None:
        """
        Wait until the client is made; the first one to wait has it made.

        Raises:
            SptlsError: it can't be made.
        """
        if self._issuer is not None:
            return
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        if not self._is_making:
            self._is_making = True
            importing = deferToThreadPool(self._reactor, self._threads, _import_acme)
            importing.addCallback(lambda _: self._make())
            importing.addBoth(self._tell)
        await waiting

    def _make(self) -> None:
        from sptls.acme.agent import make_agent
        from sptls.acme.issue import AcmeIssuer
        from sptls.acme.retry import MAX_FAILURES, MAX_FAILURES_WITH_ANOTHER

        self._agent = make_agent(self._reactor, self._trust)
        patience = MAX_FAILURES_WITH_ANOTHER if self._has_successor else MAX_FAILURES
        self._issuer = AcmeIssuer(
            max_failures=patience,
            agent=self._agent,
            reactor=self._reactor,
            wall_clock=self._wall_clock,
            config=self._acme,
            responders=self._responders,
            accounts=self._records,
            orders=self._records,
            threads=self._threads,
        )

    def _tell(self, result: Any) -> None:
        # A failure (a trust file that went away) is told to all who wait, and the next order tries again.
        self._is_making = False
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not one.called:  # cancelled meanwhile
                one.callback(result)


def _import_acme() -> None:
    importlib.import_module("sptls.acme.issue")

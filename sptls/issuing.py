"""
Which CA issues: the internal one, or an ACME CA whose client is made when the first order needs it.

The ACME libraries take 0.3 s to import and 20 MB to hold; a restart with valid certificates needs neither, so they
are imported on the first order, in a thread, while stored certificates are being served.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThreadPool
from zope.interface import implementer

from sptls.certs.internal import InternalCa, open_root
from sptls.config import INTERNAL_DIRECTORY
from sptls.errors import IssuanceFailed, OrderCancelled, SptlsError
from sptls.interfaces import IIssuer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.python.threadpool import ThreadPool

    from sptls.certs.bundle import CertificateBundle
    from sptls.clock import WallClock
    from sptls.config import Config
    from sptls.interfaces import IAccounts
    from sptls.names import HostName


def make_issuer(
    reactor: Any,
    config: Config,
    trust: Any,
    wall_clock: WallClock,
    threads: ThreadPool,
    accounts: IAccounts,
    responders: Sequence[Any],
) -> InternalCa | LateAcmeIssuer:
    """
    Give the issuer that the configuration names.

    *trust* are the roots of the CA's own HTTPS; *threads* make keys; *responders* answer challenges.

    Raises:
        StartError: the internal CA's root can't be read or made.
    """
    if config.acme.directory == INTERNAL_DIRECTORY:
        root = open_root(config.state_dir, wall_clock())
        return InternalCa(root, reactor=reactor, wall_clock=wall_clock, threads=threads, key_type=config.acme.key_type)
    return LateAcmeIssuer(reactor, config, trust, wall_clock, threads, accounts, responders)


@implementer(IIssuer)
class LateAcmeIssuer:
    """
    An ACME CA, asked through a client that is made on the first order.
    """

    def __init__(
        self,
        reactor: Any,
        config: Config,
        trust: Any,
        wall_clock: WallClock,
        threads: ThreadPool,
        accounts: IAccounts,
        responders: Sequence[Any],
    ) -> None:
        self.directory = config.acme.directory
        self._reactor, self._acme, self._trust, self._wall_clock = reactor, config.acme, trust, wall_clock
        self._threads, self._accounts = threads, accounts
        chosen = {responder.challenge_type: responder for responder in responders}
        self._responders = [chosen[kind] for kind in config.acme.challenges]
        self._is_making = False
        self._waiting: list[Deferred[None]] = []
        self._issuer: Any = None
        self._agent: Any = None

    async def issue(self, name: HostName) -> CertificateBundle:
        """
        Get a checked certificate for *name*, as `IIssuer` says.
        """
        if self._issuer is None:
            try:
                await self._made()
            except CancelledError as error:
                raise IssuanceFailed(OrderCancelled()) from error
        bundle: CertificateBundle = await self._issuer.issue(name)
        return bundle

    async def close(self) -> None:
        """
        Close the connections to the CA.
        """
        if self._agent is not None:
            await self._agent.close()

    async def _made(self) -> None:
        """
        Wait until the client is made; the first one to wait has it made.
        """
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

        try:
            self._agent = make_agent(self._reactor, self._trust)
            self._issuer = AcmeIssuer(
                agent=self._agent,
                reactor=self._reactor,
                wall_clock=self._wall_clock,
                config=self._acme,
                responders=self._responders,
                accounts=self._accounts,
                threads=self._threads,
            )
        except SptlsError as error:
            raise IssuanceFailed(error) from error

    def _tell(self, result: Any) -> None:
        # A failure (a trust file that went away) is told to all who wait, and the next order tries again.
        self._is_making = False
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            if not one.called:  # cancelled meanwhile
                one.callback(result)


def _import_acme() -> None:
    importlib.import_module("sptls.acme.issue")

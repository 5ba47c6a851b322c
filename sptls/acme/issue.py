"""
The ACME side of `IIssuer`: certificates obtained and revoked, and when the CA wants them renewed.

Puts the parts of one CA together, says what an attempt cost, and gives every failure the cause that an operator sees
(`refusals`). An account that the CA lost is registered again, once in an attempt.
"""

from __future__ import annotations

from random import SystemRandom
from typing import TYPE_CHECKING

from twisted.internet.defer import CancelledError
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from zope.interface import implementer

from sptls.acme import jws, refusals, renewal
from sptls.acme.account import OurAccount, read_external_account
from sptls.acme.agent import user_agent
from sptls.acme.attempt import Attempt
from sptls.acme.client import AcmeClient
from sptls.acme.exchange import Exchanges
from sptls.acme.ordering import Ordering
from sptls.acme.retry import MAX_FAILURES
from sptls.acme.transport import AcmeTransport
from sptls.acme.under_way import OrdersUnderWay
from sptls.acme.validation import Validation
from sptls.certs.csr import generate_key
from sptls.errors import AcmeProblem, IssuanceFailed, OrderCancelled, SptlsError
from sptls.interfaces import IIssuer, Issued

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
    from twisted.python.threadpool import ThreadPool
    from twisted.web.iweb import IAgent

    from sptls.acme.validation import Responder
    from sptls.certs.bundle import CertificateBundle
    from sptls.certs.csr import PrivateKey
    from sptls.certs.records import RenewalInfo
    from sptls.clock import WallClock
    from sptls.config import AcmeConfig
    from sptls.interfaces import IAccounts, IOrders
    from sptls.names import HostName

    class Reactor(IReactorTime, IReactorFromThreads):
        """
        What issuing needs of the reactor.
        """


# Validation from several vantage points takes seconds, with a queue at the CA a minute; three minutes are stuck.
ORDER_SECONDS = 180.0
# One request, asked for every name twice a day; the next one comes, so it is not worth a long wait.
RENEWAL_INFO_SECONDS = 30.0
# Five requests at most; a person waits for it.
REVOCATION_SECONDS = 60.0

_draw = SystemRandom().random
_log = Logger()


@implementer(IIssuer)
class AcmeIssuer:
    """
    Gets certificates from one ACME CA; *responders* stand in order of preference.

    *threads* make keys; *draw* gives uniform numbers in [0, 1); *preferred_issuer* is the common name of the root whose
    chain is taken where the CA offers several, "" for the CA's own choice. A CA that fails is asked *max_failures*
    times more.

    Raises:
        ConfigError: the external account's key can't be read.
    """

    def __init__(
        self,
        *,
        agent: IAgent,
        reactor: Reactor,
        wall_clock: WallClock,
        config: AcmeConfig,
        responders: Sequence[Responder],
        accounts: IAccounts,
        orders: IOrders,
        threads: ThreadPool,
        draw: Callable[[], float] = _draw,
        preferred_issuer: str = "",
        max_failures: int = MAX_FAILURES,
    ) -> None:
        self.directory = config.directory
        self._reactor, self._threads, self._config = reactor, threads, config
        transport = AcmeTransport(Exchanges(agent, reactor, wall_clock, user_agent()), draw, max_failures)
        self._client = AcmeClient(transport, config.directory)
        self._under_way = OrdersUnderWay(orders, config.directory, wall_clock)
        self._ordering = Ordering(
            self._client,
            Validation(self._client, {each.challenge_type: each for each in responders}),
            self._under_way,
            self._make_key,
            config.profile,
            preferred_issuer,
        )
        external_account = read_external_account(config.eab) if config.eab else None
        self._account = OurAccount(self._client, accounts, config, external_account)

    async def obtain(
        self, name: HostName, *, replaces: CertificateBundle | None = None, challenge_types: int | None = None
    ) -> Issued:
        """
        Get a checked certificate for *name*, as `IIssuer` says, within `ORDER_SECONDS`.
        """
        attempt = Attempt(name, self._reactor.seconds() + ORDER_SECONDS, replaces, challenge_types)
        try:
            bundle = await self._with_account(attempt)
        except CancelledError as error:
            if attempt.is_committed:
                raise
            raise IssuanceFailed(OrderCancelled(), orders=attempt.orders) from error
        except SptlsError as error:
            await self._under_way.leave(attempt, error)
            raise IssuanceFailed(self._explained(error), attempt.cost, attempt.orders) from error
        return Issued(bundle, attempt.failed_authorizations, attempt.orders, attempt.is_replacement)

    async def renewal_info(self, bundle: CertificateBundle) -> RenewalInfo | None:
        """
        Ask when *bundle* is to be renewed, as `IIssuer` says, within `RENEWAL_INFO_SECONDS`.
        """
        identifier = renewal.certificate_identifier(bundle.chain[0])
        if not identifier:
            return None
        try:
            info = await self._client.renewal_info(identifier, self._reactor.seconds() + RENEWAL_INFO_SECONDS)
        except SptlsError as error:
            _log.debug("no renewal information for {serial}: {error}", serial=bundle.serial, error=error)
            return None
        return None if info is None else renewal.within_validity(info, bundle)

    async def revoke(self, bundle: CertificateBundle, reason: int = 0) -> None:
        """
        Have *bundle* revoked, as `IIssuer` says, within `REVOCATION_SECONDS`.

        Its own key signs where the account may not: the certificate is another account's.
        """
        until = self._reactor.seconds() + REVOCATION_SECONDS
        try:
            await self._revoke(await self._account.get(until), bundle, reason, until)
        except AcmeProblem as problem:
            if problem.type not in ("unauthorized", "accountDoesNotExist"):
                raise self._explained(problem) from None
            await self._revoke(jws.CertificateKey.from_der(bundle.key), bundle, reason, until)

    async def _revoke(self, signer: jws.Signer, bundle: CertificateBundle, reason: int, until: float) -> None:
        try:
            await self._client.revoke(signer, bundle.chain[0], reason, until)
        except AcmeProblem as problem:
            if problem.type != "alreadyRevoked":
                raise

    def _explained(self, error: SptlsError) -> SptlsError:
        if isinstance(error, AcmeProblem) and error.type == "invalidProfile":
            self._client.forget_directory()  # it is out of date: the profile was looked up there
        return refusals.explained(
            error,
            has_external_account=self._config.eab is not None,
            profile=self._config.profile,
            profiles=self._ordering.profiles,
        )

    async def _with_account(self, attempt: Attempt) -> CertificateBundle:
        account = await self._account.get(attempt.until)
        try:
            return await self._ordering.certificate(account, attempt)
        except AcmeProblem as problem:
            if problem.type != "accountDoesNotExist":
                raise
        account = await self._account.replace(account, attempt.until)
        return await self._ordering.certificate(account, attempt)

    async def _make_key(self) -> PrivateKey:
        key: PrivateKey = await deferToThreadPool(self._reactor, self._threads, generate_key, self._config.key_type)
        return key

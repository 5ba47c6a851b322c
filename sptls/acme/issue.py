"""
Drives one order from a name to a checked certificate (RFC 8555 §7.1): the ACME side of `IIssuer`.

Carries out `steps`: order, authorize with the challenge types in order of preference, finalize, download. A failed
challenge makes its authorization and its order invalid (§7.1.6), so the next type gets a new order. A challenge is
withdrawn whatever happens after it was presented.
"""

from __future__ import annotations

from random import SystemRandom
from typing import TYPE_CHECKING, Protocol

import attrs
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from zope.interface import implementer

from sptls.acme import jws, steps
from sptls.acme.account import OurAccount, read_external_account
from sptls.acme.agent import user_agent
from sptls.acme.client import AcmeClient
from sptls.acme.exchange import Exchanges, abandonable
from sptls.acme.transport import AcmeTransport
from sptls.certs.bundle import CertificateBundle, check
from sptls.certs.csr import csr, generate_key
from sptls.errors import AcmeProblem, AcmeProtocolError, IssuanceFailed, OrderCancelled, SptlsError, ValidationFailed
from sptls.interfaces import IIssuer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
    from twisted.python.threadpool import ThreadPool
    from twisted.web.iweb import IAgent

    from sptls.acme.messages import Authorization, Challenge, Order
    from sptls.certs.csr import PrivateKey
    from sptls.clock import WallClock
    from sptls.config import AcmeConfig
    from sptls.interfaces import IAccounts
    from sptls.names import HostName

    class Reactor(IReactorTime, IReactorFromThreads):
        """
        What issuing needs of the reactor.
        """


# Validation from several vantage points takes seconds, with a queue at the CA a minute; three minutes are stuck.
ORDER_SECONDS = 180.0
# A DNS provider's API takes seconds; our own responders take none.
RESPONDER_SECONDS = 60.0

_draw = SystemRandom().random
_log = Logger()


class Responder(Protocol):
    """
    A challenge responder: a provider of txacme.interfaces.IResponder.
    """

    challenge_type: str

    def start_responding(
        self, server_name: str, challenge: Challenge, response: jws.KeyAuthorization
    ) -> Deferred[None] | None:
        """
        Answer *challenge* from when this is done.
        """

    def stop_responding(
        self, server_name: str, challenge: Challenge, response: jws.KeyAuthorization
    ) -> Deferred[None] | None:
        """
        Answer it no more.
        """


@attrs.define(eq=False)
class _Attempt:
    """
    One call of `AcmeIssuer.issue`: what is wanted until when, and what it has cost so far.
    """

    name: HostName
    until: float
    failures: list[tuple[str, AcmeProblem]] = attrs.field(factory=list)
    failed_authorizations: int = 0
    # Set when the CA is asked to validate or to issue: from then on only its answer tells what that costs.
    is_committed: bool = False

    def types_left(self, types: Sequence[str]) -> tuple[str, ...]:
        """
        Give those of *types* that did not fail.
        """
        failed = {kind for kind, _ in self.failures}
        return tuple(kind for kind in types if kind not in failed)

    def validation_failed(self) -> ValidationFailed:
        """
        Give the error that all failures together are.
        """
        return ValidationFailed(self.name.text, tuple(self.failures))


@attrs.frozen
class _Failed:
    """
    A challenge that came to nothing.
    """

    challenge_type: str
    problem: AcmeProblem


@implementer(IIssuer)
class AcmeIssuer:
    """
    Gets certificates from one ACME CA; *responders* stand in order of preference.

    *threads* make keys; *draw* gives uniform numbers in [0, 1); *preferred_issuer* is the common name of the root whose
    chain is taken where the CA offers several, "" for the CA's own choice.

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
        threads: ThreadPool,
        draw: Callable[[], float] = _draw,
        preferred_issuer: str = "",
    ) -> None:
        self.directory = config.directory
        self._reactor, self._wall_clock, self._config = reactor, wall_clock, config
        self._threads, self._preferred_issuer = threads, preferred_issuer
        self._responders = {responder.challenge_type: responder for responder in responders}
        # A firewall before one port outlasts an order: what worked for a name is tried first the next time.
        self._worked: dict[HostName, str] = {}
        transport = AcmeTransport(Exchanges(agent, reactor, wall_clock, user_agent()), draw)
        self._client = AcmeClient(transport, config.directory)
        external_account = read_external_account(config.eab) if config.eab else None
        self._account = OurAccount(self._client, accounts, config, external_account)

    async def issue(self, name: HostName) -> CertificateBundle:
        """
        Get a checked certificate for *name*, as `IIssuer` says, within `ORDER_SECONDS`.
        """
        attempt = _Attempt(name, self._reactor.seconds() + ORDER_SECONDS)
        try:
            return await self._with_account(attempt)
        except CancelledError as error:
            if attempt.is_committed:
                raise
            raise IssuanceFailed(OrderCancelled()) from error
        except SptlsError as cause:
            raise IssuanceFailed(cause, attempt.failed_authorizations) from cause

    async def _with_account(self, attempt: _Attempt) -> CertificateBundle:
        account = await self._account.get(attempt.until)
        try:
            return await self._order(account, attempt)
        except AcmeProblem as problem:
            if problem.type != "accountDoesNotExist":
                raise
        account = await self._account.replace(account, attempt.until)
        return await self._order(account, attempt)

    async def _order(self, account: jws.Account, attempt: _Attempt) -> CertificateBundle:
        """
        Order until one order is authorized: one for each challenge type, and one more in place of a stale leftover.
        """
        for _ in range(len(self._responders) + 1):
            order = await self._client.new_order(account, [attempt.name], attempt.until)
            failed = await self._authorize_order(account, order, attempt)
            if failed is None:
                return await self._collect(account, order, attempt)
            attempt.failures.append((failed.challenge_type, failed.problem))
            if not (steps.worth_another_type(failed.problem) and attempt.types_left(tuple(self._responders))):
                break
        raise attempt.validation_failed()

    async def _authorize_order(self, account: jws.Account, order: Order, attempt: _Attempt) -> _Failed | None:
        match steps.next_of_order(order):
            case steps.Finalize():
                return None
            case steps.Authorize(urls):
                for url in urls:
                    failed = await self._authorize(account, url, attempt)
                    if failed is not None:
                        return failed
                return None
            case steps.Refused(problem):
                raise problem
            case _:
                raise AcmeProtocolError("newOrder", f"a new order can't be {order.status}")

    async def _authorize(self, account: jws.Account, url: str, attempt: _Attempt) -> _Failed | None:
        """
        Make one authorization valid, or tell which challenge failed.
        """
        authorization = await self._client.authorization(account, url, attempt.until)
        match steps.next_of_authorization(authorization):
            case steps.Respond(challenges):
                challenge = steps.choose_challenge(challenges, attempt.types_left(self._preference(attempt.name)))
                if challenge is None:
                    raise attempt.validation_failed()
                return await self._validate(account, authorization, challenge, attempt)
            case steps.Wait():
                authorization = await self._client.finished_authorization(account, url, attempt.until)
                return self._outcome(authorization, "an earlier challenge", attempt)
            case _:
                return self._outcome(authorization, "an earlier challenge", attempt)

    async def _validate(
        self, account: jws.Account, authorization: Authorization, challenge: Challenge, attempt: _Attempt
    ) -> _Failed | None:
        """
        Present the answer to *challenge*, have it validated, withdraw it.
        """
        name, response = attempt.name.text, jws.key_authorization(challenge.token, account.key)
        responder = self._responders[challenge.type]
        try:
            fault = await self._tell(responder.start_responding, name, challenge, response)
            if fault is not None:
                return _Failed(challenge.type, AcmeProblem(0, "responder", fault))
            authorization = await self._respond(account, authorization, challenge, attempt)
        finally:
            await self._tell(responder.stop_responding, name, challenge, response)
        failed = self._outcome(authorization, challenge.type, attempt)
        if failed is None:
            self._worked[attempt.name] = challenge.type
        return failed

    async def _respond(
        self, account: jws.Account, authorization: Authorization, challenge: Challenge, attempt: _Attempt
    ) -> Authorization:
        """
        Let the CA validate *challenge*; gives the authorization as it ended.
        """
        attempt.is_committed = True
        try:
            await self._client.respond(account, challenge, attempt.until)
        except AcmeProblem as problem:
            # A repeated response, after an answer that was lost, is refused: the first one is being acted on.
            seen = await self._client.authorization(account, authorization.url, attempt.until)
            if isinstance(steps.next_of_authorization(seen), steps.Respond):
                raise problem from None
        return await self._client.finished_authorization(account, authorization.url, attempt.until)

    def _outcome(self, authorization: Authorization, challenge_type: str, attempt: _Attempt) -> _Failed | None:
        match steps.next_of_authorization(authorization):
            case steps.Refused(problem):
                attempt.failed_authorizations += authorization.status == "invalid"
                return _Failed(challenge_type, problem)
            case _:
                return None

    async def _collect(self, account: jws.Account, order: Order, attempt: _Attempt) -> CertificateBundle:
        """
        Finalize an authorized order with a new key, and download and check what comes of it.
        """
        until = attempt.until
        attempt.is_committed = True
        key: PrivateKey = await deferToThreadPool(self._reactor, self._threads, generate_key, self._config.key_type)
        order = await self._finalize(account, order, csr(key, [attempt.name]), until)
        match steps.next_of_order(order):
            case steps.Download(url):
                chain_pem = await self._download(account, url, until)
            case steps.Refused(problem):
                raise problem
            case _:
                raise AcmeProtocolError("finalize", f"a finalized order can't be {order.status}")
        key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        bundle = CertificateBundle.from_pem(key_pem, chain_pem)
        check(bundle, attempt.name, self._wall_clock())
        return bundle

    async def _finalize(self, account: jws.Account, order: Order, request: bytes, until: float) -> Order:
        """
        Hand in the CSR; gives the order as it ended.
        """
        try:
            order = await self._client.finalize(account, order, request, until)
        except AcmeProblem as problem:
            # Either the CA has not made the order ready yet, or this repeats a request whose answer was lost (§7.4).
            if problem.type != "orderNotReady":
                raise
            order = await self._client.ready_order(account, order, until)
            if isinstance(steps.next_of_order(order), steps.Finalize):
                order = await self._client.finalize(account, order, request, until)
        return await self._client.finished_order(account, order, until)

    async def _download(self, account: jws.Account, url: str, until: float) -> bytes:
        """
        Give the chain of the preferred issuer, PEM, or else the CA's own choice.
        """
        chain = await self._client.certificate(account, url, until)
        if not self._preferred_issuer or steps.has_root(chain.pem, self._preferred_issuer):
            return chain.pem
        for alternate in chain.alternates:
            other = await self._client.certificate(account, alternate, until)
            if steps.has_root(other.pem, self._preferred_issuer):
                return other.pem
        return chain.pem

    def _preference(self, name: HostName) -> tuple[str, ...]:
        worked = self._worked.get(name)
        return tuple(sorted(self._responders, key=lambda kind: kind != worked))

    async def _tell(
        self,
        call: Callable[[str, Challenge, jws.KeyAuthorization], Awaitable[None] | None],
        name: str,
        challenge: Challenge,
        response: jws.KeyAuthorization,
    ) -> str | None:
        """
        Call a responder, which may be anyone's; gives what went wrong, or None.
        """
        told = maybeDeferred(call, name, challenge, response)
        try:
            await abandonable(told).addTimeout(RESPONDER_SECONDS, self._reactor)
        except CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - a plugged-in responder's fault is one challenge's failure
            _log.failure("the {kind} responder failed for {name}", kind=challenge.type, name=name)
            return f"the responder failed: {error}"
        return None

"""
Carries an attempt through its orders, from an account to a checked certificate (RFC 8555 §7.4).

Carries out `steps` and `take_up`: goes on with the order that an earlier attempt began, or orders, has the name
authorized (`validation`), finalizes, downloads. A failed challenge makes its order invalid (§7.1.6), so the next type
gets a new order. An order is stored as soon as it exists, with the key of its certificate: from then on a restart goes
on with it. Who stores the certificate removes it (`IOrders`); here it is removed when it leads nowhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.internet.defer import DeferredSemaphore
from twisted.logger import Logger

from sptls.acme import refusals, renewal, steps, take_up
from sptls.certs.bundle import CertificateBundle, check
from sptls.certs.csr import csr, key_der
from sptls.certs.pem import key_from_der
from sptls.errors import AcmeProblem, AcmeProtocolError, BadCertificate, ConfigError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from sptls.acme import jws
    from sptls.acme.attempt import Attempt, Failed
    from sptls.acme.client import AcmeClient
    from sptls.acme.messages import Order
    from sptls.acme.under_way import OrdersUnderWay
    from sptls.acme.validation import Validation
    from sptls.certs.csr import PrivateKey
    from sptls.certs.records import OrderRecord

_log = Logger()

# A kill -9 has those ordered again that the CA has heard of and the store has not, so there are few at a time. With
# two, a CA that takes a third of a second for one gets six a second (Let's Encrypt allows 300 in three hours), and one
# that does not answer for one name holds up nobody.
MOST_UNRECORDED: Final = 2


@attrs.define(eq=False)
class Ordering:
    """
    Orders certificates of *profile* ("": the CA's own choice), with keys that *make_key* makes.

    *preferred_issuer* is the common name of the root whose chain is taken where the CA offers several, "" for the CA's
    own choice. *profiles* are what it offered when it was asked last.
    """

    client: AcmeClient
    validation: Validation
    under_way: OrdersUnderWay
    make_key: Callable[[], Awaitable[PrivateKey]]
    profile: str = ""
    preferred_issuer: str = ""
    profiles: Mapping[str, str] = attrs.field(init=False, factory=dict)
    _unrecorded: DeferredSemaphore = attrs.field(init=False, factory=lambda: DeferredSemaphore(MOST_UNRECORDED))

    async def certificate(self, account: jws.Account, attempt: Attempt) -> CertificateBundle:
        """
        Get the certificate that the attempt is for: from the order under way, or else from the first new one that is
        authorized. There may be one for each challenge type, and one more in place of a stale leftover.

        Raises:
            AcmeError: the CA refused, or could not be asked; `ValidationFailed` when no challenge type worked.
            BadCertificate: what it issued can't be served.
            ConfigError: it does not offer the profile.
        """
        bundle = await self._take_up(account, attempt)
        for _ in range(len(self.validation.responders) + 1):
            if bundle is None:
                bundle = await self._finish(account, await self._new_order(account, attempt), attempt)
        if bundle is None:
            raise attempt.validation_failed()
        return bundle

    async def _take_up(self, account: jws.Account, attempt: Attempt) -> CertificateBundle | None:
        """
        Get the certificate of the order that an earlier attempt began; None for none, or one that leads nowhere.
        """
        record = await self.under_way.find(attempt.name, account.url)
        if record is None:
            return None
        attempt.go_on(record)
        try:
            bundle = await self._go_on(account, record, attempt)
        except (AcmeProblem, AcmeProtocolError, BadCertificate) as error:
            if not (isinstance(error, AcmeProtocolError) or take_up.ends_order(error)):
                raise
            _log.info("{name}: the order of an earlier attempt ended: {error}", name=attempt.name, error=error)
            bundle = None
        if bundle is None:
            # It stays on record until a new one takes its place: what it has cost must not be forgotten in between.
            attempt.key, attempt.is_replacement, attempt.is_order_over = None, False, True
        return bundle

    async def _go_on(self, account: jws.Account, record: OrderRecord, attempt: Attempt) -> CertificateBundle | None:
        order = await self.client.order(account, record.url, attempt.until)
        if order.status == "invalid":
            failure = await self.validation.failure(account, order.authorizations, attempt)
            if failure is not None:
                self._try_another_type(failure, attempt)
            return None
        if not take_up.is_worth_it(order, record, self.under_way.now()):
            return None
        _log.info("{name}: going on with the order of an earlier attempt, {url}", name=attempt.name, url=order.url)
        bundle = await self._finish(account, order, attempt)
        return bundle if bundle is not None and take_up.is_newer(bundle, attempt.replaces) else None

    async def _new_order(self, account: jws.Account, attempt: Attempt) -> Order:
        """
        Order, and keep the order with the key that its certificate will have.
        """
        directory = await self.client.directory(attempt.until)
        self.profiles = directory.profiles
        fault = refusals.profile_fault(self.profile, directory.profiles)
        if fault is not None:
            self.client.forget_directory()  # so that a profile that the CA adds is found by the next attempt
            raise ConfigError((fault,))
        if attempt.key is None:  # before the order, which is lost to a crash until it is on record
            attempt.key = key_der(await self.make_key())
        await self._unrecorded.acquire()
        try:
            order = await self._ask_for_order(account, attempt, has_renewal_info=bool(directory.renewal_info))
            if not isinstance(steps.next_of_order(order), steps.Authorize | steps.Finalize | steps.Refused):
                raise AcmeProtocolError("newOrder", f"a new order can't be {order.status}")
            attempt.orders += not attempt.is_replacement
            await self.under_way.keep(account.url, order, attempt)
        finally:
            self._unrecorded.release()
        return order

    async def _ask_for_order(self, account: jws.Account, attempt: Attempt, *, has_renewal_info: bool) -> Order:
        """
        Order as the successor of the certificate that is replaced; without one where the CA does not take it as such.
        """
        names, until, profile = [attempt.name], attempt.until, self.profile
        replaces = ""
        if has_renewal_info and attempt.replaces is not None:
            replaces = renewal.certificate_identifier(attempt.replaces.chain[0])
        try:
            order = await self.client.new_order(account, names, until, profile=profile, replaces=replaces)
        except AcmeProblem as problem:
            if not (replaces and steps.refuses_replacement(problem)):
                raise
            _log.info("{name}: ordering without replacing: {problem}", name=attempt.name, problem=problem)
            attempt.replaces = None
            return await self.client.new_order(account, names, until, profile=profile)
        attempt.is_replacement = bool(replaces)
        return order

    async def _finish(self, account: jws.Account, order: Order, attempt: Attempt) -> CertificateBundle | None:
        """
        Get the certificate of *order*, new or under way; None when a challenge failed and another type is worth it.

        Raises:
            ValidationFailed: a challenge failed, and no other is worth it.
        """
        match steps.next_of_order(order):
            case steps.Authorize(urls):
                failure = await self.validation.authorize(account, urls, attempt)
            case steps.Refused(problem):
                raise problem
            case _:
                failure = None
        if failure is None:
            return await self._collect(account, order, attempt)
        self._try_another_type(failure, attempt)
        return None

    def _try_another_type(self, failure: Failed, attempt: Attempt) -> None:
        """
        Take note of *failure*, after which an order for another challenge type may follow.

        Raises:
            ValidationFailed: no other is worth it.
        """
        attempt.failed(failure)
        types_left = attempt.types_left(tuple(self.validation.responders))
        if not (types_left and steps.worth_another_type(failure.problem)):
            raise attempt.validation_failed()

    async def _collect(self, account: jws.Account, order: Order, attempt: Attempt) -> CertificateBundle:
        """
        Finalize an authorized order where it is not yet, and download and check what comes of it.
        """
        key: PrivateKey = key_from_der(attempt.key or b"")
        until = attempt.until
        attempt.is_committed = True
        if order.status in ("pending", "ready"):  # as it was when it was read: its authorizations are valid now
            order = await self._finalize(account, order, csr(key, [attempt.name]), until)
        order = await self.client.finished_order(account, order, until)
        match steps.next_of_order(order):
            case steps.Download(url):
                chain_pem = await self._download(account, url, until)
            case steps.Refused(problem):
                raise problem
            case _:
                raise AcmeProtocolError("finalize", f"a finalized order can't be {order.status}")
        key_pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        bundle = CertificateBundle.from_pem(key_pem, chain_pem)
        check(bundle, attempt.name, self.under_way.now())
        return bundle

    async def _finalize(self, account: jws.Account, order: Order, request: bytes, until: float) -> Order:
        """
        Hand in the CSR; gives the order as it was then.
        """
        try:
            return await self.client.finalize(account, order, request, until)
        except AcmeProblem as problem:
            # Either the CA has not made the order ready yet, or this repeats a request whose answer was lost (§7.4).
            if problem.type != "orderNotReady":
                raise
        order = await self.client.ready_order(account, order, until)
        if isinstance(steps.next_of_order(order), steps.Finalize):
            order = await self.client.finalize(account, order, request, until)
        return order

    async def _download(self, account: jws.Account, url: str, until: float) -> bytes:
        """
        Give the chain of the preferred issuer, PEM, or else the CA's own choice.
        """
        chain = await self.client.certificate(account, url, until)
        if not self.preferred_issuer or steps.has_root(chain.pem, self.preferred_issuer):
            return chain.pem
        for alternate in chain.alternates:
            other = await self.client.certificate(account, alternate, until)
            if steps.has_root(other.pem, self.preferred_issuer):
                return other.pem
        return chain.pem

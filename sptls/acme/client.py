"""
One coroutine for each operation of RFC 8555 and RFC 9773 that issuing, renewing and revoking need.

Decides nothing: which operation comes next is `steps`' to say and `issue`'s to carry out. *until* is a deadline in
the clock's seconds; every operation raises what `AcmeTransport.post` raises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import attrs

from sptls.acme import jws, messages, retry
from sptls.acme.members import is_url
from sptls.errors import AcmeProtocolError, AcmeUnreachable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sptls.acme.exchange import Answer
    from sptls.acme.messages import Authorization, Challenge, Directory, Order, Payload
    from sptls.acme.transport import AcmeTransport
    from sptls.acme.turns import Turns
    from sptls.certs.records import RenewalInfo
    from sptls.names import HostName

Polled = TypeVar("Polled", "Order", "Authorization")

# Terms and endpoints change a few times a year; a day's old copy costs nothing (and one request a day).
DIRECTORY_SECONDS = 86400.0
CHAIN_TYPE = "application/pem-certificate-chain"


@attrs.frozen
class Chain:
    """
    A downloaded certificate with its chain, PEM, and the URLs of the same with other chains (§7.4.2).
    """

    pem: bytes
    alternates: tuple[str, ...] = ()


@attrs.define(eq=False)
class AcmeClient:
    """
    A CA, by its directory's URL.
    """

    transport: AcmeTransport
    directory_url: str
    _directory: Directory | None = attrs.field(init=False, default=None)
    _directory_until: float = attrs.field(init=False, default=0.0)
    _directory_turns: Turns = attrs.field(
        init=False, default=attrs.Factory(lambda self: self.transport.turns("directory"), takes_self=True)
    )

    async def directory(self, until: float) -> Directory:
        """
        Get the directory (§7.1.1); asked for once a day, by one of the orders that need it.
        """
        if self._directory is None or self._is_stale():
            async with self._directory_turns.turn(until):
                if self._directory is None or self._is_stale():
                    answer = await self.transport.get("directory", self.directory_url, until)
                    self._directory = messages.parse_directory(answer.content)
                    self._directory_until = self.transport.clock.seconds() + DIRECTORY_SECONDS
        return self._directory

    def forget_directory(self) -> None:
        """
        Have the directory asked for again: it was found to be out of date.
        """
        self._directory = None

    def _is_stale(self) -> bool:
        return self.transport.left_seconds(self._directory_until) <= 0

    async def new_account(
        self,
        key: jws.AccountKey,
        contact: Sequence[str],
        external_account: jws.ExternalAccount | None,
        until: float,
        *,
        terms_agreed: bool,
    ) -> jws.Account:
        """
        Register *key*, or find the account that it has already (§7.3, §7.3.1, §7.3.4).
        """
        url = (await self.directory(until)).new_account
        binding = jws.external_account_binding(external_account, key, url) if external_account else None
        payload = messages.new_account(contact, terms_agreed=terms_agreed, external_account_binding=binding)
        answer = await self._post("newAccount", url, jws.Account(key), payload, until)
        return jws.Account(key, _location("newAccount", answer))

    async def new_order(
        self, account: jws.Account, names: Sequence[HostName], until: float, *, profile: str = "", replaces: str = ""
    ) -> Order:
        """
        Order one certificate for *names* (§7.4) of that *profile*; *replaces* names the one before it (RFC 9773 §5).
        """
        url = (await self.directory(until)).new_order
        payload = messages.new_order(names, profile=profile, replaces=replaces)
        answer = await self._post("newOrder", url, account, payload, until)
        return _order("newOrder", _location("newOrder", answer), answer)

    async def order(self, account: jws.Account, url: str, until: float) -> Order:
        """
        Read the order at *url* (§7.1.3).
        """
        return _order("order", url, await self._post("order", url, account, None, until))

    async def authorization(self, account: jws.Account, url: str, until: float) -> Authorization:
        """
        Read the authorization at *url* (§7.5).
        """
        answer = await self._post("authorization", url, account, None, until)
        return messages.parse_authorization(url, answer.content, answer.retry_after_seconds)

    async def respond(self, account: jws.Account, challenge: Challenge, until: float) -> Challenge:
        """
        Tell the CA that *challenge* can be validated now (§7.5.1).
        """
        answer = await self._post("challenge", challenge.url, account, {}, until)
        return messages.parse_challenge(answer.content)

    async def finalize(self, account: jws.Account, order: Order, csr: bytes, until: float) -> Order:
        """
        Hand in the CSR, DER, for an order that is ready (§7.4).
        """
        answer = await self._post("finalize", order.finalize, account, messages.finalize(csr), until)
        return _order("finalize", order.url, answer)

    async def certificate(self, account: jws.Account, url: str, until: float) -> Chain:
        """
        Download a certificate with its chain (§7.4.2).
        """
        answer = await self._post("certificate", url, account, None, until)
        if answer.content_type != CHAIN_TYPE:
            raise AcmeProtocolError("certificate", f"it is not {CHAIN_TYPE}")
        return Chain(answer.content, messages.alternates(answer.links))

    async def renewal_info(self, certificate_identifier: str, until: float) -> RenewalInfo | None:
        """
        Ask when that certificate is to be renewed (RFC 9773 §4); None where the CA has no such service.
        """
        service = (await self.directory(until)).renewal_info
        if not service:
            return None
        url = f"{service.rstrip('/')}/{certificate_identifier}"
        answer = await self.transport.get("renewalInfo", url, until)
        return messages.parse_renewal_info(answer.content, answer.retry_after_seconds)

    async def revoke(self, signer: jws.Signer, certificate: bytes, reason: int, until: float) -> None:
        """
        Have *certificate*, DER, revoked (§7.6): by the account that ordered it, or by its own key.
        """
        url = (await self.directory(until)).revoke_cert
        if not url:
            raise AcmeProtocolError("directory", "it has no revokeCert")
        await self._post("revokeCert", url, signer, messages.revoke_cert(certificate, reason), until)

    async def finished_authorization(self, account: jws.Account, url: str, until: float) -> Authorization:
        """
        Poll the authorization at *url* until the CA has made up its mind (§7.5.1).
        """
        return await self._poll(
            "authorization",
            lambda: self.authorization(account, url, until),
            lambda authorization: authorization.status != "pending",
            None,
            until,
        )

    async def ready_order(self, account: jws.Account, order: Order, until: float) -> Order:
        """
        Poll *order* until it is no longer pending: its authorizations are valid, and the CA is about to see it.
        """
        return await self._poll(
            "order",
            lambda: self.order(account, order.url, until),
            lambda order: order.status != "pending",
            order.retry_after_seconds,
            until,
        )

    async def finished_order(self, account: jws.Account, order: Order, until: float) -> Order:
        """
        Poll *order* until it is no longer processing (§7.4), which the one given may not be any more.
        """
        if order.status != "processing":
            return order
        return await self._poll(
            "order",
            lambda: self.order(account, order.url, until),
            lambda order: order.status != "processing",
            order.retry_after_seconds,
            until,
        )

    async def _poll(
        self,
        operation: str,
        ask: Callable[[], Awaitable[Polled]],
        is_finished: Callable[[Polled], bool],
        retry_after_seconds: float | None,
        until: float,
    ) -> Polled:
        polls = 0
        while True:
            seconds = retry.poll_seconds(polls, retry_after_seconds, self.transport.left_seconds(until))
            if seconds is None:
                raise AcmeUnreachable(operation, "it was not finished when the order's time was up")
            await self.transport.sleep(seconds)
            answer = await ask()
            if is_finished(answer):
                return answer
            polls, retry_after_seconds = polls + 1, answer.retry_after_seconds

    async def _post(
        self, operation: str, url: str, signer: jws.Signer, payload: Payload | None, until: float
    ) -> Answer:
        new_nonce = (await self.directory(until)).new_nonce
        return await self.transport.post(operation, url, signer, new_nonce, payload, until)


def _order(operation: str, url: str, answer: Answer) -> Order:
    return messages.parse_order(operation, url, answer.content, answer.retry_after_seconds)


def _location(operation: str, answer: Answer) -> str:
    """
    Give the URL of what was made; the only place that tells it.
    """
    if not is_url(answer.location):
        raise AcmeProtocolError(operation, "its Location is missing or not an https URL")
    return answer.location

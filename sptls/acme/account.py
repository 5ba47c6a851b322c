"""
Our account at the CA (RFC 8555 §7.3): found in the store, registered once, registered again when the CA lost it.

The key is stored before the CA hears of it, so that a crash in between finds the account again by its key instead of
making a second one (Let's Encrypt allows ten in three hours).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from twisted.logger import Logger

from sptls.acme import jws, refusals
from sptls.certs.records import AccountRecord
from sptls.errors import BadCertificate, ConfigError, Fault

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sptls.acme.client import AcmeClient
    from sptls.acme.messages import Directory
    from sptls.acme.turns import Turns
    from sptls.config import AcmeConfig, ExternalAccountBinding
    from sptls.interfaces import IAccounts

# A key of 64 bytes is 86 characters.
MAX_KEY_FILE_CHARACTERS = 4096

_log = Logger()


def read_external_account(eab: ExternalAccountBinding) -> jws.ExternalAccount:
    """
    Read the key of an external account from its file.

    Raises:
        ConfigError: the file can't be read, or holds no key in base64url.
    """
    try:
        with eab.hmac_key_file.open(encoding="ascii") as file:
            return jws.ExternalAccount.parse(eab.kid, file.read(MAX_KEY_FILE_CHARACTERS))
    except OSError as error:
        fault = f"{eab.hmac_key_file} can't be read ({error.strerror})"
    except ValueError:
        fault = f"{eab.hmac_key_file} does not hold a key in base64url"
    raise ConfigError((Fault("acme.eab.hmac_key_file", fault),))


def external_account_faults(placed_cas: Iterable[tuple[str, AcmeConfig]]) -> tuple[Fault, ...]:
    """
    Read the key of each CA's external account; gives what is wrong with them, at their places.
    """
    faults: list[Fault] = []
    for place, acme in placed_cas:
        try:
            if acme.eab is not None:
                read_external_account(acme.eab)
        except ConfigError as error:
            faults.extend(attrs.evolve(fault, place=place + fault.place.removeprefix("acme")) for fault in error.faults)
    return tuple(faults)


@attrs.define(eq=False)
class OurAccount:
    """
    Our account at one CA, asked for by every order.
    """

    client: AcmeClient
    accounts: IAccounts
    config: AcmeConfig
    external_account: jws.ExternalAccount | None = None
    _account: jws.Account | None = attrs.field(init=False, default=None)
    _turns: Turns = attrs.field(
        init=False, default=attrs.Factory(lambda self: self.client.transport.turns("newAccount"), takes_self=True)
    )

    async def get(self, until: float) -> jws.Account:
        """
        Give the account, registering it if there is none yet; of parallel orders one does it.

        Raises:
            ConfigError: the CA wants something that only the operator can give: consent to its terms, or an
                external account.
            StoreError: the store can't be read or written.
            AcmeError: the CA refused, or could not be asked.
        """
        if self._account is None:
            async with self._turns.turn(until):
                if self._account is None:
                    self._account = await self._find(until)
        return self._account

    async def replace(self, lost: jws.Account, until: float) -> jws.Account:
        """
        Give an account in place of *lost*, which the CA does not know; its key is kept.

        Raises: as `get` does.
        """
        async with self._turns.turn(until):
            account = self._account
            # Not by value: a CA may give the account its old URL again, and the others must not ask once more.
            if account is None or account is lost:
                _log.warn("the CA does not know our account {url}; registering again", url=lost.url)
                self._account = None
                account = self._account = await self._register(lost.key, until)
        return account

    async def _find(self, until: float) -> jws.Account:
        record = await self.accounts.account(self.client.directory_url)
        known = _readable(record) if record else None
        if known is None:
            known = jws.Account(jws.AccountKey.generate())
            await self._keep(known)
        return known if known.url else await self._register(known.key, until)

    async def _keep(self, account: jws.Account) -> None:
        record = AccountRecord(account.key.to_der(), account.url)
        await self.accounts.put_account(self.client.directory_url, record)

    async def _register(self, key: jws.AccountKey, until: float) -> jws.Account:
        directory = await self.client.directory(until)
        faults = _faults(directory, self.config, self.external_account)
        if faults:
            raise ConfigError(faults)
        account = await self.client.new_account(
            key,
            self.config.contact,
            self.external_account,
            until,
            terms_agreed=bool(directory.terms_of_service),
        )
        await self._keep(account)
        _log.info("our account at the CA is {url}", url=account.url)
        return account


def _readable(record: AccountRecord) -> jws.Account | None:
    """
    Give the stored account; None for one whose key is damaged, since nobody can ever use that again.
    """
    try:
        return jws.Account(jws.AccountKey.from_der(record.key), record.url)
    except BadCertificate as error:
        _log.error("the stored account {url} is of no use: {error}; making a new one", url=record.url, error=error)
        return None


def _faults(
    directory: Directory, config: AcmeConfig, external_account: jws.ExternalAccount | None
) -> tuple[Fault, ...]:
    """
    Give what the operator must still do before this CA gives us an account (RFC 8555 §7.3, §7.3.4).
    """
    faults = []
    if directory.terms_of_service and not config.agree_to_terms:
        terms = directory.terms_of_service
        faults.append(Fault("acme.agree_to_terms", f"read the CA's terms of service, {terms}, and set it to true"))
    if directory.external_account_required and external_account is None:
        faults.append(refusals.EXTERNAL_ACCOUNT_WANTED)
    return tuple(faults)

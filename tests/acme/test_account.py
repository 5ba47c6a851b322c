from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from twisted.internet.defer import Deferred, gatherResults
from zope.interface.verify import verifyObject

from sptls.acme import jws
from sptls.acme.account import OurAccount, read_external_account
from sptls.certs.records import AccountRecord
from sptls.config import AcmeConfig, ExternalAccountBinding
from sptls.errors import AcmeUnreachable, ConfigError
from sptls.interfaces import IAccounts
from tests.acme.fake_ca import DIRECTORY, AccountsInMemory, FakeCa, Reply

if TYPE_CHECKING:
    from pathlib import Path

    from sptls.acme.client import AcmeClient
    from tests.acme.conftest import Reactor

AGREED = AcmeConfig(directory=DIRECTORY, contact=("ops@a.test",), agree_to_terms=True)
UNTIL = 180.0


@pytest.fixture
def ours(client: AcmeClient, accounts: AccountsInMemory) -> OurAccount:
    """
    Give our account at the CA, of an operator who agreed to the terms.
    """
    return OurAccount(client, accounts, AGREED)


def test_the_double_keeps_the_contract(accounts: AccountsInMemory) -> None:
    """
    What stands for the store has its interface.
    """
    assert verifyObject(IAccounts, accounts)


def test_the_key_is_stored_before_the_ca_hears_of_it(
    ca: FakeCa, ours: OurAccount, accounts: AccountsInMemory, reactor: Reactor
) -> None:
    """
    A crash in between leaves a key that finds the account again.
    """
    account = reactor.run(ours.get(UNTIL))
    key = account.key.to_der()
    assert [AccountRecord(key, ""), AccountRecord(key, account.url)] == accounts.history
    assert [{"contact": ["mailto:ops@a.test"], "termsOfServiceAgreed": True}] == ca.payloads


def test_a_stored_account_costs_no_request(
    ca: FakeCa, ours: OurAccount, accounts: AccountsInMemory, reactor: Reactor
) -> None:
    """
    A restart asks the CA for nothing.
    """
    key = jws.AccountKey.generate()
    accounts.records[DIRECTORY] = AccountRecord(key.to_der(), "https://ca.test/account/7")
    assert "https://ca.test/account/7" == reactor.run(ours.get(UNTIL)).url
    assert 0 == ca.requests.total()


def test_a_stored_key_without_an_account_is_registered(
    ca: FakeCa, ours: OurAccount, accounts: AccountsInMemory, reactor: Reactor
) -> None:
    """
    What a crash interrupted goes on with the same key.
    """
    key = jws.AccountKey.generate()
    accounts.records[DIRECTORY] = AccountRecord(key.to_der(), "")
    assert key.to_der() == reactor.run(ours.get(UNTIL)).key.to_der()
    assert 1 == ca.requests["newAccount"]


def test_a_damaged_key_is_replaced(ours: OurAccount, accounts: AccountsInMemory, reactor: Reactor) -> None:
    """
    A key that nobody can use keeps no certificate from being issued.
    """
    accounts.records[DIRECTORY] = AccountRecord(b"damaged", "https://ca.test/account/7")
    account = reactor.run(ours.get(UNTIL))
    assert AccountRecord(account.key.to_der(), account.url) == accounts.records[DIRECTORY]
    assert "https://ca.test/account/0" == account.url


def test_parallel_orders_register_once(ca: FakeCa, ours: OurAccount, reactor: Reactor) -> None:
    """
    CAs limit new accounts to a few an hour; those that come while one registers wait for it.
    """
    ca.fail("directory", Reply(503))
    outcomes: list[object] = []
    orders = gatherResults([Deferred.fromCoroutine(ours.get(UNTIL)) for _ in range(5)])
    orders.addCallback(outcomes.append)
    reactor.settle(outcomes)
    assert {"directory": 2, "newNonce": 1, "newAccount": 1} == ca.requests


def test_parallel_orders_share_a_failure(ca: FakeCa, ours: OurAccount, reactor: Reactor) -> None:
    """
    A CA that is down is found out once for all of them, not once for each in turn.
    """
    ca.fail("directory", *[Reply(500)] * 100)
    outcomes: list[object] = []
    for _ in range(5):
        Deferred.fromCoroutine(ours.get(UNTIL)).addErrback(lambda failure: outcomes.append(failure.type))
    reactor.settle(outcomes)
    assert [AcmeUnreachable] * 5 == outcomes
    assert 6 == ca.requests["directory"]


def test_a_lost_account_is_registered_again_once(ca: FakeCa, ours: OurAccount, reactor: Reactor) -> None:
    """
    The first order to notice replaces it, with the same key; the others take what it got.
    """
    lost = reactor.run(ours.get(UNTIL))
    ca.accounts.clear()
    ca.accounts["https://ca.test/account/other"] = "someone else's"
    first, second = (reactor.run(ours.replace(lost, UNTIL)) for _ in range(2))
    assert first == second == reactor.run(ours.get(UNTIL))
    assert lost.url != first.url
    assert lost.key.to_der() == first.key.to_der()
    assert 2 == ca.requests["newAccount"]


def test_terms_need_the_operators_consent(
    ca: FakeCa, client: AcmeClient, accounts: AccountsInMemory, reactor: Reactor
) -> None:
    """
    The error says where the terms are and what to set.
    """
    ours = OurAccount(client, accounts, AcmeConfig(directory=DIRECTORY))
    with pytest.raises(ConfigError) as raised:
        reactor.run(ours.get(UNTIL))
    (fault,) = raised.value.faults
    assert "acme.agree_to_terms" == fault.place
    assert "https://ca.test/terms" in fault.message
    assert 0 == ca.requests["newAccount"]


def test_a_ca_without_terms_needs_no_consent(
    ca: FakeCa, client: AcmeClient, accounts: AccountsInMemory, reactor: Reactor
) -> None:
    """
    Nothing is agreed to that does not exist.
    """
    ca.terms = ""
    reactor.run(OurAccount(client, accounts, AcmeConfig(directory=DIRECTORY)).get(UNTIL))
    assert [{}] == ca.payloads


def test_a_required_external_account_is_asked_for(ca: FakeCa, ours: OurAccount, reactor: Reactor) -> None:
    """
    The error says which settings the CA's customer has to fill in.
    """
    ca.external_accounts["kid-1"] = b"mac key"
    with pytest.raises(ConfigError, match=r"acme\.eab"):
        reactor.run(ours.get(UNTIL))


def test_reads_the_external_accounts_key(tmp_path: Path) -> None:
    """
    The file holds the key in base64url, and a line end.
    """
    path = tmp_path / "mac"
    path.write_text("bWFjIGtleQ\n")
    assert jws.ExternalAccount("kid-1", b"mac key") == read_external_account(ExternalAccountBinding("kid-1", path))


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"!"])
def test_a_file_without_a_key_is_the_operators_fault(tmp_path: Path, content: bytes | None) -> None:
    """
    Missing, empty and garbled files are told with their path, never with their content.
    """
    path = tmp_path / "mac"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as raised:
        read_external_account(ExternalAccountBinding("kid-1", path))
    (fault,) = raised.value.faults
    assert "acme.eab.hmac_key_file" == fault.place
    assert str(path) in fault.message

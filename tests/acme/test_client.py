from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from twisted.internet.defer import Deferred, gatherResults

from sptls.acme import client as client_module
from sptls.acme import jws
from sptls.acme.messages import Order
from sptls.errors import AcmeProblem, AcmeProtocolError, AcmeUnreachable
from sptls.names import HostName
from tests.acme.fake_ca import ORIGIN, FakeCa, Reply, json_reply

if TYPE_CHECKING:
    from sptls.acme.client import AcmeClient
    from tests.acme.conftest import Reactor

NAME = HostName("a.test")
UNTIL = 180.0


def order(client: AcmeClient, account: jws.Account, reactor: Reactor) -> Order:
    """
    Order a certificate.
    """
    return reactor.run(client.new_order(account, [NAME], UNTIL))


def test_the_directory_is_fetched_once_a_day(ca: FakeCa, client: AcmeClient, reactor: Reactor) -> None:
    """
    All operations of a day share one copy, also when they come at the same moment.
    """
    ca.fail("directory", Reply(503))
    outcomes: list[object] = []
    both = gatherResults([Deferred.fromCoroutine(client.directory(UNTIL)) for _ in range(2)])
    both.addCallback(outcomes.append)
    reactor.settle(outcomes)
    assert f"{ORIGIN}/newOrder" == reactor.run(client.directory(UNTIL)).new_order
    assert 2 == ca.requests["directory"]
    reactor.advance(client_module.DIRECTORY_SECONDS)
    reactor.run(client.directory(reactor.seconds() + UNTIL))
    assert 3 == ca.requests["directory"]


def test_a_known_key_finds_its_account(ca: FakeCa, client: AcmeClient, reactor: Reactor, account: jws.Account) -> None:
    """
    Registering a key twice gives the same account (RFC 8555 §7.3.1).
    """
    again = reactor.run(client.new_account(account.key, (), None, UNTIL, terms_agreed=False))
    assert account == again
    assert 1 == len(ca.accounts)


def test_binds_an_external_account(ca: FakeCa, client: AcmeClient, reactor: Reactor) -> None:
    """
    The CA accepts the binding that it can verify.
    """
    ca.external_accounts["kid-1"] = b"mac key"
    external = jws.ExternalAccount("kid-1", b"mac key")
    account = reactor.run(
        client.new_account(jws.AccountKey.generate(), ("ops@a.test",), external, UNTIL, terms_agreed=True)
    )
    assert [account.url] == list(ca.accounts)
    assert ["mailto:ops@a.test"] == ca.payloads[-1]["contact"]


def test_an_order_goes_all_the_way(ca: FakeCa, client: AcmeClient, reactor: Reactor, account: jws.Account) -> None:
    """
    Order, authorization, challenge: each operation gives what the CA holds.
    """
    pending = order(client, account, reactor)
    assert ("pending", f"{ORIGIN}/order/0") == (pending.status, pending.url)
    assert pending == reactor.run(client.order(account, pending.url, UNTIL))
    authorization = reactor.run(client.authorization(account, pending.authorizations[0], UNTIL))
    assert ("a.test", "pending") == (authorization.identifier, authorization.status)
    assert "processing" == reactor.run(client.respond(account, authorization.challenges[0], UNTIL)).status
    finished = reactor.run(client.finished_authorization(account, authorization.url, UNTIL))
    assert "valid" == finished.status
    assert "ready" == reactor.run(client.ready_order(account, pending, UNTIL)).status


def test_polls_at_the_cas_pace(ca: FakeCa, client: AcmeClient, reactor: Reactor, account: jws.Account) -> None:
    """
    Retry-After sets the distance of the polls after the first.
    """
    ca.validation_polls, ca.poll_fields = 3, {"Retry-After": "5"}
    pending = order(client, account, reactor)
    authorization = reactor.run(client.authorization(account, pending.authorizations[0], UNTIL))
    reactor.run(client.respond(account, authorization.challenges[0], UNTIL))
    reactor.run(client.finished_authorization(account, authorization.url, UNTIL))
    assert 15.06 == pytest.approx(reactor.seconds())


def test_an_order_that_stays_in_processing_ends_at_the_deadline(
    ca: FakeCa, client: AcmeClient, reactor: Reactor, account: jws.Account
) -> None:
    """
    The CA is asked until the time is up, ever more rarely.
    """
    order(client, account, reactor)
    ca.orders[0].status, ca.orders[0].processing_polls = "processing", 10**6
    processing = reactor.run(client.order(account, f"{ORIGIN}/order/0", UNTIL))
    with pytest.raises(AcmeUnreachable, match="not finished"):
        reactor.run(client.finished_order(account, processing, UNTIL))
    assert 170 < reactor.seconds() <= UNTIL
    assert ca.requests["order"] < 80


def test_an_order_that_is_finished_is_not_polled(
    ca: FakeCa, client: AcmeClient, reactor: Reactor, account: jws.Account
) -> None:
    """
    CAs that issue while we finalize save a request.
    """
    done = Order(f"{ORIGIN}/order/0", "valid", (), f"{ORIGIN}/finalize/0", f"{ORIGIN}/certificate/0")
    assert done == reactor.run(client.finished_order(account, done, UNTIL))
    assert 0 == ca.requests["order"]


@pytest.mark.parametrize("location", [{}, {"Location": "/order/1"}, {"Location": "http://ca.test/order/1"}])
def test_an_order_without_its_url_breaks_the_protocol(
    ca: FakeCa, client: AcmeClient, reactor: Reactor, account: jws.Account, location: dict[str, str]
) -> None:
    """
    Nothing but Location tells where the order is.
    """
    ca.fail("newOrder", Reply(201, b"{}", fields=location))
    with pytest.raises(AcmeProtocolError, match="Location"):
        order(client, account, reactor)


@pytest.mark.parametrize("content", [b"", b"<html>", b"[]", b"{}", b"\xff\x00"])
def test_garbage_is_a_protocol_error(
    ca: FakeCa, client: AcmeClient, reactor: Reactor, account: jws.Account, content: bytes
) -> None:
    """
    What is no order is none, with a name for the operation.
    """
    ca.fail("newOrder", Reply(201, content, fields={"Location": f"{ORIGIN}/order/0"}))
    with pytest.raises(AcmeProtocolError, match="newOrder"):
        order(client, account, reactor)


def test_a_chain_of_another_type_is_refused(
    ca: FakeCa, client: AcmeClient, reactor: Reactor, account: jws.Account
) -> None:
    """
    A certificate comes as a PEM chain or not at all (RFC 8555 §7.4.2).
    """
    ca.fail("certificate", json_reply({}))
    with pytest.raises(AcmeProtocolError, match="pem-certificate-chain"):
        reactor.run(client.certificate(account, f"{ORIGIN}/certificate/0", UNTIL))


def test_a_forgotten_directory_is_fetched_again(ca: FakeCa, client: AcmeClient, reactor: Reactor) -> None:
    """
    Who found that it is out of date need not wait for a day.
    """
    reactor.run(client.directory(UNTIL))
    client.forget_directory()
    reactor.run(client.directory(UNTIL))
    assert 2 == ca.requests["directory"]


def test_a_ca_without_renewal_information_is_not_asked(ca: FakeCa, client: AcmeClient, reactor: Reactor) -> None:
    """
    None is known from the directory.
    """
    assert reactor.run(client.renewal_info("a.b", UNTIL)) is None
    assert {"directory": 1} == ca.requests


def test_an_unknown_certificate_has_no_renewal_information(ca: FakeCa, client: AcmeClient, reactor: Reactor) -> None:
    """
    The CA's refusal is its problem.
    """
    ca.renewal_window = {}
    with pytest.raises(AcmeProblem):
        reactor.run(client.renewal_info("a.b", UNTIL))


def test_a_directory_without_revocation_is_told(
    ca: FakeCa, client: AcmeClient, reactor: Reactor, account: jws.Account
) -> None:
    """
    RFC 8555 §7.1.1 wants one.
    """
    client.forget_directory()
    resources = {name: f"{ORIGIN}/{name}" for name in ("newNonce", "newAccount", "newOrder")}
    ca.fail("directory", json_reply(resources))
    with pytest.raises(AcmeProtocolError, match="revokeCert"):
        reactor.run(client.revoke(account, b"der", 0, UNTIL))

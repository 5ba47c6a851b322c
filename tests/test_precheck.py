"""
Tests for `sptls.precheck`, against a DNS server in this process, over loopback.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import LogLevel, capturedLogs
from twisted.names import dns

from sptls import dns_questions, precheck
from sptls.certs.attempts import Look
from sptls.certs.dns_watch import DnsLook
from sptls.certs.precheck_rules import Seen
from sptls.certs.reach_rules import HTTP_01
from sptls.certs.records import AccountRecord
from sptls.config import AcmeConfig, Address, PrecheckMode
from sptls.errors import AcmeProblem, AcmeUnreachable, IssuanceFailed, OrderCancelled, PrecheckFailed
from sptls.names import HostName
from sptls.precheck import Precheck
from sptls.proxy.http01 import Http01Responder
from sptls.reaching import Reach
from tests.dns_zone import TRUNCATED, Turning, Zone, turning

CA = "https://acme-v02.api.letsencrypt.org/directory"
NAME, OTHER = HostName("click.example.com"), HostName("other.example.org")
REFUSED = IssuanceFailed(AcmeProblem(400, "connection", "Connection refused"), 1)
ACCOUNT = "https://ca.example/acct/1"


class Web(Protocol):
    """
    A server on the port for http-01: this proxy's with *tokens*, another one without.
    """

    def __init__(self, tokens: Any) -> None:
        self._tokens = tokens

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """
        Answer, and close.
        """
        found = self._tokens.get(data.split(b" ")[1].rpartition(b"/")[2].decode())
        content = b"HTTP/1.1 404 Not Found\r\n\r\n" if found is None else b"HTTP/1.1 200 OK\r\n\r\n" + found.encode()
        transport: Any = self.transport
        transport.write(content)
        transport.loseConnection()


class Accounts:
    """
    The account at the CA; *error* breaks them.
    """

    error: Exception | None = None

    async def account(self, _: str) -> AccountRecord:
        """
        Give it.
        """
        if self.error is not None:
            raise self.error
        return AccountRecord(b"", ACCOUNT)


@attrs.define
class Scene:
    """
    A look at names with a DNS server of the test's own; *told* are the failures that were looked into.
    """

    turning: Turning
    zone: Zone
    port: int
    accounts: Any = attrs.field(factory=Accounts)
    http01: Http01Responder = attrs.field(factory=Http01Responder)
    told: list[Any] = attrs.field(factory=list)
    web_port: int = 0
    leads: list[str] = attrs.field(factory=list)

    def precheck(self, mode: PrecheckMode = "advise", **more: Any) -> Precheck:
        """
        Give one that asks the zone, and the servers that `serve` has started.
        """
        acme = AcmeConfig(
            CA, precheck=mode, resolver=Address("127.0.0.1", self.port), addresses=("192.0.2.1", "2001:db8::1")
        )
        reach = Reach(
            self.turning.reactor,
            [self.http01],
            ports={HTTP_01: self.web_port},
            may_ask=lambda address, _: self.web_port > 0 and address.startswith("127."),
        )
        made = Precheck(self.turning.reactor, self.accounts, [attrs.evolve(acme, **more)], reach)
        made.failed = lambda *failed: self.told.append(failed)
        return made

    def serve(self, address: str, *, is_ours: bool) -> None:
        """
        Have this proxy, or another server, answer at *address*, where the name leads to from now on as well.
        """
        factory: Any = Factory.forProtocol(lambda: Web(self.http01.tokens if is_ours else {}))
        listening = self.turning.reactor.listenTCP(self.web_port, factory, interface=address)
        self.web_port = listening.getHost().port
        self.leads.append(address)
        self.zone.records[NAME.text, dns.A] = [dns.Record_A(one) for one in self.leads]

    def explained(self, precheck: Precheck) -> list[str]:
        """
        Give the codes of what explains a refused connection.
        """
        return [finding.diagnosis.code for finding in self.turning.run(precheck.explain(NAME, CA, REFUSED))]


@pytest.fixture
def scene() -> Iterator[Scene]:
    """
    Give one in which the name leads here, and nothing else is in the DNS.
    """
    with turning() as turned:
        zone = Zone()
        zone.records[NAME.text, dns.A] = [dns.Record_A("192.0.2.1")]
        yield Scene(turned, zone, turned.serve(zone))


def test_it_is_a_look() -> None:
    """
    What attempts ask for, and what the watch does.
    """
    accounts: Any = Accounts()
    look: Look = Precheck(None, accounts, [], Reach(None))
    watched: DnsLook = Precheck(None, accounts, [], Reach(None))
    assert look
    assert watched


def test_name_that_leads_here_has_nothing_to_explain(scene: Scene) -> None:
    """
    Its addresses, and the CAA records of every domain above it, are asked for.
    """
    assert [] == scene.explained(scene.precheck())
    assert {(NAME.text, dns.A), (NAME.text, dns.AAAA), (NAME.text, 257), ("example.com", 257), ("com", 257)} == set(
        scene.zone.asked
    )


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ({(NAME.text, dns.A): dns.ENAME, (NAME.text, dns.AAAA): dns.ENAME}, ["dns-nxdomain"]),
        ({(NAME.text, dns.A): dns.ESERVER, (NAME.text, dns.AAAA): dns.ESERVER}, ["dns-servfail"]),
        ({(NAME.text, dns.A): [dns.Record_CNAME("old.example"), dns.Record_A("198.51.100.1")]}, ["dns-elsewhere"]),
        ({(NAME.text, dns.AAAA): [dns.Record_AAAA("2001:db8::bad")]}, ["dns-stale-ipv6"]),
        ({(NAME.text, dns.AAAA): [dns.Record_AAAA("2001:db8::1")]}, []),
        ({(NAME.text, dns.A): TRUNCATED}, []),
        ({("example.com", 257): [dns.UnknownRecord(b"\0\5issueca.example")]}, ["caa-forbids"]),
        ({("example.com", 257): [dns.UnknownRecord(b"\0\5issueletsencrypt.org"), dns.UnknownRecord(b"\0")]}, []),
        ({(NAME.text, dns.A): [dns.Record_TXT(b"noise"), dns.Record_A("192.0.2.1")]}, []),
        (
            {("example.com", 257): [dns.UnknownRecord(b"\0\5issueletsencrypt.org;accounturi=https://ca.example/2")]},
            ["caa-forbids"],
        ),
    ],
)
def test_what_the_dns_says_explains_a_failure(scene: Scene, records: dict[Any, Any], expected: list[str]) -> None:
    """
    From its answers on the wire to what they mean.
    """
    scene.zone.records.update(records)
    assert expected == scene.explained(scene.precheck())


def test_only_failures_of_the_name_are_looked_into(scene: Scene) -> None:
    """
    Nor any where it is off, nor those of the internal CA.
    """
    outage = IssuanceFailed(AcmeUnreachable("newOrder", "refused"))
    assert () == scene.turning.run(scene.precheck().explain(NAME, CA, outage))
    assert [] == scene.explained(scene.precheck("off"))
    assert [] == scene.explained(scene.precheck(directory="internal"))
    assert [] == scene.zone.asked


def test_order_in_vain_is_refused_where_that_is_required(scene: Scene) -> None:
    """
    And no other one.
    """
    required = scene.precheck("require")
    assert None is scene.turning.run(required.gate(NAME, CA))
    scene.zone.records[NAME.text, dns.A] = [dns.Record_A("198.51.100.1")]
    failure = scene.turning.run(required.gate(NAME, CA))
    assert (IssuanceFailed, PrecheckFailed) == (failure.type, type(failure.value.cause))
    assert "198.51.100.1" in str(failure.value)


def test_doubt_lets_an_order_begin(scene: Scene) -> None:
    """
    A DNS server that fails here may well answer the CA.
    """
    scene.zone.records[NAME.text, dns.A] = scene.zone.records[NAME.text, dns.AAAA] = dns.ESERVER
    assert None is scene.turning.run(scene.precheck("require").gate(NAME, CA))


def test_advice_does_not_look_before_an_order(scene: Scene) -> None:
    """
    A success costs no question.
    """
    assert None is scene.turning.run(scene.precheck().gate(NAME, CA))
    assert [] == scene.zone.asked


def test_silence_is_bounded(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The whole look has one deadline; a name whose DNS is silent is ordered.
    """
    monkeypatch.setattr(precheck, "LOOK_SECONDS", 0.05)
    scene.zone.records[NAME.text, dns.A] = None
    with capturedLogs() as events:
        assert None is scene.turning.run(scene.precheck("require").gate(NAME, CA))
        assert [] == scene.explained(scene.precheck())
    assert [] == [event for event in events if event["log_level"] is LogLevel.critical]


def test_single_silence_is_told(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Each question has its time.
    """
    monkeypatch.setattr(dns_questions, "_ASK_SECONDS", (0.05,))
    scene.zone.records[NAME.text, dns.A] = scene.zone.records[NAME.text, dns.AAAA] = None
    assert ["dns-timeout"] == scene.explained(scene.precheck())


def test_order_that_is_given_up_meanwhile_has_cost_nothing(scene: Scene) -> None:
    """
    The renewer cancels it.
    """
    scene.zone.records[NAME.text, dns.A] = None
    running, ended = scene.turning.begin(scene.precheck("require").gate(NAME, CA))
    scene.turning.turn(lambda: scene.zone.asked)
    running.cancel()
    assert OrderCancelled is type(ended[0].value.cause)


def test_fault_of_the_look_hinders_nothing(scene: Scene) -> None:
    """
    It is in the log with its traceback.
    """
    scene.accounts.error = ZeroDivisionError()
    with capturedLogs() as events:
        assert None is scene.turning.run(scene.precheck("require").gate(NAME, CA))
    assert [ZeroDivisionError] == [
        event["log_failure"].type for event in events if event["log_level"] is LogLevel.critical
    ]


def test_new_configuration_is_in_force_at_once(scene: Scene) -> None:
    """
    A CA that is gone is not looked for any more.
    """
    changed = scene.precheck()
    changed.configure([])
    assert [] == scene.explained(changed)


def test_failure_is_told_with_what_was_seen(scene: Scene) -> None:
    """
    For whoever watches the name's DNS from then on.
    """
    scene.explained(scene.precheck())
    ((name, directory, code, seen),) = scene.told
    assert (NAME, CA, "connection-refused", ("192.0.2.1",)) == (name, directory, code, seen.addresses)


def test_another_server_explains_a_failure(scene: Scene) -> None:
    """
    It is told from this proxy by its answer; where that is the only one, no order begins where that is required.
    """
    scene.serve("127.0.0.1", is_ours=True)
    scene.serve("127.0.0.2", is_ours=False)
    known: dict[str, Any] = {"addresses": (), "challenges": (HTTP_01,)}
    assert ["wrong-server"] == scene.explained(scene.precheck(**known))
    assert None is scene.turning.run(scene.precheck("require", **known).gate(NAME, CA))
    scene.zone.records[NAME.text, dns.A] = [dns.Record_A("127.0.0.2")]
    failure = scene.turning.run(scene.precheck("require", **known).gate(NAME, CA))
    assert "A 127.0.0.2 answers as another server: status 404 on port 80" in str(failure.value)
    assert {} == dict(scene.http01.tokens)


def test_address_that_answers_as_this_proxy_is_ours(scene: Scene) -> None:
    """
    Though it is none of those that are configured: a CDN's, or a load balancer's.
    """
    scene.serve("127.0.0.1", is_ours=True)
    assert [] == scene.explained(scene.precheck(challenges=(HTTP_01,)))


def test_unreached_address_is_told_and_stops_nothing(scene: Scene) -> None:
    """
    A network that does not lead back to us may lead the CA here all the same.
    """
    scene.serve("127.0.0.1", is_ours=True)
    scene.zone.records[NAME.text, dns.A] = [dns.Record_A("127.0.0.3")]
    known: dict[str, Any] = {"addresses": (), "challenges": (HTTP_01,)}
    assert ["unreached"] == scene.explained(scene.precheck(**known))
    assert None is scene.turning.run(scene.precheck("require", **known).gate(NAME, CA))


def test_addresses_are_learnt_from_names_that_were_validated(scene: Scene) -> None:
    """
    And only advise: a proxy that has moved must not lock itself out.
    """
    scene.zone.records[OTHER.text, dns.A] = [dns.Record_A("192.0.2.9")]
    learning = scene.precheck("require", addresses=())
    assert [] == scene.explained(learning)
    learning.learnt.validated(OTHER)
    assert ["dns-perhaps-elsewhere"] == scene.explained(learning)
    assert None is scene.turning.run(learning.gate(NAME, CA))
    assert 1 == scene.zone.asked.count((OTHER.text, dns.A))


def test_everything_is_examined_for_people(scene: Scene) -> None:
    """
    Unless it is off.
    """
    check = scene.turning.run(scene.precheck().examine(NAME, CA))
    assert (("192.0.2.1",), (), []) == (
        check.seen.addresses,
        check.findings,
        [one.verdict for one in check.reached if one.verdict != "unasked"],
    )
    assert None is scene.turning.run(scene.precheck("off").examine(NAME, CA))


def test_look_of_the_watch_is_at_the_dns_only(scene: Scene) -> None:
    """
    Two questions, and the CAA records where they matter.
    """
    watching = scene.precheck()
    seen, findings = scene.turning.run(watching.look(NAME, CA, with_caa=False))
    assert (Seen, (), 2) == (type(seen), findings, len(scene.zone.asked))
    scene.turning.run(watching.look(NAME, CA, with_caa=True))
    assert 2 + 2 + 3 == len(scene.zone.asked)
    assert None is scene.turning.run(scene.precheck("off").look(NAME, CA, with_caa=True))
    scene.zone.records[NAME.text, dns.A] = [dns.Record_A("198.51.100.1")]
    _, (finding,) = scene.turning.run(watching.look(NAME, CA, with_caa=False))
    assert "dns-elsewhere" == finding.diagnosis.code


def test_look_of_the_watch_is_bounded(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    It then tells nothing.
    """
    monkeypatch.setattr(precheck, "LOOK_SECONDS", 0.05)
    scene.zone.records[NAME.text, dns.A] = None
    assert None is scene.turning.run(scene.precheck().look(NAME, CA, with_caa=False))

"""
Tests for `sptls.precheck`, against a DNS server in this process, over loopback.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import DatagramProtocol, Factory
from twisted.logger import LogLevel, capturedLogs
from twisted.names import dns
from twisted.python.failure import Failure

from sptls import precheck
from sptls.certs.attempts import Look
from sptls.certs.records import AccountRecord
from sptls.config import AcmeConfig, Address, PrecheckMode
from sptls.errors import AcmeProblem, AcmeUnreachable, IssuanceFailed, OrderCancelled, PrecheckFailed
from sptls.names import HostName
from sptls.precheck import Precheck

CA = "https://acme-v02.api.letsencrypt.org/directory"
NAME = HostName("click.example.com")
REFUSED = IssuanceFailed(AcmeProblem(400, "connection", "Connection refused"), 1)
ACCOUNT = "https://ca.example/acct/1"
TRUNCATED = -1


class Zone(DatagramProtocol):
    """
    A DNS server over UDP: *records* by name and type; a number is a response code, None no answer at all.
    """

    def __init__(self) -> None:
        self.records: dict[tuple[str, int], list[Any] | int | None] = {}
        self.asked: list[tuple[str, int]] = []

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:  # noqa: N802 - Twisted's name
        """
        Answer.
        """
        content = self.answer(datagram)
        if content is not None:
            transport: Any = self.transport
            transport.write(content, addr)

    def answer(self, datagram: bytes, *, is_whole: bool = False) -> bytes | None:
        """
        Give the answer to a question; with *is_whole* one that is never truncated.
        """
        message = dns.Message()
        message.fromStr(datagram)
        (query,) = message.queries
        key = (str(query.name), query.type)
        self.asked.append(key)
        found = self.records.get(key, [])
        if found is None:
            return None
        message.answer, message.rCode = 1, found if isinstance(found, int) and found != TRUNCATED else dns.OK
        message.trunc = found == TRUNCATED and not is_whole
        if found == TRUNCATED and is_whole:
            found = [dns.Record_A("192.0.2.1")]
        for payload in found if isinstance(found, list) else ():
            kind = getattr(payload, "TYPE", None) or 257
            message.answers.append(dns.RRHeader(str(query.name), kind, payload=payload))
        return message.toStr()


class _OverTcp(dns.DNSProtocol):
    def __init__(self, zone: Zone) -> None:
        super().__init__(None)  # type: ignore[no-untyped-call]
        self._zone = zone

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        content = self._zone.answer(data[2:], is_whole=True)
        assert content is not None
        transport: Any = self.transport
        transport.write(len(content).to_bytes(2, "big") + content)


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
    A look at names with a DNS server of the test's own.
    """

    reactor: Any
    zone: Zone
    port: int
    accounts: Any = attrs.field(factory=Accounts)

    def precheck(self, mode: PrecheckMode = "advise", **more: Any) -> Precheck:
        """
        Give one that asks the zone.
        """
        acme = AcmeConfig(
            CA, precheck=mode, resolver=Address("127.0.0.1", self.port), addresses=("192.0.2.1", "2001:db8::1")
        )
        return Precheck(self.reactor, self.accounts, [attrs.evolve(acme, **more)])

    def begin(self, coroutine: Coroutine[Any, Any, Any]) -> tuple[Deferred[Any], list[Any]]:
        """
        Begin *coroutine*; what it comes to is put into the list.
        """
        ended: list[Any] = []
        running = Deferred.fromCoroutine(coroutine)
        running.addBoth(ended.append)
        return running, ended

    def turn(self, until: Callable[[], object]) -> None:
        """
        Turn the reactor.
        """
        end = time.monotonic() + 20
        while not until():
            assert time.monotonic() < end
            self.reactor.iterate(0.01)

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """
        Give what *coroutine* comes to.
        """
        _, ended = self.begin(coroutine)
        self.turn(lambda: ended)
        return ended[0]

    def explained(self, precheck: Precheck) -> list[str]:
        """
        Give the codes of what explains a refused connection.
        """
        return [finding.diagnosis.code for finding in self.run(precheck.explain(NAME, CA, REFUSED))]


@pytest.fixture
def scene() -> Iterator[Scene]:
    """
    Give one in which the name leads here, and nothing else is in the DNS.
    """
    reactor: Any = EPollReactor()
    zone = Zone()
    factory: Any = Factory()
    factory.buildProtocol = lambda _: _OverTcp(zone)
    tcp = reactor.listenTCP(0, factory, interface="127.0.0.1")
    port = tcp.getHost().port
    reactor.listenUDP(port, zone, interface="127.0.0.1")
    zone.records[NAME.text, dns.A] = [dns.Record_A("192.0.2.1")]
    yield Scene(reactor, zone, port)
    for _ in range(3):  # ports that were closed are, a turn later
        reactor.iterate(0)
    for selectable in reactor.removeAll():
        selectable.connectionLost(Failure(ConnectionDone()))
    for call in reactor.getDelayedCalls():
        call.cancel()
    reactor._poller.close()


def test_it_is_a_look() -> None:
    """
    What attempts ask for.
    """
    accounts: Any = Accounts()
    look: Look = Precheck(None, accounts, [])
    assert look


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
    assert () == scene.run(scene.precheck().explain(NAME, CA, outage))
    assert [] == scene.explained(scene.precheck("off"))
    assert [] == scene.explained(scene.precheck(directory="internal"))
    assert [] == scene.zone.asked


def test_order_in_vain_is_refused_where_that_is_required(scene: Scene) -> None:
    """
    And no other one.
    """
    required = scene.precheck("require")
    assert None is scene.run(required.gate(NAME, CA))
    scene.zone.records[NAME.text, dns.A] = [dns.Record_A("198.51.100.1")]
    failure = scene.run(required.gate(NAME, CA))
    assert (IssuanceFailed, PrecheckFailed) == (failure.type, type(failure.value.cause))
    assert "198.51.100.1" in str(failure.value)


def test_doubt_lets_an_order_begin(scene: Scene) -> None:
    """
    A DNS server that fails here may well answer the CA.
    """
    scene.zone.records[NAME.text, dns.A] = scene.zone.records[NAME.text, dns.AAAA] = dns.ESERVER
    assert None is scene.run(scene.precheck("require").gate(NAME, CA))


def test_advice_does_not_look_before_an_order(scene: Scene) -> None:
    """
    A success costs no question.
    """
    assert None is scene.run(scene.precheck().gate(NAME, CA))
    assert [] == scene.zone.asked


def test_silence_is_bounded(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The whole look has one deadline; a name whose DNS is silent is ordered.
    """
    monkeypatch.setattr(precheck, "LOOK_SECONDS", 0.05)
    scene.zone.records[NAME.text, dns.A] = None
    with capturedLogs() as events:
        assert None is scene.run(scene.precheck("require").gate(NAME, CA))
        assert [] == scene.explained(scene.precheck())
    assert [] == [event for event in events if event["log_level"] is LogLevel.critical]


def test_single_silence_is_told(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Each question has its time.
    """
    monkeypatch.setattr(precheck, "_ASK_SECONDS", (0.05,))
    scene.zone.records[NAME.text, dns.A] = scene.zone.records[NAME.text, dns.AAAA] = None
    assert ["dns-timeout"] == scene.explained(scene.precheck())


def test_order_that_is_given_up_meanwhile_has_cost_nothing(scene: Scene) -> None:
    """
    The renewer cancels it.
    """
    scene.zone.records[NAME.text, dns.A] = None
    running, ended = scene.begin(scene.precheck("require").gate(NAME, CA))
    scene.turn(lambda: scene.zone.asked)
    running.cancel()
    assert OrderCancelled is type(ended[0].value.cause)


def test_fault_of_the_look_hinders_nothing(scene: Scene) -> None:
    """
    It is in the log with its traceback.
    """
    scene.accounts.error = ZeroDivisionError()
    with capturedLogs() as events:
        assert None is scene.run(scene.precheck("require").gate(NAME, CA))
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


def test_system_servers_are_the_default(scene: Scene, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """
    Read anew for each look; one that is missing means this machine.
    """
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.3\n")
    servers: list[Any] = []

    class Noted(precheck.Dns):
        def __init__(self, reactor: Any, asked: Any) -> None:
            servers.append(asked)
            super().__init__(reactor, [("127.0.0.1", scene.port)])

    monkeypatch.setattr(precheck, "Dns", Noted)
    for name in ("resolv.conf", "missing"):
        monkeypatch.setattr(precheck, "_RESOLV_CONF", tmp_path / name)
        assert [] == scene.explained(scene.precheck(resolver=None))
    assert [(("127.0.0.3", 53),), (("127.0.0.1", 53),)] == servers

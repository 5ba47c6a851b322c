"""
Tests for `sptls.dns_questions`, against a DNS server in this process, over loopback.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from twisted.internet.defer import CancelledError
from twisted.names import dns

from sptls import dns_questions
from sptls.certs.precheck_rules import Answer, Caa
from sptls.config import AcmeConfig, Address
from sptls.dns_questions import Dns, servers
from tests.dns_zone import TRUNCATED, Turning, Zone, turning

NAME = "click.example.com"
ALIASES = Answer(aliases=("a.example", "b.example"))
FORBIDS = Answer(caa=(Caa(False, "issue", "ca.example"),))


@attrs.frozen
class Scene:
    """
    A zone, and who turns the reactor.
    """

    turning: Turning
    zone: Zone
    dns: Dns

    def ask(self, kind: str) -> Answer:
        """
        Give the answer to one question.
        """
        (answer,) = self.turning.run(self.dns.ask([(NAME, kind)]))
        assert isinstance(answer, Answer)
        return answer


@pytest.fixture
def scene() -> Iterator[Scene]:
    """
    Give one with an empty zone.
    """
    with turning() as turned:
        zone = Zone()
        yield Scene(turned, zone, Dns(turned.reactor, [("127.0.0.1", turned.serve(zone))]))


@pytest.mark.parametrize(
    ("kind", "records", "expected"),
    [
        ("A", [], Answer()),
        ("A", [dns.Record_A("192.0.2.1"), dns.Record_TXT(b"noise")], Answer(addresses=("192.0.2.1",))),
        ("AAAA", [dns.Record_AAAA("2001:db8::1")], Answer(addresses=("2001:db8::1",))),
        ("A", [dns.Record_CNAME("a.example"), dns.Record_CNAME("b.example")], ALIASES),
        ("A", [dns.Record_CNAME(b"a\xff\n.example")], Answer(aliases=("a\\xff\n.example",))),
        ("A", dns.ENAME, Answer("nxdomain")),
        ("A", dns.ESERVER, Answer("failed")),
        ("A", TRUNCATED, Answer(addresses=("192.0.2.1",))),
        ("CAA", [dns.UnknownRecord(b"\0\5issueca.example"), dns.UnknownRecord(b"\0")], FORBIDS),
    ],
)
def test_answer_is_what_the_dns_says(scene: Scene, kind: str, records: Any, expected: Answer) -> None:
    """
    From the wire; over TCP where UDP has no room.
    """
    scene.zone.records[NAME, {"A": dns.A, "AAAA": dns.AAAA, "CAA": 257}[kind]] = records
    assert expected == scene.ask(kind)


def test_silence_is_an_answer(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Each question has its time.
    """
    monkeypatch.setattr(dns_questions, "_ASK_SECONDS", (0.05,))
    zone = Zone()
    zone.records[NAME, dns.A] = None
    asking = Dns(scene.turning.reactor, [("127.0.0.1", scene.turning.serve(zone))])
    assert [Answer("silent")] == scene.turning.run(asking.ask([(NAME, "A")]))


def test_cancelling_ends_every_question(scene: Scene) -> None:
    """
    And is no answer.
    """
    scene.zone.records[NAME, dns.A] = None
    running, ended = scene.turning.begin(scene.dns.ask([(NAME, "A"), (NAME, "AAAA")]))
    scene.turning.turn(lambda: scene.zone.asked)
    running.cancel()
    assert CancelledError is ended[0].type


def test_system_servers_are_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """
    Read anew for each look; one that is missing means this machine; a configured one goes before them.
    """
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.3\n")
    for name, host in (("resolv.conf", "127.0.0.3"), ("missing", "127.0.0.1")):
        monkeypatch.setattr(dns_questions, "_RESOLV_CONF", tmp_path / name)
        assert ((host, 53),) == servers(AcmeConfig())
    assert (("192.0.2.53", 5353),) == servers(AcmeConfig(resolver=Address("192.0.2.53", 5353)))

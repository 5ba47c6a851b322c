"""
What each server name gets, before and after its certificate comes, fails, breaks or goes.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from sptls.config import DomainConfig, PassthroughConfig
from sptls.interfaces import Hold, IServerContexts, Refuse
from sptls.names import HostName
from sptls.tls.client_hello import INTERNAL_ERROR, UNRECOGNIZED_NAME
from sptls.tls.contexts import ContextCache, ServerContext
from sptls.tls.served import ServedCertificates

if TYPE_CHECKING:
    from sptls.certs.bundle import CertificateBundle
    from sptls.errors import BadCertificate
    from tests.tls.handshakes import Issue

CLICK, OPEN, OWN = HostName("click.example.com"), HostName("open.example.com"), HostName("*.example.org")
UNKNOWN, UNAVAILABLE = Refuse(UNRECOGNIZED_NAME), Refuse(INTERNAL_ERROR)
START = datetime(2026, 10, 1, tzinfo=UTC)
LATER = START + timedelta(minutes=5)


def domains(*names: HostName) -> list[DomainConfig]:
    """
    Give the configuration of *names*; wildcard ones bring their own certificates.
    """
    own = Path("own.pem")
    return [DomainConfig(name, certificate=own, key=own) if name.is_wildcard else DomainConfig(name) for name in names]


@attrs.define
class Served:
    """
    The certificates under test, with what they told and the moment that they take for now.
    """

    now: datetime = START
    wanted: list[HostName] = attrs.field(factory=list)
    damaged: list[tuple[HostName, str]] = attrs.field(factory=list)
    settled: list[HostName] = attrs.field(factory=list)
    contexts: ContextCache = attrs.field(factory=lambda: ContextCache("intermediate", 10, Clock().seconds))
    certificates: ServedCertificates = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.certificates = ServedCertificates(
            domains(CLICK, OPEN, OWN), CLICK, self.contexts, lambda: self.now, self.wanted.append, self.on_damaged
        )
        self.certificates.watch(self.settled.append)

    def on_damaged(self, name: HostName, error: BadCertificate) -> None:
        """
        Note what was damaged.
        """
        self.damaged.append((name, error.reason))


@pytest.fixture
def served() -> Served:
    """
    Give CLICK (the default), OPEN and the own wildcard OWN, none with a certificate.
    """
    return Served()


@pytest.fixture
def certificates(served: Served) -> ServedCertificates:
    """
    Give the certificates under test.
    """
    return served.certificates


def test_interface(certificates: ServedCertificates) -> None:
    """
    It is what the listener asks.
    """
    assert verifyObject(IServerContexts, certificates)


@pytest.mark.parametrize(
    ("server_name", "expected"),
    [
        (b"click.example.com", Hold(CLICK)),
        (b"Click.Example.Com.", Hold(CLICK)),
        (b"open.example.com", Hold(OPEN)),
        (None, Hold(CLICK)),
        (b"other.example.com", UNKNOWN),
        (b"", UNKNOWN),
        (b"\xff\x00", UNKNOWN),
        (b"a.example.org", UNAVAILABLE),
        (b"example.org", UNKNOWN),
    ],
)
def test_without_certificates(
    certificates: ServedCertificates, server_name: bytes | None, expected: Hold | Refuse
) -> None:
    """
    A name that can be issued waits, one whose own certificate is missing fails, and others are unknown.
    """
    assert expected == certificates.answer(server_name)


def test_no_default(served: Served) -> None:
    """
    Without a default name, a client that sends none is refused like one that sends a wrong one.
    """
    served.certificates.set_domains(domains(CLICK), None)
    assert served.certificates.answer(None) == UNKNOWN


def test_default_not_configured(served: Served) -> None:
    """
    A default name that is not served answers nothing.
    """
    served.certificates.set_domains(domains(CLICK), OPEN)
    assert served.certificates.answer(None) == UNKNOWN


def test_served(certificates: ServedCertificates, bundle: CertificateBundle) -> None:
    """
    A certificate that was put in is served from then on, by the same context.
    """
    certificates.replace(CLICK, bundle)
    context = certificates.answer(b"click.example.com")
    assert isinstance(context, ServerContext)
    assert context is certificates.answer(b"CLICK.example.com.")
    assert context is certificates.answer(None)
    assert bundle is certificates.bundle_for(CLICK)


def test_renewed(certificates: ServedCertificates, bundle: CertificateBundle, issue: Issue) -> None:
    """
    A renewed certificate is served from the next handshake on.
    """
    certificates.replace(CLICK, bundle)
    before = certificates.answer(b"click.example.com")
    certificates.replace(CLICK, issue(CLICK.text))
    after = certificates.answer(b"click.example.com")
    assert isinstance(after, ServerContext)
    assert before is not after


def test_expired(certificates: ServedCertificates, served: Served, bundle: CertificateBundle) -> None:
    """
    An expired certificate is served rather than none.
    """
    certificates.replace(CLICK, bundle)
    served.now = bundle.not_after + timedelta(days=1)
    assert isinstance(certificates.answer(b"click.example.com"), ServerContext)


def test_default_below_a_wildcard(served: Served, bundle: CertificateBundle) -> None:
    """
    A default name that only a wildcard covers has the wildcard's answer, as the configuration allows.
    """
    certificates = served.certificates
    certificates.set_domains(domains(CLICK, OWN), HostName("a.example.org"))
    certificates.replace(OWN, bundle)
    assert isinstance(certificates.answer(None), ServerContext)


def test_own_wildcard(certificates: ServedCertificates, bundle: CertificateBundle) -> None:
    """
    An own wildcard certificate serves every name with one more label.
    """
    certificates.replace(OWN, bundle)
    assert isinstance(certificates.answer(b"a.example.org"), ServerContext)
    assert certificates.answer(b"a.b.example.org") == UNKNOWN


def test_under_a_wildcard(certificates: ServedCertificates, served: Served, bundle: CertificateBundle) -> None:
    """
    A name that only a wildcard stands for is not configured: nothing is put in for it.
    """
    certificates.replace(HostName("a.example.org"), bundle)
    certificates.fail(HostName("a.example.org"), LATER)
    assert certificates.bundle_for(HostName("a.example.org")) is None
    assert certificates.bundle_for(OWN) is None
    assert served.settled == []


def test_failing(certificates: ServedCertificates, served: Served) -> None:
    """
    A name that is known to fail is refused at once, until its next attempt.
    """
    certificates.fail(CLICK, LATER)
    assert certificates.answer(b"click.example.com") == UNAVAILABLE
    assert certificates.answer(b"open.example.com") == Hold(OPEN)
    served.now = LATER
    assert certificates.answer(b"click.example.com") == Hold(CLICK)


def test_failing_renewal(certificates: ServedCertificates, bundle: CertificateBundle) -> None:
    """
    A failure never takes away a certificate that is there.
    """
    certificates.replace(CLICK, bundle)
    certificates.fail(CLICK, LATER)
    assert isinstance(certificates.answer(b"click.example.com"), ServerContext)


def test_success_ends_failure(certificates: ServedCertificates, bundle: CertificateBundle) -> None:
    """
    After a certificate came, the failure before it counts no more, not even if that one is damaged.
    """
    certificates.fail(CLICK, LATER)
    certificates.replace(CLICK, attrs.evolve(bundle, key=b""))
    assert certificates.answer(b"click.example.com") == Hold(CLICK)


def test_want(certificates: ServedCertificates, served: Served) -> None:
    """
    A client's wait is passed on.
    """
    certificates.want(OPEN)
    assert served.wanted == [OPEN]


def test_watch(certificates: ServedCertificates, served: Served, bundle: CertificateBundle) -> None:
    """
    The watcher hears of every certificate and failure, after which it may ask again.
    """
    answers: list[object] = []
    certificates.watch(lambda name: answers.append((name, certificates.answer(name.wire))))
    certificates.fail(CLICK, LATER)
    certificates.replace(OPEN, bundle)
    assert answers == [(CLICK, UNAVAILABLE), (OPEN, certificates.answer(b"open.example.com"))]


def test_nobody_watches(served: Served, bundle: CertificateBundle) -> None:
    """
    Certificates may be put in before anybody watches.
    """
    certificates = ServedCertificates(
        domains(CLICK), None, served.contexts, lambda: START, served.wanted.append, served.on_damaged
    )
    certificates.replace(CLICK, bundle)
    assert isinstance(certificates.answer(b"click.example.com"), ServerContext)


def test_damaged(certificates: ServedCertificates, served: Served, bundle: CertificateBundle) -> None:
    """
    A certificate that can't be used is reported once and dropped, and its name waits for another.
    """
    certificates.replace(CLICK, attrs.evolve(bundle, chain=()))
    assert [certificates.answer(b"click.example.com") for _ in range(3)] == [Hold(CLICK)] * 3
    assert served.damaged == [(CLICK, "the chain is empty")]
    assert certificates.bundle_for(CLICK) is None


def test_withdrawn(certificates: ServedCertificates, served: Served, bundle: CertificateBundle) -> None:
    """
    A certificate that others found unusable is served no more; who waits hears of it, once.
    """
    certificates.replace(CLICK, bundle)
    certificates.withdraw(CLICK)
    certificates.withdraw(CLICK)
    certificates.withdraw(HostName("other.example.com"))
    assert (Hold(CLICK), [CLICK, CLICK]) == (certificates.answer(CLICK.wire), served.settled)


def test_what_is_settled_can_be_told(certificates: ServedCertificates, bundle: CertificateBundle) -> None:
    """
    To processes that serve it too.
    """
    assert ([], (None, None)) == (certificates.settled_names(), certificates.settled(CLICK))
    certificates.replace(CLICK, bundle)
    certificates.fail(OPEN, START)
    assert [CLICK, OPEN] == certificates.settled_names()
    assert ((bundle, None), (None, START)) == (certificates.settled(CLICK), certificates.settled(OPEN))
    assert certificates.settled(HostName("other.example.com")) is None


def test_damaged_own(certificates: ServedCertificates, served: Served, bundle: CertificateBundle) -> None:
    """
    An own certificate that can't be used is refused, since no other will come.
    """
    certificates.replace(OWN, attrs.evolve(bundle, key=b""))
    assert certificates.answer(b"a.example.org") == UNAVAILABLE
    assert [name for name, _ in served.damaged] == [OWN]


def test_domains_that_stay(certificates: ServedCertificates, bundle: CertificateBundle) -> None:
    """
    Over a change of the domains, those that stay keep their contexts and failures.
    """
    certificates.replace(CLICK, bundle)
    certificates.fail(OPEN, LATER)
    before = certificates.answer(b"click.example.com")
    certificates.set_domains(domains(OPEN, CLICK), OPEN)
    assert before is certificates.answer(b"click.example.com")
    assert certificates.answer(None) == UNAVAILABLE


def test_domains_that_go_and_come(certificates: ServedCertificates, served: Served, bundle: CertificateBundle) -> None:
    """
    A removed name is unknown at once, and those who wait hear of it; one that comes back starts without anything.
    """
    certificates.replace(CLICK, bundle)
    certificates.answer(b"click.example.com")
    served.settled.clear()
    certificates.set_domains(domains(OPEN, OWN), OPEN)
    assert certificates.answer(b"click.example.com") == UNKNOWN
    assert (served.settled, len(served.contexts)) == ([CLICK], 0)
    certificates.set_domains(domains(CLICK, OPEN, OWN), OPEN)
    assert certificates.answer(b"click.example.com") == Hold(CLICK)


def test_own_certificate_taken_out(certificates: ServedCertificates, bundle: CertificateBundle) -> None:
    """
    A name whose own certificate is no longer configured keeps it until one is issued, and is issued one.
    """
    own = Path("own.pem")
    certificates.set_domains([DomainConfig(CLICK, certificate=own, key=own)], None)
    assert certificates.answer(b"click.example.com") == UNAVAILABLE
    certificates.replace(CLICK, bundle)
    certificates.set_domains(domains(CLICK), None)
    assert certificates.bundle_for(CLICK) is bundle
    certificates.replace(CLICK, attrs.evolve(bundle, key=b""))
    assert certificates.answer(b"click.example.com") == Hold(CLICK)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (b"click.example.com", True),
        (b"CLICK.example.com.", True),
        (b"a.example.org", True),
        (b"open.example.com", False),
        (b"other.example.com", False),
        (b"a.b.example.org", False),
    ],
)
def test_a_host_has_a_valid_certificate_or_not(
    certificates: ServedCertificates, bundle: CertificateBundle, host: bytes, expected: bool
) -> None:
    """
    A wildcard's and an own one count.
    """
    certificates.replace(CLICK, bundle)
    certificates.replace(OWN, bundle)
    assert expected is certificates.has_valid(host)


def test_a_certificate_that_no_client_takes_is_not_valid(
    certificates: ServedCertificates, served: Served, bundle: CertificateBundle
) -> None:
    """
    One for another name, or one that has expired, is served all the same, but nobody is sent there.
    """
    certificates.replace(OPEN, bundle)
    certificates.replace(CLICK, attrs.evolve(bundle, not_after=LATER))
    assert (False, True) == (certificates.has_valid(OPEN.wire), certificates.has_valid(CLICK.wire))
    served.now = LATER + timedelta(seconds=1)
    assert not certificates.has_valid(CLICK.wire)


# Other servers'

ELSEWHERE = PassthroughConfig("backend.example", 443)


def passed(name: HostName, server: PassthroughConfig | None = ELSEWHERE) -> DomainConfig:
    """
    Give the configuration of a name that is passed through.
    """
    return DomainConfig(name, passthrough=server)


def test_passed_through(served: Served, certificates: ServedCertificates) -> None:
    """
    The answer is the server; nothing is wanted, and a certificate that comes all the same is not served.
    """
    certificates.set_domains([passed(CLICK), passed(OWN)], CLICK)
    assert [ELSEWHERE] * 3 == [certificates.answer(name) for name in (CLICK.wire, b"a.example.org", None)]
    assert (ELSEWHERE, None) == (certificates.passthrough_for(CLICK), certificates.passthrough_for(OPEN))
    assert (False, []) == (certificates.has_valid(CLICK.wire), served.wanted)


def test_a_name_becomes_another_servers(served: Served, certificates: ServedCertificates, issue: Issue) -> None:
    """
    From the next hello on, for those who wait as well; and back again, without a certificate yet.
    """
    bundle = issue(CLICK.text)
    certificates.replace(CLICK, bundle)
    served.settled.clear()
    certificates.set_domains([passed(CLICK)], None)
    certificates.replace(CLICK, bundle)
    assert (ELSEWHERE, None) == (certificates.answer(CLICK.wire), certificates.bundle_for(CLICK))
    assert CLICK in served.settled
    served.settled.clear()
    certificates.set_domains([passed(CLICK)], None)
    assert [] == served.settled
    certificates.set_domains(domains(CLICK), None)
    assert (Hold(CLICK), [CLICK]) == (certificates.answer(CLICK.wire), served.settled)

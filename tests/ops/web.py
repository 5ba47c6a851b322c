"""
Requests to a site of twisted.web in memory, and what answers at the control socket in tests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
from twisted.internet.address import UNIXAddress
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.server import Site

from sptls.certs.bundle import CertificateBundle
from sptls.certs.intake import Offer, Outcome
from sptls.errors import SptlsError
from sptls.names import HostName
from sptls.ops.status import DomainStatus, status_text
from sptls.precheck import Check

ADDRESS = UNIXAddress("/control.sock")


def bundle(name: HostName, left: timedelta = timedelta(days=89, minutes=1)) -> CertificateBundle:
    """
    Give what a status needs of a certificate that is valid for as long as is *left*.
    """
    now = datetime.now(UTC)
    return CertificateBundle(b"", (b"",), (name,), now - timedelta(days=1), now + left, "CN=R11,O=Some CA", "0a")


def valid(text: str, **more: Any) -> DomainStatus:
    """
    Give the status of a domain with which all is well.
    """
    name = HostName(text)
    renew_at = datetime.now(UTC) + timedelta(days=60, minutes=1)
    return attrs.evolve(DomainStatus(text, "valid", "https://ca.example/dir", bundle(name), renew_at=renew_at), **more)


def failing(text: str, problem: str = "the CA refused") -> DomainStatus:
    """
    Give the status of a domain that has no certificate, since orders for it fail.
    """
    until = datetime.now(UTC) + timedelta(minutes=5, seconds=30)
    return DomainStatus(text, "failing", "https://ca.example/dir", next_attempt_at=until, problem=problem)


def issuing(text: str) -> DomainStatus:
    """
    Give the status of a domain whose first order is under way.
    """
    return DomainStatus(text, "issuing", "https://ca.example/dir")


class FakeControls:
    """
    `Controls` of the domains that it is given; *on_issue* may change them.
    """

    def __init__(self, *domains: DomainStatus) -> None:
        self.known = {domain.name: domain for domain in domains}
        self.asked: list[str] = []
        self.looks = 0
        self.refusal: SptlsError | None = None
        self.on_look: Callable[[int], object] = lambda _looks: None
        self.on_issue: Callable[[str], object] = lambda _name: None
        self.configuration: dict[str, Any] = {"faults": [], "needs_restart": []}
        self.workers: list[dict[str, Any]] = []
        self.serving = True
        self.check: Check | None = None

    def status(self) -> Iterator[str]:
        """
        Give all of them.
        """
        return status_text(
            version="1.2.3",
            serving=self.serving,
            started_at=datetime(2026, 11, 24, tzinfo=UTC),
            domains=self.known.values(),
            configuration=self.configuration,
            workers=self.workers,
        )

    def domains(self, names: Iterable[HostName]) -> Iterable[DomainStatus]:
        """
        Give those of *names*.
        """
        self.looks += 1
        self.on_look(self.looks)
        return [self.known[name.text] for name in names if name.text in self.known]

    def issue(self, names: Iterable[HostName]) -> Iterable[DomainStatus]:
        """
        Note which names were asked for.
        """
        for name in names:
            self.asked.append(name.text)
            self.on_issue(name.text)
        return [self.known[name.text] for name in names if name.text in self.known]

    def renew(self, names: Iterable[HostName], *, is_at_once: bool) -> Iterable[DomainStatus]:
        """
        Note which names were asked for, those that are to be renewed at once with a mark.
        """
        for name in names:
            self.asked.append(f"{name.text}!" if is_at_once else name.text)
            self.on_issue(name.text)
        return [self.known[name.text] for name in names if name.text in self.known]

    async def examine(self, name: HostName) -> Check | None:
        """
        Give what is said to be seen.
        """
        return self.check if name.text in self.known else None

    async def revoke(self, name: HostName, reason: int) -> None:
        """
        Note what was asked for, or refuse it.
        """
        if self.refusal is not None:
            raise self.refusal
        self.asked.append(f"{name.text} {reason}")
        self.on_issue(name.text)

    async def take_over(self, offer: Offer, *, is_trial: bool) -> Outcome:
        """
        Note what was offered, and take it; of a CA that has "bad" in its name, refuse it.
        """
        self.asked.append(f"{offer.name.text} {offer.server} {is_trial}")
        return Outcome("refused", "of no good") if "bad" in offer.server else Outcome("taken", "renewal soon")


@attrs.define
class Talk:
    """
    A connection to *site* in memory.
    """

    site: Site
    transport: StringTransport = attrs.field(factory=lambda: StringTransport(peerAddress=ADDRESS))
    protocol: Any = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.protocol = self.site.buildProtocol(ADDRESS)
        self.protocol.makeConnection(self.transport)

    @property
    def producer(self) -> Any:
        """
        Give what the transport would pause.
        """
        return self.transport.producer

    def say(self, message: bytes) -> bytes:
        """
        Send *message*; give all that was answered so far.
        """
        self.protocol.dataReceived(message)
        answered: bytes = self.transport.value()
        return answered

    def end(self) -> None:
        """
        Lose the connection.
        """
        self.protocol.connectionLost(Failure(ConnectionDone()))


def ask(site: Site, method: bytes, target: bytes, body: bytes = b"") -> bytes:
    """
    Give the whole answer to one request.
    """
    head = b"%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
    talk = Talk(site)
    answer = talk.say(head % (method, target, len(body)) + body)
    talk.end()
    return answer


def content(answer: bytes) -> bytes:
    """
    Give the content of an answer, chunks joined (RFC 9112 §7.1).
    """
    head, _, rest = answer.partition(b"\r\n\r\n")
    if b"chunked" not in head.lower():
        return rest
    joined = b""
    while True:
        size, _, rest = rest.partition(b"\r\n")
        if not int(size, 16):
            return joined
        joined += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]

"""
An issuer in memory, its CA, and two responders, for the tests of what it is made of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import attrs
import pytest
from twisted.internet.defer import Deferred

from sptls.acme.issue import AcmeIssuer
from sptls.config import AcmeConfig
from sptls.errors import IssuanceFailed, SptlsError
from sptls.names import HostName
from tests.acme.fake_ca import DIRECTORY, NOW, AccountsInMemory, FakeCa, OrdersInMemory, Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from sptls.acme.jws import KeyAuthorization
    from sptls.acme.messages import Challenge
    from sptls.certs.bundle import CertificateBundle
    from sptls.interfaces import Issued
    from tests.acme.conftest import Reactor

NAME = HostName("a.test")
UNREACHABLE = {"type": "urn:ietf:params:acme:error:connection", "detail": "refused"}
CAA = {"type": "urn:ietf:params:acme:error:caa", "detail": "forbidden"}


@attrs.define
class Responder:
    """
    Answers challenges of one type in memory; *starts* may be an error or a Deferred.
    """

    challenge_type: str
    starts: Exception | Deferred[None] | None = None
    stops: Exception | None = None
    open: dict[str, str] = attrs.field(factory=dict)
    names: list[str] = attrs.field(factory=list)

    def start_responding(
        self, server_name: str, challenge: Challenge, response: KeyAuthorization
    ) -> Deferred[None] | None:
        """
        Answer.
        """
        self.names.append(server_name)
        self.open[challenge.encode("token")] = response.key_authorization
        if isinstance(self.starts, Exception):
            raise self.starts
        return self.starts

    def stop_responding(
        self, server_name: str, challenge: Challenge, response: KeyAuthorization
    ) -> Deferred[None] | None:
        """
        Answer no more.
        """
        del self.open[challenge.encode("token")]
        if self.stops:
            raise self.stops
        return None


@attrs.define
class World:
    """
    An issuer, its CA, and its two responders.
    """

    ca: FakeCa
    reactor: Reactor
    accounts: AccountsInMemory
    orders: OrdersInMemory
    tls: Responder = attrs.field(factory=lambda: Responder("tls-alpn-01"))
    http: Responder = attrs.field(factory=lambda: Responder("http-01"))
    preferred_issuer: str = ""
    issuer: AcmeIssuer = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.ca.validate = self.validate
        self.issuer = self.new_issuer()

    def new_issuer(self, config: AcmeConfig | None = None) -> AcmeIssuer:
        """
        Give an issuer as a restart would.
        """
        return AcmeIssuer(
            agent=self.ca.agent,
            reactor=cast("Any", self.reactor),
            wall_clock=lambda: NOW,
            config=config or AcmeConfig(directory=DIRECTORY, agree_to_terms=True),
            responders=[self.tls, self.http],
            accounts=self.accounts,
            orders=self.orders,
            threads=cast("Any", self.reactor),
            draw=lambda: 0.5,
            preferred_issuer=self.preferred_issuer,
        )

    def validate(self, kind: str, token: str, expected: str) -> dict[str, Any] | None:
        """
        Validate as a CA does: look at what is being answered.
        """
        responder = self.tls if kind == "tls-alpn-01" else self.http
        return None if responder.open.get(token) == expected else UNREACHABLE

    def fail_types(self, *kinds: str, error: dict[str, Any] = UNREACHABLE) -> None:
        """
        Let validation of these challenge types fail.
        """
        self.ca.validate = lambda kind, token, expected: (
            error if kind in kinds else self.validate(kind, token, expected)
        )

    def obtain(self, replaces: CertificateBundle | None = None, challenge_types: int = 2) -> Issued:
        """
        Get a certificate for a.test, and what it cost; like a store, forget the order that it came of.
        """
        issued = self.reactor.run(self.issuer.obtain(NAME, replaces=replaces, challenge_types=challenge_types))
        self.orders.records.pop(NAME, None)
        return issued

    def issue(self) -> CertificateBundle:
        """
        Get a certificate for a.test.
        """
        return self.obtain().bundle

    def restart(self) -> None:
        """
        Go on with a new issuer, as after a crash.
        """
        self.issuer = self.new_issuer()

    def arm_in_validation(self, operation: str, reply: Reply) -> None:
        """
        Answer the first *operation* with *reply* that comes once the CA has been asked to validate.
        """
        validate = self.ca.validate

        def armed(kind: str, token: str, expected: str) -> dict[str, Any] | None:
            self.ca.fail(operation, reply)
            self.ca.validate = validate
            return validate(kind, token, expected)

        self.ca.validate = armed

    def crash(self, operation: str, *, in_validation: bool = False) -> None:
        """
        Begin to get a certificate, and vanish like a process that is killed while the CA is asked for *operation*;
        with *in_validation*, not before it was asked to validate.
        """
        if in_validation:
            self.arm_in_validation(operation, Reply(hangs=True))
        else:
            self.ca.fail(operation, Reply(hangs=True))
        self.ca.hanging = False
        begun = Deferred.fromCoroutine(self.issuer.obtain(NAME))
        begun.addErrback(lambda _: None)
        self._vanish(begun, lambda: self.ca.hanging)

    def crash_in_validation(self) -> None:
        """
        Begin to get a certificate, and vanish while the CA validates, which then finds nobody who answers.
        """
        self.ca.validation_polls = 10**6
        begun = Deferred.fromCoroutine(self.issuer.obtain(NAME))
        begun.addErrback(lambda _: None)
        self._vanish(begun, lambda: bool(self.ca.being_validated))
        self.ca.validation_polls = 0
        for order in self.ca.being_validated:
            order.validation_polls = 0
            for challenge in order.challenges.values():
                if challenge["status"] == "processing":
                    challenge.update(status="invalid", error=UNREACHABLE)
            order.authorization = order.status = "invalid"

    def _vanish(self, begun: Deferred[Issued], is_moment: Callable[[], bool]) -> None:
        while not is_moment():
            self.reactor.advance(0.05)
        kept = dict(self.orders.records)
        begun.cancel()
        self.orders.records = kept
        self.ca.requests.clear()
        self.restart()

    def failure(self, replaces: CertificateBundle | None = None) -> tuple[SptlsError, int]:
        """
        Fail to get one; gives the cause and the failed authorizations, and checks that no challenge was left open.
        """
        with pytest.raises(IssuanceFailed) as raised:
            self.obtain(replaces)
        assert ({}, {}) == (self.http.open, self.tls.open)
        return raised.value.cause, raised.value.failed_authorizations


def lose_answer(world: World, operation: str) -> None:
    """
    Let the CA carry out the next *operation* and answer 502 all the same, as a broken front end would.
    """
    carry_out = getattr(world.ca, f"_{operation}")

    def lose(*arguments: Any) -> Reply:
        setattr(world.ca, f"_{operation}", carry_out)
        carry_out(*arguments)
        return Reply(502)

    setattr(world.ca, f"_{operation}", lose)

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.error import ConnectError
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent
from zope.interface import implementer

from sptls.acme import exchange
from sptls.acme.exchange import Answer, Exchanges, reason
from sptls.errors import AcmeProtocolError, AcmeUnreachable
from tests.acme.fake_ca import DIRECTORY, NOW, ORIGIN, FakeCa, Reply

if TYPE_CHECKING:
    from twisted.internet.protocol import Protocol
    from twisted.web.iweb import IResponse

    from tests.acme.conftest import Reactor

UNTIL = 100.0


@pytest.fixture
def exchanges(ca: FakeCa, reactor: Reactor) -> Exchanges:
    """
    Give what makes requests to the CA.
    """
    return Exchanges(ca.agent, reactor, lambda: NOW, "sptls/test")


def get(exchanges: Exchanges, reactor: Reactor, until: float = UNTIL) -> Answer:
    """
    Fetch the directory.
    """
    return reactor.run(exchanges.exchange("GET", "directory", DIRECTORY, None, until))


def test_gives_what_the_ca_answered(ca: FakeCa, exchanges: Exchanges, reactor: Reactor) -> None:
    """
    Status, content and the fields that ACME uses all arrive.
    """
    fields = {"Location": f"{ORIGIN}/1", "Link": "<x>;rel=index", "Retry-After": "7", "Replay-Nonce": "n"}
    ca.fail("directory", Reply(201, b"{}", "Application/JSON; charset=utf-8", fields))
    expected = Answer(201, b"{}", "application/json", f"{ORIGIN}/1", ("<x>;rel=index",), 7.0, "n")
    assert expected == get(exchanges, reactor)
    assert {"sptls/test"} == ca.user_agents


def test_a_bare_answer_is_one_too(ca: FakeCa, exchanges: Exchanges, reactor: Reactor) -> None:
    """
    Missing fields are empty.
    """
    ca.fail("directory", Reply(204, content_type=""))
    assert Answer(204, b"") == get(exchanges, reactor)


def test_redirects_are_not_followed(ca: FakeCa, exchanges: Exchanges, reactor: Reactor) -> None:
    """
    A redirect is an answer like any other.
    """
    ca.fail("directory", Reply(302, fields={"Location": f"{ORIGIN}/elsewhere"}))
    assert 302 == get(exchanges, reactor).status
    assert 1 == ca.requests.total()


def test_content_is_bounded(ca: FakeCa, exchanges: Exchanges, reactor: Reactor) -> None:
    """
    One byte over the limit ends the exchange.
    """
    ca.fail("directory", Reply(content=b"x" * exchange.MAX_CONTENT_BYTES))
    assert exchange.MAX_CONTENT_BYTES == len(get(exchanges, reactor).content)
    ca.fail("directory", Reply(content=b"x" * (exchange.MAX_CONTENT_BYTES + 1)))
    with pytest.raises(AcmeProtocolError, match="bytes"):
        get(exchanges, reactor)


@pytest.mark.parametrize(("until", "seconds"), [(UNTIL, exchange.REQUEST_SECONDS), (5.0, 5.0)])
def test_a_hanging_ca_is_given_up(
    ca: FakeCa, exchanges: Exchanges, reactor: Reactor, until: float, seconds: float
) -> None:
    """
    A request has its own deadline, and never outlives the order's.
    """
    ca.fail("directory", Reply(hangs=True))
    with pytest.raises(AcmeUnreachable, match="no answer"):
        get(exchanges, reactor, until)
    assert seconds == reactor.seconds()
    assert [] == reactor.getDelayedCalls()


def test_nothing_is_asked_after_the_deadline(ca: FakeCa, exchanges: Exchanges, reactor: Reactor) -> None:
    """
    An order whose time is over costs no request.
    """
    with pytest.raises(AcmeUnreachable, match="deadline"):
        get(exchanges, reactor, until=0.0)
    assert 0 == ca.requests.total()


def test_cancelling_is_no_failure_of_the_ca(ca: FakeCa, exchanges: Exchanges, reactor: Reactor) -> None:
    """
    A cancelled exchange ends with CancelledError, whatever Twisted's agent makes of it, and keeps no timer.
    """
    ca.fail("directory", Reply(hangs=True))
    request = Deferred.fromCoroutine(exchanges.exchange("GET", "directory", DIRECTORY, None, UNTIL))
    request.cancel()
    outcomes: list[object] = []
    request.addErrback(lambda failure: outcomes.append(failure.type))
    assert [CancelledError] == outcomes
    assert [] == reactor.getDelayedCalls()


@implementer(IAgent)
class BrokenAgent:
    """
    Fails every request with *error*.
    """

    def __init__(self, error: Exception) -> None:
        self._error = error

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: object = None,
        bodyProducer: object = None,  # noqa: N803 - Twisted's
    ) -> Deferred[IResponse]:
        """
        Fail.
        """
        return fail(self._error)


class PiecemealAgent:
    """
    Answers with its *pieces* of content, then ends with *reason*; remembers whether it was closed.
    """

    code = 200

    def __init__(self, *pieces: bytes, ends: Exception) -> None:
        self.headers, self.closed = Headers(), False
        self._pieces, self._ends = pieces, ends

    def request(self, *_: object, **__: object) -> Deferred[PiecemealAgent]:
        """
        Answer at once.
        """
        return succeed(self)

    def deliverBody(self, protocol: Protocol) -> None:  # noqa: N802 - Twisted's name
        """
        Deliver all pieces, whether or not they are still wanted.
        """
        protocol.makeConnection(self)
        for piece in self._pieces:
            protocol.dataReceived(piece)
        protocol.connectionLost(Failure(self._ends))

    def loseConnection(self) -> None:  # noqa: N802 - Twisted's name
        """
        Take note.
        """
        self.closed = True


def test_content_that_goes_on_over_the_limit_is_not_read(reactor: Reactor) -> None:
    """
    The connection is closed at the limit, and what still comes is ignored.
    """
    agent = PiecemealAgent(*[b"x" * exchange.MAX_CONTENT_BYTES] * 3, ends=ResponseDone())
    with pytest.raises(AcmeProtocolError, match="bytes"):
        get(Exchanges(cast("IAgent", agent), reactor, lambda: NOW, "sptls/test"), reactor)
    assert agent.closed


@pytest.mark.parametrize("ends", [ResponseDone(), PotentialDataLoss()])
def test_content_comes_in_pieces(reactor: Reactor, ends: Exception) -> None:
    """
    It is complete when its length says so, or the connection's end where there is none.
    """
    agent = PiecemealAgent(b"{", b"}", ends=ends)
    assert b"{}" == get(Exchanges(cast("IAgent", agent), reactor, lambda: NOW, "sptls/test"), reactor).content


def test_content_that_breaks_off_is_none(reactor: Reactor) -> None:
    """
    A connection lost in the middle is no answer.
    """
    agent = PiecemealAgent(b"{", ends=ConnectError())
    with pytest.raises(AcmeUnreachable, match="ConnectError"):
        get(Exchanges(cast("IAgent", agent), reactor, lambda: NOW, "sptls/test"), reactor)


def test_whatever_keeps_an_answer_from_coming_is_unreachable(reactor: Reactor) -> None:
    """
    A refused connection is told as such.
    """
    exchanges = Exchanges(BrokenAgent(ConnectError()), reactor, lambda: NOW, "sptls/test")
    with pytest.raises(AcmeUnreachable, match="ConnectError"):
        get(exchanges, reactor)


def test_untrusted_certificate_comes_with_what_to_do() -> None:
    """
    The first thing that goes wrong with a CA of one's own is its root.
    """
    told = reason(SSL.Error([("SSL routines", "", "certificate verify failed")]))
    assert told.startswith("TLS: certificate verify failed; ")
    assert "acme.trust" in told
    assert "ValueError: other" == reason(ValueError("other"))

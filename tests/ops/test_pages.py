"""
Tests for `sptls.ops.pages`, through twisted.web in memory and with time in the test's hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from zope.interface.verify import verifyObject

from sptls.ops.pages import (
    LEAVING_SECONDS,
    MOST_CONNECTIONS,
    SLICE_SECONDS,
    STALLED_SECONDS,
    Answer,
    LatePage,
    Page,
    Pages,
    QuietSite,
)
from tests.ops.web import Talk, ask, content
from tests.proxy.wire import logged

IDLE_SECONDS = 30
REQUEST = b"GET /page HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def _site(clock: Clock, answer: Answer) -> QuietSite:
    page = Page(clock, (b"GET", b"HEAD"), b"only reads\n", lambda _request: answer)
    return QuietSite(Pages({b"page": page}), timeout=IDLE_SECONDS, reactor=clock)


class _Late:
    """
    A page that answers what it is told to; *is_done* when it has come that far.
    """

    def __init__(self) -> None:
        self.answer: Deferred[Answer] = Deferred()
        self.is_done = False

    async def give(self, _request: object) -> Answer:
        """
        Wait for it.
        """
        answer = await self.answer
        self.is_done = True
        return answer

    def talk(self) -> Talk:
        """
        Give a connection that has asked for it.
        """
        talk = Talk(QuietSite(Pages({b"page": LatePage(self.give)}), reactor=Clock()))
        assert b"" == talk.say(REQUEST.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nContent-Length: 0\r\n\r\n"))
        return talk


@pytest.mark.parametrize("answered", [Answer(b"late\n", 202), Answer(iter(["la", "te\n"]), 202)])
def test_answer_that_takes_a_while_comes_when_it_is_there(answered: Answer) -> None:
    """
    Not before.
    """
    late = _Late()
    talk = late.talk()
    late.answer.callback(answered)
    said = talk.say(b"")
    assert (b"HTTP/1.1 202 Accepted", b"late\n") == (said.split(b"\r\n")[0], content(said))
    talk.end()


def test_what_was_begun_goes_on_when_who_asked_for_it_leaves() -> None:
    """
    Nobody is told.
    """
    late = _Late()
    talk = late.talk()
    talk.end()
    late.answer.callback(Answer(b"late"))
    assert (True, b"") == (late.is_done, talk.transport.value())


@pytest.mark.parametrize("is_gone", [False, True])
def test_fault_while_an_answer_is_awaited_is_logged_and_ends_the_connection(*, is_gone: bool) -> None:
    """
    The daemon goes on.
    """
    late = _Late()
    talk = late.talk()
    if is_gone:
        talk.end()
    with capturedLogs() as events:
        late.answer.errback(ZeroDivisionError())
    assert ["a request could not be answered"] == [event["log_format"] for event in events]
    assert is_gone or talk.transport.disconnecting or talk.transport.disconnected
    if not is_gone:
        talk.end()


def _slow(clock: Clock, count: int) -> Iterator[str]:
    """
    Give *count* pieces, each of which takes a slice of time.
    """
    for number in range(count):
        clock.rightNow += SLICE_SECONDS  # time goes by, and nobody else has a turn
        yield f"{number};"


def test_bytes_are_answered_with_their_length() -> None:
    """
    What is at hand goes out at once, never to be cached.
    """
    answer = ask(_site(Clock(), Answer(b"ok\n", 200, b"text/plain")), b"GET", b"/page")
    assert b"ok\n" == content(answer)
    for field in (b"200 OK", b"Content-Length: 3", b"Content-Type: text/plain", b"no-store"):
        assert field.lower() in answer.lower()


@pytest.mark.parametrize("answered", [Answer(b"ok\n"), Answer(iter(["pieces"]))])
def test_head_has_no_content(answered: Answer) -> None:
    """
    HEAD gives the head alone (RFC 9110 §9.3.2).
    """
    assert b"" == ask(_site(Clock(), answered), b"HEAD", b"/page").partition(b"\r\n\r\n")[2]


def test_other_methods_are_refused_with_the_reason() -> None:
    """
    405 names the methods that there are (RFC 9110 §15.5.6).
    """
    answer = ask(_site(Clock(), Answer(b"")), b"DELETE", b"/page")
    assert b"405" in answer.split(b"\r\n")[0]
    assert b"allow: get, head" in answer.lower()
    assert b"only reads\n" == content(answer)


def test_other_paths_are_not_found() -> None:
    """
    404, and no deprecated call on the way to it.
    """
    assert b"404" in ask(_site(Clock(), Answer(b"")), b"GET", b"/other").split(b"\r\n")[0]


def test_no_software_is_named() -> None:
    """
    Neither ours nor what it is made of.
    """
    for path in (b"/page", b"/other"):
        assert b"server:" not in ask(_site(Clock(), Answer(b"ok")), b"GET", path).lower()


def test_client_that_has_said_all_gets_its_answers() -> None:
    """
    ``nc -N`` ends its direction behind its requests: all of them are answered, then the connection is closed.
    """
    clock = Clock()
    talk = Talk(_site(clock, Answer(_slow(clock, 2))))
    assert verifyObject(IHalfCloseableProtocol, talk.protocol)
    said = REQUEST.replace(b"Connection: close\r\n", b"")
    assert talk.say(said + said.replace(b"/page", b"/other")).endswith(b"2\r\n0;\r\n")
    talk.protocol.readConnectionLost()
    assert not talk.transport.disconnecting
    clock.advance(0)
    assert [b"200", b"404"] == re.findall(rb"HTTP/1.1 (\d+)", talk.transport.value())
    assert talk.transport.disconnecting
    talk.protocol.writeConnectionLost()
    talk.end()
    assert [] == clock.getDelayedCalls()


@pytest.mark.parametrize("said", [b"", REQUEST[:20], REQUEST.replace(b"Connection: close\r\n", b"")])
def test_client_that_has_said_all_and_waits_for_nothing_is_closed(said: bytes) -> None:
    """
    At once.
    """
    talk = Talk(_site(Clock(), Answer(b"ok")))
    answered = talk.say(said)
    assert not talk.transport.disconnecting
    talk.protocol.readConnectionLost()
    assert (True, answered) == (talk.transport.disconnecting, talk.transport.value())
    talk.end()


def test_slow_client_has_its_time_once() -> None:
    """
    A byte now and then gives no more of it; an answer does.
    """
    clock = Clock()
    talk = Talk(_site(clock, Answer(b"ok")))
    clock.advance(IDLE_SECONDS - 1)
    talk.say(REQUEST.replace(b"Connection: close\r\n", b""))
    clock.advance(IDLE_SECONDS - 1)
    talk.say(REQUEST[:20])
    assert not talk.transport.disconnecting
    clock.advance(1)
    assert talk.transport.disconnecting
    talk.end()
    assert [] == clock.getDelayedCalls()


def test_client_that_reads_nothing_is_closed_in_any_case() -> None:
    """
    What was written waits for it no longer than a few seconds once its connection is to end.
    """
    clock = Clock()
    talk = Talk(_site(clock, Answer(b"ok")))
    talk.say(REQUEST)
    assert talk.transport.disconnecting
    clock.advance(LEAVING_SECONDS - 1)
    assert not talk.transport.disconnected
    clock.advance(1)
    assert talk.transport.disconnected
    talk.end()


def test_connections_are_bounded() -> None:
    """
    One more takes the place of the one that has not asked for longest, but of none that waits for its answer.
    """
    clock = Clock()
    pages = {
        b"page": Page(clock, (b"GET",), b"", lambda _request: Answer(_slow(clock, 2))),
        b"quick": Page(clock, (b"GET",), b"", lambda _request: Answer(b"ok")),
    }
    site = QuietSite(Pages(pages), reactor=clock)
    waiting, asked, *others = [Talk(site) for _ in range(MOST_CONNECTIONS)]
    waiting.say(REQUEST)
    asked.say(b"GET /quick HTTP/1.1\r\nHost: localhost\r\n\r\n")
    more = [Talk(site) for _ in range(len(others))]
    assert [True] * len(others) == [talk.transport.disconnected for talk in others]
    assert not asked.transport.disconnected
    more.append(Talk(site))
    assert (False, True) == (waiting.transport.disconnected, asked.transport.disconnected)
    for talk in more:
        talk.say(REQUEST)
    assert site.buildProtocol(None) is None
    more[0].end()
    more.append(Talk(site))
    for talk in (waiting, asked, *others, *more):
        talk.end()


def test_pieces_are_written_a_slice_at_a_time() -> None:
    """
    Between two slices the reactor has its turn, and the whole arrives.
    """
    clock = Clock()
    talk = Talk(_site(clock, Answer(_slow(clock, 3))))
    assert talk.say(REQUEST).endswith(b"2\r\n0;\r\n")
    clock.advance(0)
    assert b"0;1;2;" == content(talk.transport.value())
    talk.end()
    assert [] == clock.getDelayedCalls()


def test_slow_reader_is_waited_for_and_no_piece_made() -> None:
    """
    While the reader takes nothing, nothing is written for it.
    """
    clock = Clock()
    talk = Talk(_site(clock, Answer(_slow(clock, 3))))
    written = talk.say(REQUEST)
    talk.producer.pauseProducing()
    clock.advance(STALLED_SECONDS - 1)
    assert written == talk.transport.value()
    talk.producer.resumeProducing()
    clock.advance(0)
    assert b"0;1;2;" == content(talk.transport.value())
    talk.end()


def test_reader_that_takes_nothing_is_given_up() -> None:
    """
    A connection that stalls for a minute is closed.
    """
    clock = Clock()
    talk = Talk(_site(clock, Answer(_slow(clock, 3))))
    talk.say(REQUEST)
    talk.producer.pauseProducing()
    clock.advance(STALLED_SECONDS)
    assert talk.transport.disconnecting
    talk.end()


def test_reader_that_leaves_ends_the_writing() -> None:
    """
    Nothing is scheduled for a connection that is lost.
    """
    clock = Clock()
    talk = Talk(_site(clock, Answer(_slow(clock, 3))))
    talk.say(REQUEST)
    talk.producer.stopProducing()
    talk.end()
    assert [] == clock.getDelayedCalls()


def test_fault_in_the_middle_is_logged_and_the_end_is_missing() -> None:
    """
    The reader can tell that the answer is not whole: the last chunk never comes.
    """

    def broken() -> Iterator[str]:
        yield "{"
        raise RuntimeError("on purpose")

    clock = Clock()
    talk = Talk(_site(clock, Answer(broken())))
    with logged() as events:
        answer = talk.say(REQUEST)
    assert talk.transport.disconnecting
    assert not answer.endswith(b"0\r\n\r\n")
    assert ["critical"] == [level for level, _ in events]
    talk.end()
    assert [] == clock.getDelayedCalls()

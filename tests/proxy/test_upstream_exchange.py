from __future__ import annotations

from zope.interface.verify import verifyObject

from sptls.interfaces import IUpstreamExchange
from sptls.proxy.upstream_exchange import GATHERED_BYTES
from tests.proxy.upstreams import OK, UpstreamStage, lost
from tests.proxy.wire import GET, POST

ENOUGH = b"e" * (GATHERED_BYTES + 1)  # for a connection to be looked for
LENGTH = POST + b"Content-Length: %d\r\n\r\n" % (len(ENOUGH) + 3)
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


def test_provides_the_upstreams_side() -> None:
    """
    An exchange is what the client's side expects.
    """
    assert verifyObject(IUpstreamExchange, UpstreamStage().ask()[1])


def test_content_that_came_before_the_connection_goes_with_the_head() -> None:
    """
    One write for what is there.
    """
    stage = UpstreamStage()
    _, exchange = stage.ask(LENGTH)
    exchange.send_data(ENOUGH)
    _, wire = stage.accept()
    assert [LENGTH + ENOUGH] == wire.writes
    exchange.send_data(b"def")
    exchange.send_end()
    assert LENGTH + ENOUGH + b"def" == wire.value()


def test_connection_is_looked_for_when_enough_content_is_there() -> None:
    """
    Not for a client that sends a byte now and then: all of a small content, or a good part of a large one.
    """
    small, large = UpstreamStage(), UpstreamStage()
    _, exchange = small.ask(POST + b"Content-Length: 3\r\n\r\n")
    for byte in b"abc":
        exchange.send_data(bytes([byte]))
        assert [] == small.dialled
    exchange.send_end()
    _, exchange = large.ask(LENGTH)
    exchange.send_data(ENOUGH[1:])
    before = len(large.dialled)
    exchange.send_data(b"ab")
    assert (1, 0, 1) == (len(small.dialled), before, len(large.dialled))


def test_client_that_leaves_before_its_content_was_there() -> None:
    """
    No connection is looked for any more.
    """
    stage = UpstreamStage()
    _, exchange = stage.ask(LENGTH)
    exchange.abandon()
    exchange.send_data(ENOUGH)
    exchange.send_end()
    assert [] == stage.dialled


def test_content_of_unknown_length_is_chunked_again() -> None:
    """
    Framed as the head says, before and after the connection is there.
    """
    stage = UpstreamStage()
    _, exchange = stage.ask(CHUNKED)
    exchange.send_data(ENOUGH)
    _, wire = stage.accept()
    exchange.send_data(b"0123456789")
    exchange.send_end()
    exchange.send_end()
    assert CHUNKED + b"4001\r\n" + ENOUGH + b"\r\na\r\n0123456789\r\n0\r\n\r\n" == wire.value()


def test_end_before_the_connection_is_kept_too() -> None:
    """
    A whole chunked request that came in one piece leaves in one.
    """
    stage = UpstreamStage()
    _, exchange = stage.ask(CHUNKED)
    exchange.send_data(b"abc")
    exchange.send_end()
    _, wire = stage.accept()
    assert [CHUNKED + b"3\r\nabc\r\n0\r\n\r\n"] == wire.writes


def test_content_is_held_in_bounds_while_there_is_no_connection() -> None:
    """
    The client is paused meanwhile, once, and let go on with the connection.
    """
    stage = UpstreamStage()
    told, exchange = stage.ask(POST + b"Content-Length: 1000000\r\n\r\n")
    exchange.send_data(b"x" * 60000)
    assert [] == told.events
    exchange.send_data(b"x" * 60000)
    exchange.send_data(b"x" * 60000)
    assert ["pause"] == told.events
    stage.accept()
    assert ["pause", "resume"] == told.events


def test_abandoned_exchange_is_told_nothing_more() -> None:
    """
    Whatever still comes; its connection is closed, as the rest of the answer would come on it.
    """
    stage = UpstreamStage()
    told, exchange = stage.ask()
    connection, wire = stage.accept()
    exchange.abandon()
    exchange.abandon()
    assert "aborted" == wire.end
    connection.dataReceived(OK)
    lost(connection)
    exchange.send_data(b"x")
    exchange.send_end()
    exchange.pause_response()
    exchange.resume_response()
    assert [] == told.events
    assert (0, 0) == (stage.upstreams.status()[0].connections, stage.upstreams.status()[0].idle)


def test_pause_before_the_connection_is_heeded_on_it() -> None:
    """
    A client that isn't taking anything yet stays unread-for.
    """
    stage = UpstreamStage()
    _, exchange = stage.ask()
    exchange.pause_response()
    exchange.pause_response()
    _, wire = stage.accept()
    assert not wire.reading
    exchange.resume_response()
    exchange.resume_response()
    assert wire.reading


def test_request_without_content_is_complete_from_the_start() -> None:
    """
    send_end may be called or not.
    """
    stage = UpstreamStage()
    told, exchange = stage.ask()
    exchange.send_data(b"nothing of the kind was announced")
    exchange.send_end()
    connection, wire = stage.accept()
    connection.dataReceived(OK)
    assert (GET, [200, "end"]) == (wire.value(), told.events)

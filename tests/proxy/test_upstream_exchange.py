from __future__ import annotations

from zope.interface.verify import verifyObject

from sptls.interfaces import IUpstreamExchange
from sptls.proxy.upstream_exchange import GATHERED_BYTES
from sptls.proxy.upstream_http1 import LITTLE_BYTES, READ_BYTES
from tests.proxy.upstreams import OK, UpstreamStage, lost
from tests.proxy.wire import GET, POST, TlsWire, Wire

ENOUGH = b"e" * (GATHERED_BYTES + 1)  # for a connection to be looked for
LENGTH = POST + b"Content-Length: %d\r\n\r\n" % (len(ENOUGH) + 3)
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


class TcpWire(Wire):
    """
    Reads so much at a time, as Twisted's TCP does.
    """

    bufferSize = READ_BYTES  # noqa: N815 - Twisted's name


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


def test_trailers_go_behind_the_last_chunk() -> None:
    """
    Those that may, and not where the content has a length.
    """
    chunked, known = UpstreamStage(), UpstreamStage()
    _, exchange = chunked.ask(CHUNKED.replace(b"\r\n\r\n", b"\r\nConnection: x-own\r\n\r\n"))
    exchange.send_data(b"abc")
    exchange.send_trailers([(b"X-Sum", b"1"), (b"Content-Length", b"9"), (b"X-Own", b"2")])
    exchange.send_end()
    assert chunked.accept()[1].value().endswith(b"\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n")
    _, exchange = known.ask(POST + b"Content-Length: 3\r\n\r\n")
    exchange.send_data(b"abc")
    exchange.send_trailers([(b"X-Sum", b"1")])
    exchange.send_end()
    assert known.accept()[1].value().endswith(b"\r\n\r\nabc")


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


# -- what is held


def test_content_is_held_until_a_connection_takes_it() -> None:
    """
    What comes then is not.
    """
    stage = UpstreamStage()
    _, exchange = stage.ask(LENGTH)
    held = [exchange.held_bytes]
    for content in (b"a", ENOUGH):
        exchange.send_data(content)
        held.append(exchange.held_bytes)
    stage.accept()
    held.append(exchange.held_bytes)
    exchange.send_data(b"a")
    held.append(exchange.held_bytes)
    assert [0, 1, 1 + len(ENOUGH), 0, 0] == held


def test_little_is_read_at_a_time_on_every_connection_of_an_exchange() -> None:
    """
    From when that is said, until it isn't, or the exchange is over; the next one on the connection is not concerned.
    """
    stage = UpstreamStage()
    wire = TcpWire()
    told, exchange = stage.ask()
    exchange.read_little(True)
    connection, _ = stage.accept(wire=wire)
    sizes = [wire.bufferSize]
    for little in (False, True):
        exchange.read_little(little)
        sizes.append(wire.bufferSize)
    connection.dataReceived(OK)
    sizes.append(wire.bufferSize)
    stage.ask()
    sizes.append(wire.bufferSize)
    assert ([LITTLE_BYTES, READ_BYTES, LITTLE_BYTES, READ_BYTES, READ_BYTES], [200, "end"]) == (sizes, told.events)


def test_records_of_tls_are_read_whole() -> None:
    """
    A transport that reads as much as comes has nothing to be set.
    """
    stage = UpstreamStage()
    told, exchange = stage.ask()
    connection, wire = stage.accept(wire=TlsWire())
    exchange.read_little(True)
    connection.dataReceived(OK)
    assert (False, [200, "end"]) == (hasattr(wire, "bufferSize"), told.events)

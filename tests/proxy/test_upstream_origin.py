from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sptls.config import LimitsConfig
from sptls.proxy import upstream_origin
from sptls.proxy.resolver import REFRESH_SECONDS
from sptls.proxy.upstream_exchange import GATHERED_BYTES
from sptls.proxy.upstream_origin import IDLE_SECONDS
from tests.proxy.upstreams import OK, Told, UpstreamStage, lost
from tests.proxy.wire import GET, POST, Wire, logged

if TYPE_CHECKING:
    from sptls.proxy.upstream_exchange import UpstreamExchange
    from sptls.proxy.upstream_http1 import UpstreamConnection


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> UpstreamStage:
    """
    Give upstreams with room for two connections, one of them idle, and one who waits.
    """
    monkeypatch.setattr(upstream_origin, "MAX_IDLE", 1)
    return UpstreamStage(limits=LimitsConfig(head_bytes=2000, upstream_connections=2, upstream_waiting=1))


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS"])
def test_kept_connection_takes_a_repeatable_request(method: bytes) -> None:
    """
    Safe methods without content go out on a connection that is there.
    """
    stage = UpstreamStage()
    _, wire = stage.kept()
    head = GET.replace(b"GET", method)
    stage.ask(head)
    assert (head, 1) == (wire.value(), len(stage.dialled))


@pytest.mark.parametrize(
    "head",
    [
        POST + b"Content-Length: 0\r\n\r\n",
        GET.replace(b"GET", b"DELETE"),
        GET.replace(b"\r\n\r\n", b"\r\nContent-Length: 1\r\n\r\n"),
    ],
)
def test_what_may_not_be_repeated_gets_a_fresh_connection(head: bytes) -> None:
    """
    Nobody can tell whether a POST on a dying connection was acted on (one-click unsubscribe).
    """
    stage = UpstreamStage()
    _, wire = stage.kept()
    _, exchange = stage.ask(head)
    exchange.send_data(b"x")
    exchange.send_end()
    assert (b"", 2) == (wire.value(), len(stage.dialled))


def test_first_answer_on_a_connection_is_worth_remembering() -> None:
    """
    The connector hears of it once, and may make the next connection cheaper.
    """
    stage = UpstreamStage()
    connection, wire = stage.kept()
    assert [wire] == stage.remembered
    stage.ask()
    connection.dataReceived(OK)
    assert [wire] == stage.remembered


def test_fresh_connection_is_kept_afterwards() -> None:
    """
    A connection made for a POST serves the next GET.
    """
    stage = UpstreamStage()
    stage.ask(POST + b"\r\n")
    connection, wire = stage.accept()
    connection.dataReceived(OK)
    wire.taken()
    stage.ask()
    assert (GET, 1) == (wire.value(), len(stage.dialled))


def test_connection_used_last_is_used_next() -> None:
    """
    The others grow old and go.
    """
    stage = UpstreamStage()
    stage.ask()
    stage.ask()
    (first, _), (second, wire) = stage.accept(0), stage.accept(1)
    first.dataReceived(OK)
    second.dataReceived(OK)
    wire.taken()
    stage.ask()
    assert GET == wire.value()


def test_idle_connection_goes_before_the_upstream_closes_it() -> None:
    """
    What has been idle for IDLE_SECONDS is closed in good order, and takes no request while it closes.
    """
    stage = UpstreamStage()
    _, wire = stage.kept()
    stage.reactor.advance(IDLE_SECONDS - 1)
    assert "open" == wire.end
    stage.reactor.advance(2)
    assert "lost" == wire.end
    stage.ask()
    assert 2 == len(stage.dialled)


def test_reused_connection_starts_its_idle_time_anew() -> None:
    """
    A busy upstream's connection never grows idle.
    """
    stage = UpstreamStage()
    connection, wire = stage.kept()
    for _ in range(3):
        stage.reactor.advance(IDLE_SECONDS - 5)
        stage.ask()
        connection.dataReceived(OK)
    assert "open" == wire.end


def test_connections_to_a_vanished_address_go_when_idle() -> None:
    """
    A service that moved is followed: idle connections close at once, busy ones after their answer.
    """
    stage = UpstreamStage()
    stage.reactor.advance(REFRESH_SECONDS - 5)
    _, idle_wire = stage.kept()
    told, _ = stage.ask(POST + b"\r\n")
    busy, busy_wire = stage.accept()
    stage.addresses = ("192.0.2.20",)
    stage.reactor.advance(5)
    assert ("lost", "open") == (idle_wire.end, busy_wire.end)
    busy.dataReceived(OK)
    assert ([200, "end"], "lost") == (told.events, busy_wire.end)
    stage.ask()
    assert "192.0.2.20" == stage.dialled[-1]


def test_no_more_idle_connections_than_the_bound(narrow: UpstreamStage) -> None:
    """
    The oldest goes.
    """
    narrow.ask()
    narrow.ask()
    (first, first_wire), (second, second_wire) = narrow.accept(0), narrow.accept(1)
    first.dataReceived(OK)
    second.dataReceived(OK)
    assert ("lost", "open") == (first_wire.end, second_wire.end)


def test_request_waits_for_a_place_and_gets_the_next_connection(narrow: UpstreamStage) -> None:
    """
    Beyond the bound requests wait; a freed connection is theirs.
    """
    narrow.ask()
    narrow.ask()
    waiting, _ = narrow.ask()
    connection, wire = narrow.accept(0)
    wire.taken()
    connection.dataReceived(OK)
    assert (GET, 2) == (wire.value(), len(narrow.dialled))
    connection.dataReceived(OK)
    assert [200, "end"] == waiting.events


def test_waiting_post_gets_the_place_and_not_the_connection(narrow: UpstreamStage) -> None:
    """
    Also one that waited goes out on a fresh connection.
    """
    narrow.ask()
    narrow.ask()
    narrow.ask(POST + b"\r\n")
    connection, wire = narrow.accept(0)
    connection.dataReceived(OK)
    assert ("lost", 3) == (wire.end, len(narrow.dialled))


def test_place_of_a_lost_connection_goes_to_who_waits(narrow: UpstreamStage) -> None:
    """
    Nobody waits beside a free place.
    """
    narrow.ask()
    narrow.ask()
    narrow.ask()
    connection, _ = narrow.accept(0)
    lost(connection)
    assert 3 == len(narrow.dialled)
    narrow.refuse(1)
    assert 3 == len(narrow.dialled)


def test_idle_connection_makes_room_for_a_post(narrow: UpstreamStage) -> None:
    """
    An idle connection never keeps anybody waiting.
    """
    _, wire = narrow.kept()
    narrow.ask(POST + b"\r\n")
    narrow.ask(POST + b"\r\n")
    assert ("lost", 3) == (wire.end, len(narrow.dialled))


def test_too_many_who_wait_are_told(narrow: UpstreamStage) -> None:
    """
    The queue is bounded: 503 at once.
    """
    told = [narrow.ask()[0] for _ in range(4)]
    assert [[], [], [], ["failed 503"]] == [one.events for one in told]


def test_slow_uploads_leave_clicks_their_half(narrow: UpstreamStage) -> None:
    """
    Of two connections one is for content that is still coming; over that it is refused, and a click is not.
    """
    head = POST + b"Content-Length: %d\r\n\r\n" % (GATHERED_BYTES + 2)
    uploads = [narrow.ask(head) for _ in range(2)]
    for _, exchange in uploads:
        exchange.send_data(b"x" * (GATHERED_BYTES + 1))
    narrow.ask()
    assert ([[], ["failed 503"]], 2) == ([told.events for told, _ in uploads], len(narrow.dialled))
    uploads[0][1].send_data(b"x")
    uploads[0][1].send_end()
    told, exchange = narrow.ask(head)
    exchange.send_data(b"x" * (GATHERED_BYTES + 1))
    assert [] == told.events


LARGE = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegin"


def _held_up(stage: UpstreamStage) -> tuple[Told, UpstreamExchange, UpstreamConnection, Wire]:
    """
    Give an exchange whose client takes nothing of its answer.
    """
    told, exchange = stage.ask()
    connection, wire = stage.accept()
    connection.dataReceived(LARGE)
    exchange.pause_response()
    return told, exchange, connection, wire


def _eight() -> UpstreamStage:
    """
    Give upstreams with room for eight connections, two of them for slow readers.
    """
    return UpstreamStage(limits=LimitsConfig(head_bytes=2000, upstream_connections=8, upstream_waiting=1))


def test_slow_readers_have_every_connection_that_nobody_waits_for() -> None:
    """
    A large answer on a slow line is nobody's loss then.
    """
    stage = _eight()
    readers = [_held_up(stage) for _ in range(8)]
    assert [[200]] * 8 == [told.events for told, *_ in readers]


def test_slow_readers_make_room_for_others() -> None:
    """
    Whoever has been held up for longest goes first; no fault of the upstream's is seen in it.
    """
    stage = _eight()
    with logged() as events:
        (told, exchange, _, wire), *others = [_held_up(stage) for _ in range(8)]
        exchange.resume_response()
        exchange.pause_response()
        stage.ask()
    assert ([200], "open") == (told.events, wire.end)
    assert [[200, "failed 503"], *[[200]] * 6] == [told.events for told, *_ in others]
    assert ("aborted", 9, 1, []) == (others[0][3].end, len(stage.dialled), stage.counters.slow_readers, events)


def test_reader_at_a_pace_is_not_who_makes_room() -> None:
    """
    Also when it has been held up for longest: its client takes what it has, the others' don't.
    """
    stage = _eight()
    readers = [_held_up(stage)[0] for _ in range(8)]
    for told, seconds in zip(readers, (0.1, 5.0, 9.0, 9.0, 5.0, 5.0, 5.0, 5.0), strict=True):
        told.seconds_left = seconds
    stage.ask()
    assert [["failed 503"] if at == 2 else [] for at in range(8)] == [told.events[1:] for told in readers]


def test_slow_readers_keep_their_share() -> None:
    """
    Who waits then waits for the others, and not for ever.
    """
    stage = _eight()
    readers = [_held_up(stage) for _ in range(2)]
    for _ in range(6):
        stage.ask()
        stage.accept()
    waiting, _ = stage.ask()
    assert ([[200]] * 2, []) == ([told.events for told, *_ in readers], waiting.events)
    refused, _ = stage.ask()
    assert ["failed 503"] == refused.events


def test_reader_that_becomes_slow_while_others_wait_makes_room() -> None:
    """
    Its own share is taken already: the oldest of them is ended, and its place goes to who waits.
    """
    stage = _eight()
    (told, _, connection, _), _ = [_held_up(stage) for _ in range(2)]
    going = [(stage.ask(), stage.accept()) for _ in range(6)]
    waiting, _ = stage.ask()
    going[0][1][0].dataReceived(LARGE)
    going[0][0][1].pause_response()
    assert [200, "failed 503"] == told.events
    lost(connection)
    fresh, _ = stage.accept()
    fresh.dataReceived(OK)
    assert [200, "end"] == waiting.events


def test_reader_that_is_done_is_slow_no_more() -> None:
    """
    Nor is one that left, nor the next one on the same connection.
    """
    stage = _eight()
    (_, _, connection, _), (_, left, _, _), *others = [_held_up(stage) for _ in range(4)]
    connection.dataReceived(b"x" * 95)
    left.abandon()
    others[0][1].resume_response()
    going = [stage.ask() for _ in range(7)]
    assert ([200], [200], 0) == (others[0][0].events, others[1][0].events, stage.counters.slow_readers)
    assert [[]] * 7 == [told.events for told, _ in going]


def test_request_whose_client_takes_nothing_yet_counts_too() -> None:
    """
    It gets its connection, and the answer waits on it.
    """
    stage = _eight()
    for _ in range(8):
        _, exchange = stage.ask()
        exchange.pause_response()
        stage.accept()
    stage.ask()
    assert (1, 9) == (stage.counters.slow_readers, len(stage.dialled))


def test_waiting_is_bounded_in_time(narrow: UpstreamStage) -> None:
    """
    Who waits too long is told: 503.
    """
    narrow.ask()
    narrow.ask()
    for at in (0, 1):
        narrow.accept(at)
    told, _ = narrow.ask()
    narrow.reactor.advance(narrow.limits.upstream_connect_seconds + 1)
    assert ["failed 503"] == told.events


def test_who_waits_may_leave(narrow: UpstreamStage) -> None:
    """
    A client that left isn't connected for.
    """
    narrow.ask()
    narrow.ask()
    told, exchange = narrow.ask()
    exchange.abandon()
    lost(narrow.accept(0)[0])
    assert ([], 2) == (told.events, len(narrow.dialled))


def test_who_waits_is_told_of_the_end(narrow: UpstreamStage) -> None:
    """
    Stopping leaves nobody waiting.
    """
    narrow.ask()
    narrow.ask()
    told, _ = narrow.ask()
    for origin in narrow.upstreams._origins.values():
        origin.stop()
    assert ["failed 503"] == told.events


def test_trouble_is_logged_when_it_begins_and_ends() -> None:
    """
    One line for a refusing upstream, one when it answers again, however many requests there were.
    """
    stage = UpstreamStage()
    with logged() as events:
        for _ in range(20):
            assert ["failed 502"] == _refused(stage)
        assert ["error"] == [level for level, _ in events]
        stage.reactor.advance(20)
        stage.kept()
        stage.ask()
    assert [
        "the upstream http://spgo.test fails: no connection to 192.0.2.10: Connection refused (1 in a row)",
        "the upstream http://spgo.test answers again, after 20 failures in 20 s",
    ] == [text for _, text in events]


def _refused(stage: UpstreamStage) -> list[str | int]:
    told, _ = stage.ask()
    stage.refuse()
    return told.events

from __future__ import annotations

from twisted.internet.defer import Deferred

from sptls.config import UpstreamConfig
from sptls.names import HostName, NameTable
from sptls.proxy.gateway import SHORTLY_SECONDS
from sptls.proxy.route import Site
from tests.proxy.wire import GET, OK, SITE, Stage, logged, lost


def test_date_is_now() -> None:
    """
    Our own answers are dated to the second.
    """
    stage = Stage()
    assert b"Thu, 22 Oct 2020 19:59:44 GMT" == stage.gateway.date()
    stage.clock.advance(1)
    assert b"Thu, 22 Oct 2020 19:59:45 GMT" == stage.gateway.date()


def test_sites_change_for_open_connections_too() -> None:
    """
    A reload counts from the next request on.
    """
    stage = Stage()
    connection, wire = stage.connect()
    added = Site(HostName("new.example.com"), UpstreamConfig())
    stage.gateway.sites = NameTable([(SITE.name, SITE), (added.name, SITE)])
    connection.dataReceived(GET.replace(b"click", b"new"))
    assert (1, b"") == (len(stage.exchanges), wire.value())


def test_finish_waits_for_the_last_exchange() -> None:
    """
    The end comes when every client has its answer and is gone.
    """
    stage = Stage()
    (idle, _), (busy, _) = stage.connect(), stage.connect()
    busy.dataReceived(GET)
    finished = Deferred.fromCoroutine(stage.gateway.finish())
    lost(idle)
    assert not finished.called
    stage.exchanges[0].answer(OK, b"ok")
    lost(busy)
    assert finished.called


def test_finish_with_nobody_there_is_over_at_once() -> None:
    """
    Nothing is waited for in vain, and a latecomer is served one request.
    """
    stage = Stage()
    assert Deferred.fromCoroutine(stage.gateway.finish()).called
    connection, wire = stage.connect()
    connection.dataReceived(GET)
    stage.exchanges[0].answer(OK, b"ok")
    assert "lost" == wire.end


def test_waiting_for_the_end_can_be_cut_short() -> None:
    """
    Who waits may cancel and abort what is left.
    """
    stage = Stage()
    connection, wire = stage.connect()
    connection.dataReceived(GET)
    finished = Deferred.fromCoroutine(stage.gateway.finish())
    finished.addErrback(lambda _: None)
    finished.cancel()
    stage.gateway.abort()
    assert "aborted" == wire.end
    lost(connection)


def test_flushes_of_one_turn_are_done_together() -> None:
    """
    Each once, after this turn, whatever becomes of the others.
    """
    stage = Stage()
    done = []

    def fail() -> None:
        raise RuntimeError

    with logged() as events:
        for flush in (lambda: done.append("a"), fail, lambda: done.append("b")):
            stage.gateway.soon(flush)
        assert [] == done
        stage.clock.advance(0)
    assert (["a", "b"], ["critical"]) == (done, [level for level, _ in events])
    stage.gateway.soon(lambda: done.append("c"))
    stage.clock.advance(0)
    assert ["a", "b", "c"] == done


def test_flush_shortly_waits_for_a_short_time() -> None:
    """
    Half of it at least, and for what is there to be read then; whoever asks meanwhile has a time of its own.
    """
    stage = Stage()
    done = []
    stage.gateway.shortly(lambda: done.append("a"))
    stage.clock.advance(SHORTLY_SECONDS / 2)
    stage.gateway.shortly(lambda: done.append("b"))
    assert [] == done
    stage.clock.advance(SHORTLY_SECONDS / 2)
    assert ["a"] == done
    stage.clock.advance(SHORTLY_SECONDS / 2)
    assert ["a", "b"] == done
    stage.gateway.shortly(lambda: done.append("c"))
    stage.clock.pump([SHORTLY_SECONDS / 2] * 2)
    assert ["a", "b", "c"] == done

from __future__ import annotations

import pytest
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from tests.proxy.upstreams import OK, UpstreamStage, lost
from tests.proxy.wire import GET, logged

BOTH = ("2001:db8::1", "192.0.2.10")


def test_next_address_is_tried_when_one_refuses() -> None:
    """
    IPv6 that isn't there costs nothing but a refusal.
    """
    stage = UpstreamStage(addresses=BOTH)
    told, _ = stage.ask()
    stage.refuse()
    connection, wire = stage.accept()
    connection.dataReceived(OK)
    assert (list(BOTH), GET, [200, "end"]) == (stage.dialled, wire.value(), told.events)


def test_silent_address_costs_its_share_of_the_time() -> None:
    """
    With two addresses each has half of upstream_connect_seconds.
    """
    stage = UpstreamStage(addresses=BOTH)
    told, _ = stage.ask()
    stage.reactor.advance(2.6)
    assert list(BOTH) == stage.dialled
    stage.reactor.advance(2.6)
    assert ["failed 504"] == told.events


def test_failed_address_is_tried_last_for_a_while() -> None:
    """
    Only one request pays for a dead address, until it is given another chance.
    """
    stage = UpstreamStage(addresses=BOTH)
    stage.ask()
    stage.refuse()
    stage.accept()
    stage.ask()
    assert "192.0.2.10" == stage.dialled[-1]
    stage.reactor.advance(31)
    stage.ask()
    assert "2001:db8::1" == stage.dialled[-1]


def test_so_many_addresses_are_tried() -> None:
    """
    A name with forty addresses doesn't leave each a tenth of a second.
    """
    stage = UpstreamStage(addresses=tuple(f"192.0.2.{at}" for at in range(40)))
    told, _ = stage.ask()
    for _ in range(4):
        assert [] == told.events
        stage.refuse()
    assert (["failed 502"], 4) == (told.events, len(stage.dialled))


def test_name_without_address_is_a_bad_gateway() -> None:
    """
    DNS that never worked is told from an upstream that refuses, in the log.
    """
    stage = UpstreamStage()
    stage.addresses = OSError("no such host")
    told, _ = stage.ask()
    assert (["failed 502"], "the upstream's name can't be resolved") == (told.events, told.failure)


def test_connection_that_is_lost_before_it_can_be_used_is_no_connection() -> None:
    """
    The next address is tried then, too.
    """
    stage = UpstreamStage(addresses=BOTH)
    stage.ask()
    attempt = stage.reactor.tcpClients[-1][2]
    attempt.clientConnectionFailed(stage.reactor.connectors[-1], Failure(ConnectionLost()))
    assert list(BOTH) == stage.dialled


@pytest.mark.parametrize("accepted", [False, True])
def test_client_that_leaves_ends_the_dialling(accepted: bool) -> None:
    """
    What is half open is closed, and what comes of it later is no matter.
    """
    stage = UpstreamStage()
    told, exchange = stage.ask()
    if accepted:
        connection, wire = stage.accept()
        exchange.abandon()
        assert "aborted" == wire.end
        lost(connection)
    else:
        exchange.abandon()
        stage.refuse()
    stage.reactor.advance(60)
    assert [] == told.events


def test_slow_look_up_is_within_the_time() -> None:
    """
    A hanging DNS at the first request is 504 in time, not a hanging client.
    """
    stage = UpstreamStage()
    stage.hang()
    told, _ = stage.ask()
    stage.reactor.advance(stage.limits.upstream_connect_seconds)
    assert ["failed 504"] == told.events


def test_fault_of_our_own_ends_the_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Whatever goes wrong while dialling, the client gets its answer.
    """
    stage = UpstreamStage()
    monkeypatch.setattr(stage.reactor, "connectTCP", None)
    with logged() as events:
        told, _ = stage.ask()
    assert (["failed 502"], ["critical", "error"]) == (told.events, [level for level, _ in events])

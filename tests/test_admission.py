from __future__ import annotations

from twisted.internet.task import Clock

from sptls.address_limits import QUIET_SECONDS
from sptls.admission import Admission
from sptls.config import LimitsConfig
from sptls.shared_counts import SECRET_BYTES, Layout, SharedCounts
from tests.proxy.wire import logged

HOST = "192.0.2.1"


def test_all_may_stay_where_nothing_is_limited() -> None:
    """
    Then there is nobody to ask; handshakes are no concern of a port that has none.
    """
    clock = Clock()
    assert Admission.for_tls(LimitsConfig(), clock.seconds) is None
    assert Admission.for_plain(LimitsConfig(handshakes_per_address=1), clock.seconds) is None
    assert Admission.for_tls(LimitsConfig(handshakes_per_address=1), clock.seconds) is not None


def test_a_place_is_free_again_when_its_connection_is_closed() -> None:
    """
    Each connection gets what gives its own place back.
    """
    admission = Admission.for_plain(LimitsConfig(connections_per_address=1), Clock().seconds)
    assert admission is not None
    leave = admission.enter(HOST)
    assert (None, True) == (admission.enter(HOST), leave is not None)
    assert leave is not None
    leave()
    assert admission.enter(HOST) is not None


def test_processes_that_count_together_have_one_limit() -> None:
    """
    On each port by itself.
    """
    layout = Layout.of(2, 10, are_counted=True, have_rates=True)
    memory = bytearray(layout.size)
    header = layout.header(bytes(SECRET_BYTES))
    memory[: len(header)] = header
    one, other = (SharedCounts(memory, slab) for slab in range(2))
    limits, seconds = LimitsConfig(connections_per_address=1), Clock().seconds
    each = [
        Admission.for_tls(limits, seconds, one),
        Admission.for_tls(limits, seconds, other),
        Admission.for_plain(limits, seconds, other),
    ]
    entered = [admission.enter(HOST) for admission in each if admission is not None]
    assert [True, False, True] == [leave is not None for leave in entered]
    assert Admission.for_tls(LimitsConfig(), seconds, one) is None


def test_one_line_for_each_episode() -> None:
    """
    However many are refused; and again after a quiet minute.
    """
    clock = Clock()
    admission = Admission.for_tls(LimitsConfig(connections_per_address=1), clock.seconds)
    assert admission is not None
    admission.enter(HOST)
    with logged() as events:
        for _ in range(100):
            admission.enter(HOST)
        clock.advance(QUIET_SECONDS)
        admission.enter(HOST)
    line = (
        "192.0.2.1 has 1 connections open, which is what limits.connections_per_address allows; its further "
        "connections are closed at once, and counted in /status (over_address_limit)"
    )
    assert [("warn", line)] * 2 == events

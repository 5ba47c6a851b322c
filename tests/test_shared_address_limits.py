"""
The limits of an address over several processes, whose steps are laid between each other's here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sptls.address_limits import BURST_SECONDS, Admitted, Refused, place_of
from sptls.shared_address_limits import SharedAddressLimits
from sptls.shared_counts import BUCKET_KEYS, SECRET_BYTES, Layout, SharedCounts

HOST = "192.0.2.1"
RATE = 2
BURST = int(RATE * BURST_SECONDS)
SMALL = st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"])
WORKERS = 3
LAYOUT = Layout.of(WORKERS, 10, are_counted=True, have_rates=True)


class Memory(bytearray):
    """
    A block in which another process may do something whenever one has looked.
    """

    meanwhile: Callable[[], object] | None = None

    def __getitem__(self, at: Any) -> Any:
        """
        Give what is there, and let the others have their turn behind it.
        """
        found = super().__getitem__(at)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return found


def block() -> Memory:
    """
    Give an empty block.
    """
    memory = Memory(LAYOUT.size)
    header = LAYOUT.header(bytes(SECRET_BYTES))
    memory[: len(header)] = header
    return memory


def limits_of(memory: Memory, connections: int, handshakes: int = 0, port: str = "https") -> list[SharedAddressLimits]:
    """
    Give those of each worker.
    """
    return [SharedAddressLimits(connections, handshakes, port, SharedCounts(memory, slab)) for slab in range(WORKERS)]


def _is_admitted(limits: SharedAddressLimits, host: str, now: float = 1000.0) -> bool:
    return isinstance(limits.admit(host, now), Admitted)


def test_address_has_what_is_configured_once() -> None:
    """
    Whichever workers its connections reach; each port by itself, other addresses too.
    """
    memory = block()
    one, other, third = limits_of(memory, 2)
    assert [True, True] == [_is_admitted(one, HOST), _is_admitted(other, HOST)]
    assert Refused(HOST, "connections_per_address", 2, is_news=True) == third.admit(HOST, 1000)
    assert (False, True) == (_is_admitted(one, HOST), _is_admitted(one, "192.0.2.2"))
    assert _is_admitted(limits_of(memory, 2, port="http")[0], HOST)
    other.left(HOST)
    assert (True, False) == (_is_admitted(third, HOST), _is_admitted(other, HOST))


@given(st.lists(st.tuples(st.integers(0, WORKERS - 1), SMALL, st.booleans())), st.integers(1, 3))
def test_open_connections_are_counted_right(steps: list[tuple[int, str, bool]], most: int) -> None:
    """
    Whoever comes where and leaves: as many are in as a plain count says.
    """
    each, model = limits_of(block(), most), Counter[tuple[int, str | int]]()
    for worker, host, comes in steps:
        place = place_of(host)
        if comes:
            total = sum(model[at, place] for at in range(WORKERS))
            admitted = _is_admitted(each[worker], host)
            assert admitted == (total < most)
            model[worker, place] += admitted
        elif model[worker, place]:
            each[worker].left(place)
            model[worker, place] -= 1


@given(
    st.lists(st.tuples(st.integers(0, WORKERS - 1), st.booleans(), st.integers(0, WORKERS - 1)), max_size=30),
    st.integers(1, 4),
)
def test_never_more_are_open_however_they_race(steps: list[tuple[int, bool, int]], most: int) -> None:
    """
    A worker that has looked may be overtaken by another. Both may be refused; who comes next finds what is free.
    """
    memory = block()
    each, admitted = limits_of(memory, most), list[bool]()

    def come(worker: int) -> None:
        admitted.append(_is_admitted(each[worker], HOST))

    for worker, is_race, racer in steps:
        if is_race and racer != worker:
            memory.meanwhile = lambda racer=racer: come(racer)
        come(worker)
        memory.meanwhile = None
    assert sum(admitted) <= most
    assert (sum(admitted) < most) == _is_admitted(each[0], HOST)


def test_handshakes_are_limited_by_one_rate() -> None:
    """
    Ten seconds' worth may come at once, then so many a second, whichever workers they reach.
    """
    each = limits_of(block(), 0, RATE)
    assert BURST == sum(_is_admitted(each[at % WORKERS], HOST, 100) for at in range(BURST + 5))
    assert Refused(HOST, "handshakes_per_address", RATE, is_news=False) == each[2].admit(HOST, 100.25)
    assert RATE == sum(_is_admitted(each[at % WORKERS], HOST, 101) for at in range(BURST))
    assert BURST == sum(_is_admitted(each[1], HOST, 101 + BURST_SECONDS) for _ in range(BURST + 5))
    assert BURST == sum(_is_admitted(each[at % 2], HOST, 1000) for at in range(BURST + 5))
    assert _is_admitted(each[0], "192.0.2.2", 1000)


def test_what_is_refused_costs_no_place() -> None:
    """
    Who makes too many handshakes is not open.
    """
    one, other, _ = limits_of(block(), BURST + 1, RATE)
    assert BURST == sum(_is_admitted(one, HOST) for _ in range(10 * BURST))
    assert _is_admitted(other, HOST, 1000.5)
    assert "connections_per_address" == getattr(other.admit(HOST, 1005), "key", None)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, WORKERS - 1), st.integers(0, 2 * WORKERS)), max_size=60),
    st.integers(1, 3),
)
def test_the_rate_holds_in_every_stretch_of_time(steps: list[tuple[float, int, int]], rate: int) -> None:
    """
    However clients are spaced, and workers race: never more than the rate and the burst, and one for each further
    worker; who keeps to the rate is never refused.
    """
    memory, admitted = block(), list[float]()
    each, now = limits_of(memory, 0, rate), 1000.0

    def come(worker: int) -> bool:
        is_admitted = _is_admitted(each[worker], HOST, now)
        admitted.extend([now] * is_admitted)
        return is_admitted

    for pause, worker, racer in steps:
        now += pause
        if racer < WORKERS and racer != worker:
            memory.meanwhile = lambda racer=racer: come(racer)
        is_admitted = come(worker)
        memory.meanwhile = None
        recent = [time for time in admitted if time >= now - BURST_SECONDS]
        assert is_admitted or len(recent) >= rate * BURST_SECONDS - 1
    for index, begin in enumerate(admitted):
        for count, end in enumerate(admitted[index:], 1):
            assert count <= rate * (end - begin + BURST_SECONDS) + WORKERS - 1 + 1e-6


def test_two_that_decide_at_the_same_moment_both_count() -> None:
    """
    The second look finds the other claim.
    """
    memory = block()
    one, other, _ = limits_of(memory, 0, RATE)
    for _ in range(BURST // 2):
        memory.meanwhile = lambda: other.admit(HOST, 100)
        assert _is_admitted(one, HOST, 100)
    assert not _is_admitted(other, HOST, 100)


def test_address_that_finds_no_room_is_let_in_and_not_counted() -> None:
    """
    It does not happen; if it did, a limit for attackers must not shut out others.
    """
    memory = block()
    limits, counts = limits_of(memory, 1)[0], SharedCounts(memory, 0)
    for number in range(10 * BUCKET_KEYS * LAYOUT.open_buckets):
        slot = counts.open.slot(counts.key(f"filler {number}"))
        if slot is not None:
            counts.open.add(slot, 1)
    assert [True, True] == [_is_admitted(limits, HOST), _is_admitted(limits, HOST)]
    limits.left(HOST)

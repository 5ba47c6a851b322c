"""
The limits of an address over several processes, whose steps are laid between each other's here.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sptls.address_limits import BURST_SECONDS, Refused, not_counted, place_of
from sptls.shared_address_limits import KEPT_ENTRIES, SharedAddressLimits
from sptls.shared_counts import SECRET_BYTES, Layout, SharedCounts

HOST = "192.0.2.1"
RATE = 2
BURST = int(RATE * BURST_SECONDS)
SMALL = st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"])
WORKERS = 3
LAYOUT = Layout.of(WORKERS, 10, are_counted=True, have_rates=True)
# A claim is written after more steps than these, however little there is to be read before.
BEFORE_CLAIM = 3


class Memory(bytearray):
    """
    A block in which another process may do something *meanwhile*: behind the step at which *steps* has come to 0.
    """

    meanwhile: Callable[[], object] | None = None
    steps = 1

    def step(self) -> None:
        """
        Let the others have their turn, if it is time.
        """
        self.steps -= 1
        if not self.steps and self.meanwhile is not None:
            meanwhile, self.meanwhile = self.meanwhile, None
            meanwhile()

    def __getitem__(self, at: Any) -> Any:
        """
        Give what is there; that was a step.
        """
        found = super().__getitem__(at)
        self.step()
        return found


class Numbers:
    """
    The *numbers* of a block *memory*, of which each that is read or written is a step.
    """

    def __init__(self, numbers: Any, memory: Memory) -> None:
        self._numbers, self._memory = numbers, memory

    def __getitem__(self, at: Any) -> Any:
        """
        Give what is there.
        """
        found = self._numbers[at]
        self._memory.step()
        return found

    def __setitem__(self, at: Any, number: float) -> None:
        """
        Have *number* there.
        """
        self._numbers[at] = number
        self._memory.step()


def block() -> Memory:
    """
    Give an empty block.
    """
    memory = Memory(LAYOUT.size)
    header = LAYOUT.header(bytes(SECRET_BYTES))
    memory[: len(header)] = header
    return memory


def view(memory: Memory, slab: int) -> SharedCounts:
    """
    Give what the owner of *slab* has, step by step.
    """
    counts: Any = SharedCounts(memory, slab)
    counts.open, counts.times = Numbers(counts.open, memory), Numbers(counts.times, memory)
    made: SharedCounts = counts
    return made


def limits_of(memory: Memory, connections: int, handshakes: int = 0, port: str = "https") -> list[SharedAddressLimits]:
    """
    Give those of each worker.
    """
    return [SharedAddressLimits(connections, handshakes, port, view(memory, slab)) for slab in range(WORKERS)]


def _is_admitted(limits: SharedAddressLimits, host: str, now: float = 1000.0) -> bool:
    return not isinstance(limits.admit(host, now), Refused)


def test_address_has_what_is_configured_once() -> None:
    """
    Whichever workers its connections reach; each port by itself, other addresses too.
    """
    memory = block()
    one, other, third = limits_of(memory, 2)
    leave = other.admit(HOST, 1000)
    assert [True, False] == [_is_admitted(one, HOST), isinstance(leave, Refused)]
    assert not isinstance(leave, Refused)
    assert Refused(HOST, "connections_per_address", 2, is_news=True) == third.admit(HOST, 1000)
    assert (False, True) == (_is_admitted(one, HOST), _is_admitted(one, "192.0.2.2"))
    assert _is_admitted(limits_of(memory, 2, port="http")[0], HOST)
    leave()
    assert (True, False) == (_is_admitted(third, HOST), _is_admitted(other, HOST))


@given(st.lists(st.tuples(st.integers(0, WORKERS - 1), SMALL, st.booleans())), st.integers(1, 3))
def test_open_connections_are_counted_right(steps: list[tuple[int, str, bool]], most: int) -> None:
    """
    Whoever comes where and leaves: as many are in as a plain count says.
    """
    each, inside = limits_of(block(), most), defaultdict[tuple[int, str | int], list[Callable[[], None]]](list)
    for worker, host, comes in steps:
        place = place_of(host)
        leaving = inside[worker, place]
        if comes:
            total = sum(len(inside[at, place]) for at in range(WORKERS))
            answer = each[worker].admit(host, 1000)
            assert isinstance(answer, Refused) == (total == most)
            if not isinstance(answer, Refused):
                leaving.append(answer)
        elif leaving:
            leaving.pop()()


@given(
    st.lists(st.tuples(st.integers(0, WORKERS - 1), st.integers(0, 20), st.integers(0, WORKERS - 1)), max_size=30),
    st.integers(1, 4),
    st.sampled_from([0, 1000]),
)
def test_never_more_are_open_however_they_race(steps: list[tuple[int, int, int]], most: int, rate: int) -> None:
    """
    Behind each step of a worker it may be overtaken by another. Both may be refused; who comes next finds what is free.
    """
    memory = block()
    each, admitted = limits_of(memory, most, rate), list[bool]()

    def come(worker: int) -> None:
        admitted.append(_is_admitted(each[worker], HOST))

    for worker, behind, racer in steps:
        if behind and racer != worker:
            memory.meanwhile, memory.steps = lambda racer=racer: come(racer), behind
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
    st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, WORKERS - 1), st.integers(0, 2 * WORKERS), st.integers(1, 20)),
        max_size=60,
    ),
    st.integers(1, 3),
)
def test_the_rate_holds_in_every_stretch_of_time(steps: list[tuple[float, int, int, int]], rate: int) -> None:
    """
    However clients are spaced, and workers race: never more than the rate and the burst, and one for each further
    worker. Who keeps to the rate is never refused, unless a claim was met that knew of ours and stands behind it.
    """
    memory, admitted, may_be_late = block(), list[float](), False
    each, now = limits_of(memory, 0, rate), 1000.0

    def come(worker: int) -> bool:
        is_admitted = _is_admitted(each[worker], HOST, now)
        admitted.extend([now] * is_admitted)
        return is_admitted

    for pause, worker, racer, behind in steps:
        now += pause
        if racer < WORKERS and racer != worker:
            memory.meanwhile, memory.steps = lambda racer=racer: come(racer), behind
            may_be_late = may_be_late or behind > BEFORE_CLAIM
        is_admitted = come(worker)
        memory.meanwhile = None
        recent = [time for time in admitted if time >= now - BURST_SECONDS]
        assert is_admitted or may_be_late or len(recent) >= rate * BURST_SECONDS - 1
    for index, begin in enumerate(admitted):
        for count, end in enumerate(admitted[index:], 1):
            assert count <= rate * (end - begin + BURST_SECONDS) + WORKERS - 1 + 1e-6


def test_two_that_decide_at_the_same_moment_both_count() -> None:
    """
    The second look finds the other claim.
    """
    memory = block()
    one, other, _ = limits_of(memory, 0, RATE)
    assert [True, True] == [_is_admitted(one, HOST, 1), _is_admitted(other, HOST, 1)]
    for _ in range(BURST // 2):
        memory.meanwhile, memory.steps = lambda: other.admit(HOST, 100), BEFORE_CLAIM + 1
        assert _is_admitted(one, HOST, 100)
        assert memory.meanwhile is None
    assert not _is_admitted(other, HOST, 100)


def test_claim_of_who_was_not_known_at_the_first_look_counts() -> None:
    """
    The second look is for all keys again.
    """
    memory = block()
    one, other, _ = limits_of(memory, 0, RATE)
    assert _is_admitted(one, HOST, 1)
    memory.meanwhile, memory.steps = lambda: other.admit(HOST, 100), 2
    assert BURST - 1 == sum(_is_admitted(one, HOST, 100) for _ in range(2 * BURST))
    assert memory.meanwhile is None


def test_address_that_finds_no_room_is_let_in_and_not_counted() -> None:
    """
    It does not happen; if it did, a limit for attackers must not shut out others.
    """
    memory = block()
    limits, counts = limits_of(memory, 1, RATE)[0], SharedCounts(memory, 0)
    counts.open[: LAYOUT.slab_slots] = memoryview(bytearray(b"\1\0\0\0" * LAYOUT.slab_slots)).cast("I")
    assert [not_counted] * (BURST + 1) == [limits.admit(HOST, 1000) for _ in range(BURST + 1)]
    not_counted()
    assert {1} == set(counts.open[: LAYOUT.slab_slots])


def test_connections_stay_counted_when_their_entries_are_forgotten() -> None:
    """
    Those of some hundreds of addresses are kept; who is not among them is known all the same.
    """
    one, other, _ = limits_of(block(), 2)
    leaves = [one.admit(HOST, 1000), one.admit(HOST, 1000)]
    for number in range(2 * KEPT_ENTRIES):
        assert _is_admitted(one, f"192.0.{number // 250}.{number % 250 + 2}")
    assert len(one) <= KEPT_ENTRIES
    assert [False, False] == [_is_admitted(one, HOST), _is_admitted(other, HOST)]
    for leave in leaves:
        assert not isinstance(leave, Refused)
        leave()
    assert [True, True, False] == [_is_admitted(limits, HOST) for limits in (other, one, other)]


def test_hosts_of_one_network_are_one_address() -> None:
    """
    Each host has an entry of its own, in the same slot.
    """
    one, other, _ = limits_of(block(), 2)
    leave = one.admit("2001:db8::1", 1000)
    assert [True, False] == [_is_admitted(one, "2001:db8::2"), _is_admitted(other, "2001:db8::3")]
    assert not isinstance(leave, Refused)
    leave()
    assert [True, False] == [_is_admitted(other, "2001:db8::3"), _is_admitted(one, "2001:db8::1")]


RACER = """
import mmap, sys, time
from sptls.address_limits import Refused
from sptls.shared_address_limits import SharedAddressLimits
from sptls.shared_counts import SharedCounts

slab, limits = int(sys.argv[2]), None
with open(sys.argv[1], "r+b") as block:
    limits = SharedAddressLimits(1, 10**9, "https", SharedCounts(mmap.mmap(block.fileno(), 0), slab))
print(flush=True)
sys.stdin.readline()
stays = []
until = time.monotonic() + 0.5
while time.monotonic() < until:
    leave = limits.admit("192.0.2.1", time.monotonic())
    if not isinstance(leave, Refused):
        stays.append((time.monotonic_ns(), time.monotonic_ns()))
        leave()
for stay in stays:
    print(*stay)
"""


def test_processes_that_race_are_never_both_inside(tmp_path: Path) -> None:
    """
    Two real ones, which come and go as fast as they can where one connection may be open.
    """
    path = tmp_path / "block"
    path.write_bytes(block())
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, str(path), str(slab)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        for slab in range(2)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert "\n" == racer.stdout.readline()
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    outputs = [racer.communicate(timeout=30)[0] for racer in racers]
    assert [0, 0] == [racer.returncode for racer in racers]
    stays = sorted(tuple(map(int, line.split())) for output in outputs for line in output.splitlines())
    assert stays
    assert all(end <= begin for (_, end), (begin, _) in pairwise(stays))

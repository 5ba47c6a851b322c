"""
What several processes count in one block of memory, which is plain bytes here.
"""

from __future__ import annotations

import math
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sptls.shared_counts import BUCKET_KEYS, KEY_BYTES, SECRET_BYTES, Entry, Layout, SharedCounts, _position

SECRET = bytes(range(SECRET_BYTES))
SMALL = Layout(slabs=3, buckets=2)
NOW = 100.0


def block(layout: Layout = SMALL, secret: bytes = SECRET) -> bytearray:
    """
    Give an empty block.
    """
    memory = bytearray(layout.size)
    header = layout.header(secret)
    memory[: len(header)] = header
    return memory


def views(layout: Layout = SMALL) -> list[SharedCounts]:
    """
    Give what each owner of a slab of one block has.
    """
    memory = block(layout)
    return [SharedCounts(memory, slab) for slab in range(layout.slabs)]


def keys(count: int) -> list[bytes]:
    """
    Give *count* keys that all belong into one bucket.
    """
    return [(2 * at + 2).to_bytes(KEY_BYTES, "little") for at in range(count)]


def enter(counts: SharedCounts, key: bytes, connections: int = 1) -> int:
    """
    Count so many more of *key*, and give the slot; -1 where there is none.
    """
    slot = Entry(counts, key).own(NOW)
    if slot >= 0:
        counts.open[slot] += connections
    return slot


def total(counts: SharedCounts, key: bytes) -> int:
    """
    Tell how many are open in all processes.
    """
    return sum(counts.open[slot] for slot in Entry(counts, key).everywhere())


def times(counts: SharedCounts, key: bytes) -> list[float]:
    """
    Give the times of all processes that know *key*.
    """
    return [counts.times[slot] for slot in Entry(counts, key).everywhere()]


def test_layout_is_read_from_the_block() -> None:
    """
    A worker is told nothing but where the memory is.
    """
    assert SMALL == Layout.read(block())
    assert Layout(4, 0).size == len(block(Layout(4, 0)))


def test_only_what_is_limited_takes_memory() -> None:
    """
    Some 3 MB for two workers and the default of 10,000 connections, less than one for their rates alone.
    """
    made = {
        (are_counted, have_rates): Layout.of(2, 5_000, are_counted=are_counted, have_rates=have_rates)
        for are_counted in (False, True)
        for have_rates in (False, True)
    }
    assert Layout(4, 1250) == made[True, True] == made[True, False]
    assert Layout(4, 256) == Layout.of(2, 10, are_counted=True, have_rates=True)
    assert [64, 655_424, 3_200_064, 3_200_064] == [layout.size for layout in made.values()]


def test_bucket_is_full_with_a_chance_that_can_be_neglected() -> None:
    """
    Where all connections that may be open are, each from another address; the chance is Poisson's tail.
    """
    connections = 50_000
    layout = Layout.of(2, connections, are_counted=True, have_rates=False)
    mean = 2 * connections / layout.buckets
    tail = sum(math.exp(-mean + n * math.log(mean) - math.lgamma(n + 1)) for n in range(BUCKET_KEYS, 200))
    assert tail < 2e-10


def test_as_many_addresses_as_may_come_all_find_room() -> None:
    """
    By the real hash; and none of them is taken for another.
    """
    (counts, *_) = views(Layout.of(1, 10_000, are_counted=True, have_rates=False))
    each = [counts.key(f"https {number}") for number in range(20_000)]
    assert -1 not in {enter(counts, key) for key in each}
    assert {1} == {total(counts, key) for key in each[::10]}


def test_key_depends_on_the_secret() -> None:
    """
    Who does not know it can't choose a bucket.
    """
    one, other = (SharedCounts(block(secret=secret), 0) for secret in (SECRET, bytes(SECRET_BYTES)))
    assert (True, False) == (one.key("a") == one.key("a"), one.key("a") == other.key("a"))


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, BUCKET_KEYS + 8), st.integers(0, 1), st.booleans())),
)
def test_counts_of_all_are_what_a_plain_count_says(steps: list[tuple[int, int, int, bool]]) -> None:
    """
    Whoever counts what up and down, and by whichever of two entries of a key; slots go from one key to another.
    """
    each, names = views(), keys(BUCKET_KEYS + 9)
    entries = [[[Entry(view, name) for name in names] for _ in range(2)] for view in each]
    model = Counter[tuple[int, int]]()
    left = dict[tuple[int, int], list[Entry]]()
    for slab, number, which, comes in steps:
        entry, leaving = entries[slab][which][number], left.setdefault((slab, number), [])
        if comes and (slot := entry.own(NOW)) >= 0:
            each[slab].open[slot] += 1
            leaving.append(entry)
            model[slab, number] += 1
        elif not comes and leaving:
            leaving.pop().leave()
            model[slab, number] -= 1
    for number, name in enumerate(names):
        assert {sum(model[slab, number] for slab in range(3))} == {total(view, name) for view in each}


def test_slot_is_free_again_when_nothing_is_open_there() -> None:
    """
    And only then: a bucket that is full has none for another key. An entry that had the slot looks for a new one.
    """
    one, other, _ = views()
    *first, last = keys(BUCKET_KEYS + 1)
    slots = [enter(one, key) for key in first]
    assert (BUCKET_KEYS, -1) == (len(set(slots)), enter(one, last))
    entry = Entry(one, first[5])
    assert slots[5] == entry.own(NOW)
    entry.leave()
    assert (slots[5], 0) == (enter(one, last), total(one, first[5]))
    assert -1 == entry.own(NOW)
    one.open[slots[7]] -= 1
    assert (slots[7], 0) == (entry.own(NOW), total(one, first[7]))
    assert enter(other, last) >= 0


def test_block_that_is_cleared_for_a_slab_has_the_others_counts() -> None:
    """
    The process that had it is gone, and its connections with it.
    """
    memory = block()
    one, other = (SharedCounts(memory, slab) for slab in range(2))
    (key,) = keys(1)
    for view, count in ((one, 2), (other, 3)):
        enter(view, key, count)
    begin, size = SMALL.open_counts(0)
    memory[begin : begin + size] = bytes(size)
    assert (3, 3) == (total(one, key), total(other, key))


def test_times_are_everyones_and_those_forgotten_that_end_first() -> None:
    """
    When a bucket is full; but not that of an address which has connections open.
    """
    one, other, _ = views()
    *first, last, further = keys(BUCKET_KEYS + 2)
    for at, key in enumerate(first):
        one.times[Entry(one, key).own(NOW)] = NOW + 1 + (at + 7) % BUCKET_KEYS
    other.times[Entry(other, first[0]).own(NOW)] = 5.0
    assert [108.0, 5.0] == times(one, first[0])
    enter(one, first[BUCKET_KEYS - 7])
    one.times[Entry(one, last).own(NOW)] = 200.0
    forgotten, pinned = first[BUCKET_KEYS - 6], first[BUCKET_KEYS - 7]
    assert ([200.0], [], [101.0]) == (times(other, last), times(other, forgotten), times(other, pinned))
    assert [0.0] == [one.times[Entry(one, further).own(NOW)]]


def test_slot_whose_time_is_past_is_taken_first() -> None:
    """
    What is worked off is not worth knowing; what is not is, while there is room.
    """
    one, *_ = views()
    first, second, third = keys(3)
    slot = Entry(one, first).own(NOW)
    one.times[slot] = NOW + 1
    assert (slot + 1, [NOW + 1]) == (Entry(one, second).own(NOW), times(one, first))
    assert (slot, []) == (Entry(one, third).own(NOW + 1), times(one, first))


def test_what_others_write_is_found_by_who_has_asked_already() -> None:
    """
    An answer is given again only while the keys of the bucket are the same, and to whoever asked for the same key.
    """
    one, other, third = views()
    first, second = keys(2)
    entry, another = Entry(one, first), Entry(one, second)
    slots = [entry.own(NOW)]
    assert (slots, slots, []) == (entry.everywhere(), entry.everywhere(), another.everywhere())
    slots.append(Entry(other, first).own(NOW))
    assert slots == entry.everywhere()
    slots.append(Entry(third, first).own(NOW))
    assert (slots, slots) == (entry.everywhere(), entry.everywhere())


def test_key_is_not_found_across_two() -> None:
    """
    The end of one and the beginning of another are no key; what follows is found all the same.
    """
    key = b"abcdefgh"
    row = b"....abcd" + b"efgh...." + key
    assert (2, -1) == (_position(row, key), _position(row[:16], key))
    memory = block(Layout(1, 1))
    counts = SharedCounts(memory, 0)
    memory[64 : 64 + len(row)] = row
    assert ([2], 2) == (Entry(counts, key).everywhere(), Entry(counts, key).own(NOW))

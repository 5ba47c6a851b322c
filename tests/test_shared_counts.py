"""
What several processes count in one block of memory, which is plain bytes here.
"""

from __future__ import annotations

import math
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sptls.shared_counts import BUCKET_KEYS, KEY_BYTES, SECRET_BYTES, Layout, SharedCounts, _position

SECRET = bytes(range(SECRET_BYTES))
SMALL = Layout(slabs=3, open_buckets=2, rate_buckets=2)


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


def test_layout_is_read_from_the_block() -> None:
    """
    A worker is told nothing but where the memory is.
    """
    assert SMALL == Layout.read(block())
    assert Layout(4, 0, 0).size == len(block(Layout(4, 0, 0)))


def test_only_what_is_limited_takes_memory() -> None:
    """
    Some 2 MB for two workers and the default of 10,000 connections, half a MB for their rates.
    """
    made = {
        (are_counted, have_rates): Layout.of(2, 5_000, are_counted=are_counted, have_rates=have_rates)
        for are_counted in (False, True)
        for have_rates in (False, True)
    }
    assert Layout(4, 1250, 256) == made[True, True]
    assert [64, 524_352, 1_920_064, 2_444_352] == [layout.size for layout in made.values()]


def test_bucket_is_full_with_a_chance_that_can_be_neglected() -> None:
    """
    Where all connections that may be open are, each from another address; the chance is Poisson's tail.
    """
    connections = 50_000
    layout = Layout.of(2, connections, are_counted=True, have_rates=False)
    mean = 2 * connections / layout.open_buckets
    tail = sum(math.exp(-mean + n * math.log(mean) - math.lgamma(n + 1)) for n in range(BUCKET_KEYS, 200))
    assert tail < 2e-10


def test_as_many_addresses_as_may_come_all_find_room() -> None:
    """
    By the real hash; and none of them is taken for another.
    """
    (counts, *_) = views(Layout.of(1, 10_000, are_counted=True, have_rates=False))
    each = [counts.key(f"https {number}") for number in range(20_000)]
    for key in each:
        slot = counts.open.slot(key)
        assert slot is not None
        counts.open.add(slot, 1)
    assert {1} == {counts.open.total(key) for key in each[::10]}


def test_key_depends_on_the_secret() -> None:
    """
    Who does not know it can't choose a bucket.
    """
    one, other = (SharedCounts(block(secret=secret), 0) for secret in (SECRET, bytes(SECRET_BYTES)))
    assert (True, False) == (one.key("a") == one.key("a"), one.key("a") == other.key("a"))


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9), st.booleans()), max_size=200))
def test_counts_of_all_are_what_a_plain_count_says(steps: list[tuple[int, int, bool]]) -> None:
    """
    Whoever counts what up and down.
    """
    each, model = views(), Counter[tuple[int, int]]()
    names = keys(10)
    for slab, number, comes in steps:
        slot = each[slab].open.slot(names[number])
        assert slot is not None
        if comes or model[slab, number]:
            model[slab, number] += 1 if comes else -1
            assert model[slab, number] == each[slab].open.add(slot, 1 if comes else -1)
    for number, name in enumerate(names):
        assert {sum(model[slab, number] for slab in range(3))} == {view.open.total(name) for view in each}


def test_slot_is_free_again_when_its_count_is_zero() -> None:
    """
    And only then: a bucket that is full has none for another key.
    """
    one, other, _ = views()
    *first, last = keys(BUCKET_KEYS + 1)
    slots = [one.open.slot(key) for key in first if one.open.add(one.open.slot(key) or 0, 1)]
    assert (BUCKET_KEYS, None) == (len(set(slots)), one.open.slot(last))
    freed = slots[5] or 0
    one.open.add(freed, -1)
    assert (freed, 0) == (one.open.slot(last), one.open.total(first[5]))
    assert other.open.slot(last) is not None


def test_block_that_is_cleared_for_a_slab_has_the_others_counts() -> None:
    """
    The process that had it is gone, and its connections with it.
    """
    memory = block()
    one, other = (SharedCounts(memory, slab) for slab in range(2))
    (key,) = keys(1)
    for view, count in ((one, 2), (other, 3)):
        view.open.add(view.open.slot(key) or 0, count)
    begin, size = SMALL.open_counts(0)
    memory[begin : begin + size] = bytes(size)
    assert (3, 3) == (one.open.total(key), other.open.total(key))


def test_rates_are_everyones_and_those_forgotten_that_end_first() -> None:
    """
    When a bucket is full.
    """
    one, other, _ = views()
    *first, last = keys(BUCKET_KEYS + 1)
    for at, key in enumerate(first):
        one.rates.put(key, 100.0 + (at + 7) % BUCKET_KEYS)
    other.rates.put(first[0], 5.0)
    assert [107.0, 5.0] == one.rates.everywhere(first[0])
    one.rates.put(last, 200.0)
    assert ([200.0], []) == (other.rates.everywhere(last), other.rates.everywhere(first[BUCKET_KEYS - 7]))
    one.rates.put(first[0], 300.0)
    assert [300.0, 5.0] == other.rates.everywhere(first[0])


def test_key_is_not_found_across_two() -> None:
    """
    The end of one and the beginning of another are no key; what follows is found all the same.
    """
    key = b"abcdefgh"
    row = b"....abcd" + b"efgh...." + key
    assert (2, -1, -1) == (_position(row, key), _position(row, key, 3), _position(row[:16], key))

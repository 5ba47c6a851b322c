"""
What the processes of one daemon count of clients' addresses, in a block of memory that all of them see.

Each process has a slab, in which it alone writes, and it reads everyone's: so there are no locks. A slot has a key, a
keyed hash of what is counted, a number and a time. These are written whole, aligned as they are; a key that is read
while it is written is found by neither of its names. Who writes first what it claims, and reads then what the others
have, knows of each other claim, or that one knows of this; a call lies between, hundreds of a processor's writes, of
which it has some dozens that the others don't see yet.

Pure: it is given the memory. Whose a slab is decides the parent (`workers.counts_memory`).
"""

from __future__ import annotations

import struct
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from mmap import mmap

    Memory = mmap | bytearray

# A false friend among the 1,000 keys of a row has a chance of 1,000 / 2**64.
KEY_BYTES: Final = 8
# The keys that a process may have in one bucket, and how many of them are taken in the mean when as many connections
# are open as may be, each from another address. Then a new one finds its bucket full with a chance of 1e-10: that is
# P(X >= 32) for X from Poisson's distribution with the mean 8. It is let in and not counted.
BUCKET_KEYS: Final = 32
_MEAN_KEYS: Final = 8
# 8,192 rates for each process, which makes 3,000 handshakes a second at the best. An address that comes once matters
# for 1 / rate <= 1 s, so there is room; where there is none, the one is forgotten that is worked off first.
_RATE_BUCKETS: Final = 256
_COUNT_BYTES: Final = 4
_TIME_BYTES: Final = 8
SECRET_BYTES: Final = 32
_HEADER: Final = struct.Struct("<II")
_KEYS_AT: Final = 64
_SLAB_BYTES: Final = BUCKET_KEYS * KEY_BYTES  # of a bucket's keys
_NOWHERE: Final = slice(0, 0)  # where no key is


@attrs.frozen
class Layout:
    """
    How a block is laid out: so many *slabs*, and in each so many *buckets* of slots.

    The keys of a bucket are side by side, all slabs', so that one look finds them; the numbers are slab by slab.
    """

    slabs: int
    buckets: int

    @classmethod
    def of(cls, workers: int, connections: int, *, are_counted: bool, have_rates: bool) -> Layout:
        """
        Give that for *workers* of which each has at most *connections* open, on each of two ports.

        There is a slab for the successor of each worker that drains. All of them have 320 bytes for each connection
        that may be open, which takes 23 KB by itself.
        """
        open_buckets = -(-2 * connections // _MEAN_KEYS) if are_counted else 0
        return cls(2 * workers, max(open_buckets, _RATE_BUCKETS if have_rates else 0))

    @classmethod
    def read(cls, memory: Memory) -> Layout:
        """
        Give that of the block *memory*.
        """
        return cls(*_HEADER.unpack(memory[SECRET_BYTES : SECRET_BYTES + _HEADER.size]))

    def header(self, secret: bytes) -> bytes:
        """
        Give what a block of this layout, whose keys are hashed with *secret*, begins with; the rest is zeros.
        """
        return secret + _HEADER.pack(self.slabs, self.buckets)

    @property
    def size(self) -> int:
        """
        Tell how many bytes it has.
        """
        return self.times_at + self.slabs * self.slab_slots * _TIME_BYTES

    @property
    def slab_slots(self) -> int:
        """
        Tell how many slots each slab has.
        """
        return self.buckets * BUCKET_KEYS

    @property
    def counts_at(self) -> int:
        """
        Tell where the numbers of open connections begin, behind the keys.
        """
        return _KEYS_AT + self.slabs * self.slab_slots * KEY_BYTES

    @property
    def times_at(self) -> int:
        """
        Tell where the times begin, behind the numbers.
        """
        return self.counts_at + self.slabs * self.slab_slots * _COUNT_BYTES

    def open_counts(self, slab: int) -> tuple[int, int]:
        """
        Tell where the numbers of connections are that the owner of *slab* has open, and how many bytes they are.
        """
        size = self.slab_slots * _COUNT_BYTES
        return self.counts_at + slab * size, size


class SharedCounts:
    """
    The block *memory* as the owner of *slab* sees it.

    By slots: how many connections of the key are *open*, and the *times* when what a process knows of the key's events
    has been worked off, by the clock that all share. A slot of no open connections whose time is past is free.
    """

    __slots__ = (
        "_hash",
        "asked",
        "first_slot",
        "found",
        "keys_at",
        "layout",
        "memory",
        "open",
        "row",
        "row_bytes",
        "times",
    )

    def __init__(self, memory: Memory, slab: int) -> None:
        self.memory, self.layout = memory, Layout.read(memory)
        self._hash = blake2b(key=memory[:SECRET_BYTES], digest_size=KEY_BYTES)
        self.row_bytes = self.layout.slabs * _SLAB_BYTES
        self.keys_at, self.first_slot = _KEYS_AT + slab * _SLAB_BYTES, slab * self.layout.slab_slots  # of our slab
        whole = memoryview(memory)
        self.open = whole[self.layout.counts_at : self.layout.times_at].cast("I")
        self.times = whole[self.layout.times_at : self.layout.size].cast("d")
        # Who was asked last, for where its key is: the row of its keys then, and the answer. Most are asked twice in
        # turn, and to find that nothing has changed takes a fifth of the time of a search.
        self.asked: Entry | None = None
        self.row: bytes | bytearray = b""
        self.found: list[int] = []

    def key(self, text: str) -> bytes:
        """
        Give the key of *text*. Nobody who does not know the secret can find two of one bucket.
        """
        hashed = self._hash.copy()
        hashed.update(text.encode())
        return hashed.digest()


class Entry:
    """
    What *counts* has of *key*: in each slab that has the key one slot, in the key's bucket.

    It keeps where that is and nothing else, so there may be several of a key, and any may be forgotten.
    """

    __slots__ = ("_bucket", "_counts", "_key", "_memory", "_open", "_own_key", "_row", "_slab_slots", "_slot")

    def __init__(self, counts: SharedCounts, key: bytes) -> None:
        self._counts, self._memory, self._open, self._key = counts, counts.memory, counts.open, key
        self._slab_slots = counts.layout.slab_slots
        self._bucket = bucket = int.from_bytes(key, "little") % counts.layout.buckets
        begin = _KEYS_AT + bucket * counts.row_bytes
        self._row = slice(begin, begin + counts.row_bytes)
        # Of our slab, while the key is there: the slot may be given to another.
        self._own_key, self._slot = _NOWHERE, -1

    def own(self, now: float) -> int:
        """
        Give the slot of ours, which is taken if there is none; -1 where the bucket is full of open connections' keys.
        """
        if self._memory[self._own_key] == self._key:
            return self._slot
        counts, key = self._counts, self._key
        begin = counts.keys_at + self._bucket * counts.row_bytes
        first = counts.first_slot + self._bucket * BUCKET_KEYS
        further = _position(self._memory[begin : begin + _SLAB_BYTES], key)
        is_new = further < 0
        if is_new:
            further = self._free(first, now)
            if further < 0:
                return -1
        self._slot = slot = first + further
        begin += further * KEY_BYTES
        self._own_key = slice(begin, begin + KEY_BYTES)
        if is_new:
            counts.times[slot] = 0.0
            self._memory[self._own_key] = key
        return slot

    def everywhere(self) -> list[int]:
        """
        Give the slots of all slabs.
        """
        row, counts = self._memory[self._row], self._counts
        if counts.asked is self and counts.row == row:
            return counts.found
        key = self._key
        found: list[int] = []
        at = row.find(key)
        while at >= 0:
            if not at % KEY_BYTES:  # else it is the end of one and the beginning of another
                slot = at // _SLAB_BYTES * self._slab_slots + self._bucket * BUCKET_KEYS
                found.append(slot + at % _SLAB_BYTES // KEY_BYTES)
            at = row.find(key, at + 1)
        counts.asked, counts.row, counts.found = self, row, found
        return found

    def leave(self) -> None:
        """
        Count one connection less, which was counted in the slot of ours.
        """
        self._open[self._slot] -= 1

    def _free(self, first: int, now: float) -> int:
        """
        Tell how much further than the *first* slot of the bucket one is that may be taken; -1: none.
        """
        counts, times = self._open[first : first + BUCKET_KEYS].tolist(), self._counts.times
        if 0 not in counts:
            return -1
        further = counts.index(0)
        if times[first + further] <= now:
            return further
        return min(zip(counts, times[first : first + BUCKET_KEYS].tolist(), range(BUCKET_KEYS), strict=True))[2]


def _position(row: bytes | bytearray, key: bytes) -> int:
    """
    Give the position of *key* among the keys of *row*; -1 where it is not there.
    """
    at = row.find(key)
    while at > 0 and at % KEY_BYTES:  # the end of one and the beginning of another
        at = row.find(key, at + 1)
    return at // KEY_BYTES

"""
What the processes of one daemon count of clients' addresses, in a block of memory that all of them see.

Each process has a slab, in which it alone writes, and it reads everyone's: so there are no locks. A number has a key, a
keyed hash of what is counted. Numbers and times are written whole, aligned as they are; a key that is read while it is
written is found by neither of its names. Who writes first what it claims, and reads then what the others have, knows
of each other claim, or that one knows of this.

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
# for 1 / rate <= 1 s, so there is room; of a full bucket the one is forgotten that is worked off first.
_RATE_BUCKETS: Final = 256
_COUNT_BYTES: Final = 4
_TIME_BYTES: Final = 8
SECRET_BYTES: Final = 32
_HEADER: Final = struct.Struct("<III")
_TABLES_AT: Final = 64


@attrs.frozen
class Layout:
    """
    How a block is laid out: so many *slabs*, and in each so many buckets of open connections and of rates.

    The keys of a bucket are side by side, all slabs', so that one look finds them; the numbers are slab by slab.
    """

    slabs: int
    open_buckets: int
    rate_buckets: int

    @classmethod
    def of(cls, workers: int, connections: int, *, are_counted: bool, have_rates: bool) -> Layout:
        """
        Give that for *workers* of which each has at most *connections* open, on each of two ports.

        There is a slab for the successor of each worker that drains. All of them have 192 bytes for each connection
        that may be open, which takes 23 KB by itself.
        """
        open_buckets = -(-2 * connections // _MEAN_KEYS) if are_counted else 0
        return cls(2 * workers, open_buckets, _RATE_BUCKETS if have_rates else 0)

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
        return secret + _HEADER.pack(self.slabs, self.open_buckets, self.rate_buckets)

    @property
    def size(self) -> int:
        """
        Tell how many bytes it has.
        """
        return self.times_at + self._slots(self.rate_buckets) * _TIME_BYTES

    @property
    def counts_at(self) -> int:
        """
        Tell where the numbers of open connections begin, behind their keys.
        """
        return _TABLES_AT + self._slots(self.open_buckets) * KEY_BYTES

    @property
    def rates_at(self) -> int:
        """
        Tell where the keys of rates begin.
        """
        return self.counts_at + self._slots(self.open_buckets) * _COUNT_BYTES

    @property
    def times_at(self) -> int:
        """
        Tell where the times of rates begin, behind their keys.
        """
        return self.rates_at + self._slots(self.rate_buckets) * KEY_BYTES

    def open_counts(self, slab: int) -> tuple[int, int]:
        """
        Tell where the numbers of connections are that the owner of *slab* has open, and how many bytes they are.
        """
        size = self.open_buckets * BUCKET_KEYS * _COUNT_BYTES
        return self.counts_at + slab * size, size

    def _slots(self, buckets: int) -> int:
        return self.slabs * buckets * BUCKET_KEYS


class SharedCounts:
    """
    The block *memory* as the owner of *slab* sees it: connections that are *open*, and *rates*.
    """

    __slots__ = ("_hash", "open", "rates")

    def __init__(self, memory: Memory, slab: int) -> None:
        layout = Layout.read(memory)
        self._hash = blake2b(key=memory[:SECRET_BYTES], digest_size=KEY_BYTES)
        whole = memoryview(memory)
        self.open = OpenCounts(
            Keys(memory, _TABLES_AT, layout.slabs, layout.open_buckets, slab),
            whole[layout.counts_at : layout.rates_at].cast("I"),
        )
        self.rates = Rates(
            Keys(memory, layout.rates_at, layout.slabs, layout.rate_buckets, slab),
            whole[layout.times_at : layout.size].cast("d"),
        )

    def key(self, text: str) -> bytes:
        """
        Give the key of *text*. Nobody who does not know the secret can find two of one bucket.
        """
        hashed = self._hash.copy()
        hashed.update(text.encode())
        return hashed.digest()


class Keys:
    """
    Where the number of a key is: in each slab in one of the slots of the key's bucket.
    """

    __slots__ = ("_at", "_buckets", "_memory", "_own_at", "_own_first", "_row_bytes")

    def __init__(self, memory: Memory, at: int, slabs: int, buckets: int, slab: int) -> None:
        self._memory, self._at, self._buckets = memory, at, buckets
        self._row_bytes = slabs * BUCKET_KEYS * KEY_BYTES
        self._own_at, self._own_first = at + slab * BUCKET_KEYS * KEY_BYTES, slab * buckets * BUCKET_KEYS

    def everywhere(self, key: bytes) -> list[int]:
        """
        Give the slots of all slabs that have *key*.
        """
        bucket = int.from_bytes(key, "little") % self._buckets
        begin = self._at + bucket * self._row_bytes
        row = self._memory[begin : begin + self._row_bytes]
        found = []
        position = _position(row, key)
        while position >= 0:
            slab, slot = divmod(position, BUCKET_KEYS)
            found.append((slab * self._buckets + bucket) * BUCKET_KEYS + slot)
            position = _position(row, key, position + 1)
        return found

    def own(self, key: bytes) -> tuple[int, int]:
        """
        Give the first slot of *key*'s bucket in our slab, and how many further the one is that has it, or -1.
        """
        bucket = int.from_bytes(key, "little") % self._buckets
        begin = self._own_at + bucket * self._row_bytes
        row = self._memory[begin : begin + BUCKET_KEYS * KEY_BYTES]
        return self._own_first + bucket * BUCKET_KEYS, _position(row, key)

    def write(self, key: bytes, further: int) -> None:
        """
        Have *key* in the slot of our slab that is so much *further* than the first one of its bucket.
        """
        bucket = int.from_bytes(key, "little") % self._buckets
        begin = self._own_at + bucket * self._row_bytes + further * KEY_BYTES
        self._memory[begin : begin + KEY_BYTES] = key


class OpenCounts:
    """
    How many connections of each key are open; a slot whose number is 0 is free, whatever its key.
    """

    __slots__ = ("_counts", "_keys")

    def __init__(self, keys: Keys, counts: memoryview[int]) -> None:
        self._keys, self._counts = keys, counts

    def slot(self, key: bytes) -> int | None:
        """
        Give the slot of ours for *key*; None where its bucket is full.
        """
        first, further = self._keys.own(key)
        if further < 0:
            counts = self._counts[first : first + BUCKET_KEYS].tolist()
            if 0 not in counts:
                return None
            further = counts.index(0)
            self._keys.write(key, further)
        return first + further

    def add(self, slot: int, more: int) -> int:
        """
        Count so many *more* in our *slot*, and give how many these are then.
        """
        count = self._counts[slot] + more
        self._counts[slot] = count
        return count

    def total(self, key: bytes) -> int:
        """
        Tell how many are open in all processes.
        """
        counts = self._counts
        return sum([counts[slot] for slot in self._keys.everywhere(key)])


class Rates:
    """
    When what each process knows of a key's events has been worked off, by the clock that all share; 0: nothing known.
    """

    __slots__ = ("_keys", "_times")

    def __init__(self, keys: Keys, times: memoryview[float]) -> None:
        self._keys, self._times = keys, times

    def everywhere(self, key: bytes) -> list[float]:
        """
        Give the times of all processes that know *key*.
        """
        times = self._times
        return [times[slot] for slot in self._keys.everywhere(key)]

    def put(self, key: bytes, time: float) -> None:
        """
        Have ours be *time*.
        """
        first, further = self._keys.own(key)
        if further < 0:
            times = self._times[first : first + BUCKET_KEYS].tolist()
            further = times.index(min(times))
            self._keys.write(key, further)
        self._times[first + further] = time


def _position(row: bytes | bytearray, key: bytes, begin: int = 0) -> int:
    """
    Give the position of *key* among the keys of *row*, from *begin* on; -1 where it is not there.
    """
    at = row.find(key, begin * KEY_BYTES)
    while at > 0 and at % KEY_BYTES:  # the end of one and the beginning of another
        at = row.find(key, at + 1)
    return at // KEY_BYTES

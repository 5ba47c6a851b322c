"""
The memory in which workers count together, as the system gives it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator

import pytest

from sptls.config import LimitsConfig
from sptls.shared_counts import SECRET_BYTES, Entry, Layout
from sptls.workers.counts_memory import CountsMemory, shared_counts

LIMITS = LimitsConfig(connections=10, connections_per_address=3, handshakes_per_address=1)


@pytest.fixture
def memory() -> Iterator[CountsMemory]:
    """
    Give that of two workers.
    """
    made = CountsMemory.some(LIMITS, 2)
    assert made is not None
    yield made
    if made.descriptor >= 0:
        made.close()


def _seen(memory: CountsMemory, slab: int) -> tuple[bytes, int]:
    """
    Count one connection in *slab*, as its owner; give the secret, and how many there are then in all.
    """
    counts = shared_counts(os.dup(memory.descriptor), slab)
    entry = Entry(counts, counts.key("https 192.0.2.1"))
    counts.open[entry.own(0)] += 1
    return os.pread(memory.descriptor, SECRET_BYTES, 0), sum(counts.open[slot] for slot in entry.everywhere())


def test_nothing_is_shared_where_nothing_is_limited() -> None:
    """
    It would cost memory for nothing.
    """
    assert CountsMemory.some(LimitsConfig(), 2) is None


def test_processes_see_what_others_count(memory: CountsMemory) -> None:
    """
    By keys that are others at every start.
    """
    secret, one = _seen(memory, 0)
    assert (secret, 1, 2) == (secret, one, _seen(memory, 3)[1])
    other = CountsMemory(Layout(1, 1))
    assert secret != os.pread(other.descriptor, SECRET_BYTES, 0)
    other.close()


def test_each_process_has_a_slab_until_it_has_ended(memory: CountsMemory) -> None:
    """
    Two, and a successor of each while it drains; a further one has none. What one had open ends with it.
    """
    slabs = [memory.take() for _ in range(5)]
    assert [0, 1, 2, 3] == [slab.number for slab in slabs if slab is not None]
    _seen(memory, 1)
    _seen(memory, 2)
    assert slabs[1] is not None
    slabs[1].give_back()
    again = memory.take()
    assert again is not None
    assert (1, 2) == (again.number, _seen(memory, again.number)[1])


def test_memory_cannot_be_cut_by_who_has_it(memory: CountsMemory) -> None:
    """
    The others would end with SIGBUS.
    """
    with pytest.raises(PermissionError):
        os.ftruncate(memory.descriptor, 0)
    with pytest.raises(PermissionError):
        fcntl.fcntl(memory.descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)


def test_process_that_ends_after_all_is_over_clears_nothing(memory: CountsMemory) -> None:
    """
    Its descriptor may be another file's by then.
    """
    slab = memory.take()
    assert slab is not None
    memory.close()
    slab.give_back()
    assert -1 == memory.descriptor


def test_descriptor_that_is_no_such_memory_is_closed() -> None:
    """
    Nothing is mapped.
    """
    read, write = os.pipe()
    with pytest.raises(OSError, match="Invalid argument"):
        shared_counts(read, 0)
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(read)
    os.close(write)

"""
The memory in which workers count together (`shared_counts`): made by the parent, and given to each as a descriptor.

Each process has a slab of it for as long as it lives, also while it drains beside its successor. What it had open ends
with it, so its counts are cleared then; what it knew of rates is still true, and passes by itself.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from typing import TYPE_CHECKING, Final

import attrs

from sptls.shared_counts import SECRET_BYTES, Layout, SharedCounts
from sptls.workers.sharing import share_of

if TYPE_CHECKING:
    from sptls.config import LimitsConfig


# The word for a process that has no slab.
NO_SLAB: Final = -1
_CLOSED: Final = -1


class CountsMemory:
    """
    A block that is laid out as *layout* says; its secret is drawn anew.
    """

    def __init__(self, layout: Layout) -> None:
        self.descriptor = os.memfd_create("sptls counts", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.descriptor, layout.size)
        os.pwrite(self.descriptor, layout.header(os.urandom(SECRET_BYTES)), 0)
        # Nobody can take from the others what they have mapped.
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, seals)
        self._layout, self._free = layout, list(range(layout.slabs))

    @classmethod
    def some(cls, limits: LimitsConfig, workers: int) -> CountsMemory | None:
        """
        Give one for *workers* that go by *limits*, which are for all together; None where nothing is limited.
        """
        are_counted, have_rates = bool(limits.connections_per_address), bool(limits.handshakes_per_address)
        if not are_counted and not have_rates:
            return None
        most = share_of(limits.connections, 0, workers)
        return cls(Layout.of(workers, most, are_counted=are_counted, have_rates=have_rates))

    def take(self) -> Slab | None:
        """
        Give a slab to one more process; None where as many drain as there are workers: it counts by itself.
        """
        return Slab(self, self._free.pop(0)) if self._free else None

    def give_back(self, number: int) -> None:
        """
        Clear what the owner of slab *number* had open, since it has ended, and have the slab to give again.
        """
        if self.descriptor != _CLOSED:
            begin, size = self._layout.open_counts(number)
            os.pwrite(self.descriptor, bytes(size), begin)
            self._free.append(number)

    def close(self) -> None:
        """
        Give the memory back; the processes that have it keep it, and what they had is not cleared.
        """
        os.close(self.descriptor)
        self.descriptor = _CLOSED


@attrs.frozen
class Slab:
    """
    The slab *number* of *memory*, which one process has.
    """

    memory: CountsMemory
    number: int

    def give_back(self) -> None:
        """
        Have it no more: the process has ended.
        """
        self.memory.give_back(self.number)


def shared_counts(descriptor: int, slab: int) -> SharedCounts:
    """
    Give what the owner of *slab* has of the memory behind *descriptor*, which is closed.
    """
    try:
        memory = mmap.mmap(descriptor, 0)
    finally:
        os.close(descriptor)
    return SharedCounts(memory, slab)

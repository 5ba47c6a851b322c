"""
Turns at a file that several processes write to, so that nobody's lines end up within another's.

A file opened for appending takes each write whole, but a pipe or a terminal does not, nor does a file on NFS.
"""

from __future__ import annotations

import fcntl
import os


class Turn:
    """
    One at a time, among all processes that have *descriptor* from the one that opened it; for a thread that may wait.

    A process that is killed in its turn loses it.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __enter__(self) -> None:
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN)


def descriptor_for_turns() -> int:
    """
    Give a new descriptor, which may be inherited, and has no name anywhere.
    """
    return os.memfd_create("sptls access log")

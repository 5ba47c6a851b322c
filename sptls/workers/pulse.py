"""
Where a process stands by the kernel's books: ``/proc/PID/stat`` and ``/proc/PID/task/*/schedstat`` (proc(5)).
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

from sptls.workers.silence import Pulse

# Positions behind the name, which may itself have spaces and parentheses.
_STATE: Final = 0
_MAJOR_FAULTS: Final = 9
_USER_TICKS: Final = 11
_SYSTEM_TICKS: Final = 12
_NANOSECONDS: Final = 1e9


def pulse_of(pid: int) -> Pulse | None:
    """
    Give the pulse of the process *pid*, or None where nothing can be known of it.

    A kernel that does not count how long a thread waits for a CPU (CONFIG_SCHED_INFO) says that it never does.
    """
    try:
        fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
        ticks = int(fields[_USER_TICKS]) + int(fields[_SYSTEM_TICKS])
        state, faults = fields[_STATE], int(fields[_MAJOR_FAULTS])
    except (OSError, ValueError, LookupError):
        return None
    threads = _threads(pid)
    ran_seconds = threads[pid][0] if pid in threads else ticks / os.sysconf("SC_CLK_TCK")
    return Pulse(state, ran_seconds, sum(waited for _, waited in threads.values()), faults)


def _threads(pid: int) -> dict[int, tuple[float, float]]:
    """
    Give for how many seconds each thread ran, and waited for a CPU; the main one has the process's own number.
    """
    found: dict[int, tuple[float, float]] = {}
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError, ValueError):  # it has just ended
                ran, waited, _ = _read(f"/proc/{pid}/task/{thread}/schedstat").split()
                found[int(thread)] = (int(ran) / _NANOSECONDS, int(waited) / _NANOSECONDS)
    return found


def _read(path: str) -> str:
    with open(path) as file:
        return file.read()

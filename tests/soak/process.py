"""
What the kernel says of a process's memory, and a store filled without a CA.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from bench import stored
from sptls.certs.schema import STORE_FILE

if TYPE_CHECKING:
    from collections.abc import Iterable


def resident_mb(pid: int) -> float:
    """
    Give the memory that a process holds now, in megabytes.
    """
    return _megabytes(pid, "VmRSS")


def peak_mb(pid: int) -> float:
    """
    Give the most memory that a process held since `forget_peak`, in megabytes.
    """
    return _megabytes(pid, "VmHWM")


def forget_peak(pid: int) -> None:
    """
    Let the peak begin anew (proc(5), clear_refs).
    """
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def cpu_seconds(pid: int) -> float:
    """
    Give the CPU time that a process has used.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _megabytes(pid: int, field: str) -> float:
    found = re.search(rf"{field}:\s*(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found, field
    return int(found[1]) / 1000


def fill_store(state: Path, names: Iterable[str], directory: str) -> bytes:
    """
    Fill the store in *state* as `bench.stored.fill_store` does.
    """
    return stored.fill_store(state / STORE_FILE, names, directory)

"""
Where the control socket is: the one place that daemon and commands have it from. Imports nothing of Twisted.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTROL_SOCKET: Final = "control.sock"
# Linux's sun_path has 108 bytes, and the last one is a NUL (unix(7)).
MAX_ADDRESS_BYTES: Final = 107


@contextmanager
def address(state_dir: Path, name: str = CONTROL_SOCKET) -> Iterator[str]:
    """
    Give the address of the socket in *state_dir* for as long as the block: its path, or a shorter way to a long one.

    Raises:
        OSError: the path is a long one, and the directory can't be opened.
    """
    path = state_dir / name
    if len(os.fsencode(path)) <= MAX_ADDRESS_BYTES:
        yield str(path)
        return
    descriptor = os.open(state_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{name}"
    finally:
        os.close(descriptor)

"""
Ports for what the tests start, none of them drawn twice.

A port that the system gave and that was given back may be given to the next who asks, or to a client's connection,
before the daemon that is to have it has started. So these are from below the range that the system gives from, each
test process counts from a place of its own, and none comes up again until all have.
"""

from __future__ import annotations

import itertools
import os
import socket
from typing import Final

# Linux gives from 32768 on; below 15000 many services have theirs.
_PORTS: Final = range(15_000, 32_000)
# Processes that run side by side have numbers that are close to each other.
_APART: Final = 7919
_NEXT: Final = itertools.islice(itertools.cycle(_PORTS), os.getpid() * _APART % len(_PORTS), None)


def free_ports(count: int) -> list[int]:
    """
    Give *count* ports that are free now, and that nobody else will be given.
    """
    return list(itertools.islice(filter(_is_free, _NEXT), count))


def _is_free(port: int) -> bool:
    """
    Tell whether a server could have *port* on any address, over TCP and UDP.
    """
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("", port))
            except OSError:
                return False
    return True

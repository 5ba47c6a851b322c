"""
What a worker process finds at which descriptor; 0, 1 and 2 are as ever.
"""

from __future__ import annotations

from typing import Final

# What its parent says, and where it answers.
TO_WORKER: Final = 3
FROM_WORKER: Final = 4
# What is locked for a turn at the access log.
LOG_TURN: Final = 5
# The memory in which all count together (`counts_memory`), where limits per address are configured.
COUNTS: Final = 6
# The listening sockets from here on: HTTPS's, then HTTP's.
FIRST_SOCKET: Final = 7

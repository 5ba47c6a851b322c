"""
How many worker processes a configuration means on this machine.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sptls.config import Config


def worker_count(config: Config) -> int:
    """
    Give the number of processes that serve clients: with "auto" one for each CPU that this process may use.

    A renewal daemon has none to serve: it is one process whatever the configuration, which it may share with a proxy,
    says.
    """
    if config.renew_only:
        return 1
    return max(1, len(os.sched_getaffinity(0))) if config.workers == "auto" else config.workers

"""
How many workers a configuration means here.
"""

from __future__ import annotations

import os

import attrs
import pytest

from sptls.config import Config
from sptls.workers.count import worker_count


def test_auto_is_one_for_each_cpu_that_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Which a container, or taskset, may have limited.
    """
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 3, 5})
    assert (3, 7, 1) == tuple(worker_count(Config((), workers=workers)) for workers in ("auto", 7, 1))


def test_renewal_daemon_has_nobody_to_serve() -> None:
    """
    It is one process, and shares its configuration with a proxy that may be several.
    """
    assert 1 == worker_count(attrs.evolve(Config((), workers=4), renew_only=True))

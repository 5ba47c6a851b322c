"""
What a worker process logs: each line is one event in the parent's log, whatever it is.
"""

from __future__ import annotations

import json
from typing import Final

from sptls.workers.relay import relay
from tests.proxy.wire import logged

SEEDS: Final = (
    b'{"time": "2026-01-01T00:00:00.000Z", "level": "info", "namespace": "sptls.x", "message": "hello", "name": "a"}',
    b'{"level": "error", "message": "it broke", "failure": "Traceback (most recent call last):\\n  File", "count": 1}',
    b'{"level": "warn", "message": "{text}", "text": "y", "worker": 9, "log_format": "z", "format": "x", "self": 1}',
    b'{"level": "loud", "message": "x"}',
    b"Fatal Python error: Segmentation fault",
    b"[" * 2000,
)


def check(data: bytes) -> None:
    """
    See that a line is told once, as what it says, by the level that it has.
    """
    line = data.decode("utf-8", "replace")
    with logged() as events:
        relay(3, line)
    if _is_debugging(line):
        assert events == []
        return
    ((level, text),) = events
    assert level in {"info", "warn", "error", "critical"}
    assert text == f"worker 3: {line}" or text.endswith(" [worker 3]")


def _is_debugging(line: str) -> bool:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(entry, dict) and entry.get("level") == "debug" and "message" in entry

"""
What worker processes log, in the parent's log: one log, whole lines, each event with its level and its worker's number.

A worker hands over events as `logs.json_observer` writes them; what else comes out of its standard error (a crash of
the interpreter's, a library's print) is logged line by line as an error.
"""

from __future__ import annotations

import json
from typing import Any, Final

from twisted.logger import InvalidLogLevelError, Logger, LogLevel
from twisted.python.failure import Failure

# Those that the parent's own log gives an event again, and the names of a logger's own arguments.
_OWN_KEYS: Final = frozenset({"time", "level", "namespace", "message", "failure", "format", "self"})


class _ToldFailure(Failure):
    """
    A failure of another process, of which only the traceback is here.
    """

    def __init__(self, traceback: str) -> None:
        super().__init__(RuntimeError("in a worker process"))  # type: ignore[no-untyped-call]
        self._told = traceback

    def getTraceback(self, *_: Any, **__: Any) -> str:  # noqa: N802 - Twisted's name
        """
        Give it as it was told.
        """
        return self._told


def relay(worker: int, line: str) -> None:
    """
    Log the event of *worker*'s that *line* is.
    """
    try:
        entry = json.loads(line)
        level = LogLevel.levelWithName(str(entry["level"]))
        text = str(entry["message"])
    except (ValueError, TypeError, LookupError, RecursionError, InvalidLogLevelError):
        relay_raw(worker, line)
        return
    more = {key: value for key, value in entry.items() if key.isidentifier() and not _is_own(key)}
    if "failure" in entry:
        more["log_failure"] = _ToldFailure(str(entry["failure"]))
    logger = Logger(namespace=str(entry.get("namespace", "-")))
    logger.emit(level, "{text} [worker {worker}]", **{**more, "text": text, "worker": worker})


def _is_own(key: str) -> bool:
    return key in _OWN_KEYS or key.startswith("log_")


def relay_raw(worker: int, line: str) -> None:
    """
    Log *line*, which *worker* wrote to standard error.
    """
    Logger().error("worker {worker}: {text}", worker=worker, text=line)

"""
What workers log is in the parent's log, with its level and its traceback.
"""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from twisted.logger import ILogObserver, Logger, LogLevel, globalLogPublisher
from twisted.python.failure import Failure

from sptls.logs import json_observer, text_observer
from sptls.workers.relay import relay
from tests.proxy.wire import logged


def written(level: str, text: str, *, fails: bool = False, **more: Any) -> str:
    """
    Give the line that a worker writes for an event.
    """
    stream = io.StringIO()
    worker_log = Logger(observer=json_observer(stream), namespace="sptls.proxy")
    if fails:
        failure = Failure(ZeroDivisionError(text))
        worker_log.failure("{text}", failure, text=text, **more)
    else:
        worker_log.emit(LogLevel.levelWithName(level), "{text}", text=text, **more)
    return stream.getvalue()


def relayed(line: str, observer: ILogObserver) -> None:
    """
    Relay *line* of worker 2 into a log.
    """
    globalLogPublisher.addObserver(observer)
    try:
        relay(2, line)
    finally:
        globalLogPublisher.removeObserver(observer)


@pytest.mark.parametrize("level", ["debug", "info", "warn", "error", "critical"])
def test_event_keeps_its_level_and_says_which_worker(level: str) -> None:
    """
    In a line of the parent's.
    """
    stream = io.StringIO()
    relayed(written(level, "it {rains}"), text_observer(stream))
    assert f"{level} it {{rains}} [worker 2]" == stream.getvalue().strip().split(" ", 1)[1]


def test_fields_and_namespace_are_kept() -> None:
    """
    For who reads JSON.
    """
    stream = io.StringIO()
    relayed(written("info", "it rains", count=3), json_observer(stream))
    entry = json.loads(stream.getvalue())
    assert ("sptls.proxy", 3, 2, "it rains [worker 2]") == (
        entry["namespace"],
        entry["count"],
        entry["worker"],
        entry["message"],
    )


def test_traceback_comes_along() -> None:
    """
    Indented below its event, as one of the parent's own.
    """
    stream = io.StringIO()
    relayed(written("critical", "no", fails=True), text_observer(stream))
    lines = stream.getvalue().splitlines()
    assert "critical no [worker 2]" == lines[0].split(" ", 1)[1]
    assert "    Failure: builtins.ZeroDivisionError: no" == lines[-1]


def test_what_a_field_is_called_does_no_harm() -> None:
    """
    Not even as one of the names that a logger has for itself.
    """
    with logged() as events:
        relay(2, '{"level": "warn", "message": "m", "self": 1, "format": "x", "log_format": "y", "log_level": 2}')
    assert [("warn", "m [worker 2]")] == events


@pytest.mark.parametrize("line", ["plain", "{}", "[]", '{"level": "loud", "message": "m"}', "[" * 20000])
def test_anything_else_is_a_line_of_an_error(line: str) -> None:
    """
    Nothing that a worker says is lost.
    """
    with logged() as events:
        relay(2, line)
    assert [("error", f"worker 2: {line}")] == events

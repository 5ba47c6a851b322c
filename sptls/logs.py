"""
How the daemon's own log is written: readable lines, or one JSON object a line.

Decides what of an event reaches the log: its message, and in JSON those of its fields that are plain values. Bytes
and objects are never serialised, so a key or a certificate that is passed along by mistake stays out. What stands in
a line is not trusted: a name that a client sent can't begin a line of its own or move a terminal's cursor.

Which events there are is their authors' business, and the access log is `proxy.access_log`'s.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

from twisted.logger import ILogObserver, LogEvent, formatEvent
from twisted.python.failure import Failure
from zope.interface import implementer

if TYPE_CHECKING:
    from collections.abc import Callable

# Keys that Twisted puts into events for observers of the old kind; their content is in the event's own keys too.
_LEGACY_KEYS: Final = frozenset({"format", "isError", "logLevel", "message", "printed", "system", "time"})
# How `formatEvent` begins when it can't; it goes on with every field of the event, secret or not.
# Twisted says of every factory, one a connection for some, that it starts and stops: nobody reads that.
_NOISE: Final = frozenset({"Starting factory {factory!r}", "Stopping factory {factory!r}"})
_UNFORMATTABLE: Final = ("Unable to format event ", "MESSAGE LOST: ")


class Stream(Protocol):
    """
    Where lines go: a text file, standard error, or a `twisted.python.logfile.LogFile`.
    """

    def write(self, text: str, /) -> object:
        """
        Write *text*.
        """

    def flush(self) -> object:
        """
        Hand everything over to the system.
        """


@implementer(ILogObserver)
class _LineObserver:
    """
    Writes each event as one piece of text, so that threads don't mix theirs.
    """

    def __init__(self, stream: Stream, write_event: Callable[[LogEvent], str]) -> None:
        self._stream, self._write_event = stream, write_event

    def __call__(self, event: LogEvent) -> None:
        if event.get("log_format") in _NOISE:
            return
        text = self._write_event(event)
        if text:
            self._stream.write(text)
            self._stream.flush()


def text_observer(stream: Stream) -> ILogObserver:
    """
    Make an observer that writes time, level and message in a line, and a traceback indented below it.
    """
    return _LineObserver(stream, _as_text)


def json_observer(stream: Stream) -> ILogObserver:
    """
    Make an observer that writes one JSON object a line: ``time``, ``level``, ``namespace``, ``message``, the event's
    plain fields, and ``failure`` with the traceback where there is one.
    """
    return _LineObserver(stream, _as_json)


def _as_text(event: LogEvent) -> str:
    message, traceback = _message(event), _traceback(event)
    if not message and not traceback:
        return ""
    lines = [f"{_time(event)} {_level(event)} {message}", *(f"    {line}" for line in traceback.splitlines())]
    return "".join(_escaped(line) + "\n" for line in lines)


def _as_json(event: LogEvent) -> str:
    message, traceback = _message(event), _traceback(event)
    if not message and not traceback:
        return ""
    entry = {key: _plain(value) for key, value in event.items() if _is_field(key, value)}
    entry |= {"time": _time(event), "level": _level(event), "namespace": str(event.get("log_namespace", "-"))}
    entry |= {"message": message} | ({"failure": traceback} if traceback else {})
    return json.dumps(entry) + "\n"


def _is_field(key: str, value: object) -> bool:
    return isinstance(value, str | int | float) and not key.startswith("log_") and key not in _LEGACY_KEYS


def _plain(value: Any) -> Any:
    # JSON has no nan and no infinity.
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _message(event: LogEvent) -> str:
    message = formatEvent(event)
    if message.startswith(_UNFORMATTABLE):
        return f"an event could not be put into words: {event.get('log_format')!r}"
    return message


def _traceback(event: LogEvent) -> str:
    failure = event.get("log_failure")
    return failure.getTraceback() if isinstance(failure, Failure) else ""


def _time(event: LogEvent) -> str:
    moment = datetime.fromtimestamp(event.get("log_time", 0), UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _level(event: LogEvent) -> str:
    level = event.get("log_level")
    return level.name if level is not None else "-"


def _escaped(line: str) -> str:
    """
    Give *line* with all that is not printable (line ends, control characters, bidi marks) as Python escapes.
    """
    if line.isprintable():
        return line
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in line)

"""
One line of the access log: nginx's combined format byte for byte, so existing tools read it, or JSON.

Both tell the truth about any bytes a client sends, and no byte of theirs can end a line or a quoted part early.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from sptls.proxy.headers import MONTHS

# nginx's ngx_http_log_escape: quote, backslash, controls, and everything from 0x7F on.
_ESCAPED = (*range(0x20), 0x22, 0x5C, *range(0x7F, 0x100))
_PLAIN = bytes(byte for byte in range(0x100) if byte not in _ESCAPED)
_JSON = json.JSONEncoder(separators=(",", ":"))
_ESCAPES = {byte: f"\\x{byte:02X}" for byte in _ESCAPED}


class LogEntry(NamedTuple):
    """
    One exchange; *time* is the wall clock's epoch seconds at its end, *seconds* how long it took.

    *body_bytes* counts what was sent to the client after the head. *request_line* is as received, empty if none
    was; *referer* and *user_agent* are None where the field is missing.
    """

    time: float
    peer: bytes
    host: bytes | None
    request_line: bytes
    status: int
    body_bytes: int
    referer: bytes | None
    user_agent: bytes | None
    seconds: float
    tls: bool


def combined(entry: LogEntry) -> bytes:
    """
    Give the line in nginx's combined format, its newline included.

    The user name is always ``-``: nothing here asks for one.
    """
    request_line = entry.request_line or b"-"
    referer = b"-" if entry.referer is None else entry.referer
    user_agent = b"-" if entry.user_agent is None else entry.user_agent
    # Nearly every line needs no escapes: one look at all of it.
    if (request_line + referer + user_agent).translate(None, _PLAIN):
        request_line, referer, user_agent = _escape(request_line), _escape(referer), _escape(user_agent)
    when = _local_time(int(entry.time))
    return b'%b - - [%b] "%b" %d %d "%b" "%b"\n' % (
        entry.peer,
        when,
        request_line,
        entry.status,
        entry.body_bytes,
        referer,
        user_agent,
    )


def _escape(text: bytes) -> bytes:
    return text.decode("latin-1").translate(_ESCAPES).encode("ascii")


@lru_cache(maxsize=2)
def _local_time(epoch_seconds: int) -> bytes:
    """
    Give nginx's $time_local, in UTC; made once a second, then remembered.
    """
    moment = datetime.fromtimestamp(epoch_seconds, UTC)
    month, time_of_day = MONTHS[moment.month - 1], (moment.hour, moment.minute, moment.second)
    return b"%02d/%b/%04d:%02d:%02d:%02d +0000" % (moment.day, month, moment.year, *time_of_day)


def json_line(entry: LogEntry) -> bytes:
    r"""
    Give the line as one JSON object in ASCII, its newline included; bytes that aren't UTF-8 read ``\xNN``.
    """
    method, _, rest = entry.request_line.partition(b" ")
    target, _, version = rest.partition(b" ")
    line = {
        "time": datetime.fromtimestamp(entry.time, UTC).isoformat(timespec="milliseconds"),
        "peer": _text(entry.peer),
        "host": _text(entry.host),
        "method": _text(method),
        "target": _text(target),
        "version": _text(version),
        "status": entry.status,
        "bytes": entry.body_bytes,
        "referer": _text(entry.referer),
        "user_agent": _text(entry.user_agent),
        "seconds": round(entry.seconds, 6),
        "tls": entry.tls,
    }
    return _JSON.encode(line).encode("ascii") + b"\n"


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "backslashreplace")

"""
The daemon's own log: an event is one line, whatever stands in it, as text and as JSON.
"""

from __future__ import annotations

import io
import json
from typing import Final

from twisted.logger import LogLevel

from sptls.logs import json_observer, text_observer

SEEDS: Final = (
    b"{name}: {problem}\na.example\nthe CA refused",
    b"{name!r} {count:x}\na\x1b[2J\r\nx",
    "{name}\n\u2028\u202e".encode(),
    b"{missing} {name.x}\nx\n",
    b"{\nx",
    b"{name}\n\xed\xa0\x80",
)


def check(data: bytes) -> None:
    """
    See that both forms are a line, which tells what the event holds.
    """
    words, name, problem = (*data.decode("utf-8", "surrogateescape").split("\n", 2), "", "")[:3]
    event = {"log_format": words, "log_level": LogLevel.warn, "log_namespace": "fuzz", "log_time": 0.0}
    more = {"name": name, "problem": problem, "count": len(data), "share": float("nan"), "key": b"secret"}
    as_text, as_json = io.StringIO(), io.StringIO()
    text_observer(as_text)({**event, **more})
    json_observer(as_json)({**event, **more})
    for written in (as_text.getvalue(), as_json.getvalue()):
        assert written == "" or written.index("\n") == len(written) - 1
        assert written.rstrip("\n").isprintable()
    if as_json.getvalue():
        told = json.loads(as_json.getvalue(), parse_constant=_refuse)
        assert (name, problem, "nan") == (told["name"], told["problem"], told["share"])
        assert "key" not in told


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is not JSON")

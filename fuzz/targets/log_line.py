"""
The access log: a line is a line, whatever clients send, and tells it all.
"""

from __future__ import annotations

import json
import re
from typing import Final

from sptls.proxy.log_line import LogEntry, combined, json_line

_LINE: Final = re.compile(rb'192\.0\.2\.1 - - \[[^\]]+\] "([ !#-\[\]-~]|\\x[0-9A-F]{2})*" 200 5 "[^"]*" "[^"]*"\n')

SEEDS: Final = (
    b"GET /f/a HTTP/1.1\nhttps://mail.example/\nMozilla/5.0 (X11)",
    b'GET /"\\\x7f\xff HTTP/1.1\n"\n"',
    "GET /é HTTP/1.1\n\u2028\n\x1b[31m".encode(),
    b"GET / HTTP/1.1\n",
    b"",
)


def check(data: bytes) -> None:
    """
    See that both forms are one line of ASCII, which gives back what was sent, or that nothing was.
    """
    line, referer, agent = (*data.split(b"\n", 2), None, None)[:3]
    assert line is not None
    # Any second until the year 2106.
    entry = LogEntry(int.from_bytes(data[:4]) + 0.5, b"192.0.2.1", line, line, 200, 5, referer, agent, 0.1, True)
    text = combined(entry)
    assert _LINE.fullmatch(text)
    quoted = re.findall(rb'"([^"]*)"', text)
    sent = [re.sub(rb"\\x([0-9A-F]{2})", lambda escape: bytes.fromhex(escape[1].decode()), part) for part in quoted]
    assert sent == [line or b"-", b"-" if referer is None else referer, b"-" if agent is None else agent]
    written = json_line(entry)
    assert written.isascii()
    assert written.index(b"\n") == len(written) - 1
    told = json.loads(written)
    assert (told["host"], told["referer"], told["user_agent"]) == (_text(line), _text(referer), _text(agent))
    assert f"{told['method']} {told['target']} {told['version']}".rstrip(" ") == (_text(line) or "").rstrip(" ")


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "backslashreplace")

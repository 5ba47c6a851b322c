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
    b"",
)


def check(data: bytes) -> None:
    """
    See that both forms are one line of ASCII, which gives back what was sent.
    """
    line, referer, agent = (*data.split(b"\n", 2), b"", b"")[:3]
    entry = LogEntry(0.0, b"192.0.2.1", line, line, 200, 5, referer, agent, 0.1, True)
    text = combined(entry)
    assert _LINE.fullmatch(text)
    quoted = re.findall(rb'"([^"]*)"', text)
    sent = [re.sub(rb"\\x([0-9A-F]{2})", lambda escape: bytes.fromhex(escape[1].decode()), part) for part in quoted]
    assert [line or b"-", referer, agent] == sent
    written = json_line(entry)
    assert written.isascii()
    assert written.index(b"\n") == len(written) - 1
    assert agent.decode("utf-8", "backslashreplace") == json.loads(written)["user_agent"]

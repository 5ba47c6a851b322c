"""
Host names: one spelling for each, which is a name on the wire too.
"""

from __future__ import annotations

from typing import Final

from sptls.errors import InvalidHostName
from sptls.names import HostName, NameTable, fold

SEEDS: Final = (
    b"click.example.com",
    b" CLICK.Example.com. ",
    b"*.links.example.net",
    "bücher.example。".encode(),
    b"xn--bcher-kva.example",
    b"192.0.2.1",
    b"[2001:db8::1]",
    "a\u200d.ﬃ.ß.example".encode(),
    b"a" * 64 + b".example",
)


def check(data: bytes) -> None:
    """
    See that a name is its own spelling, and found by what clients send for it.
    """
    text = data.decode("utf-8", "surrogateescape")
    NameTable([(HostName("a.example"), 1), (HostName("*.b.example"), 2)]).get(data)
    try:
        name = HostName.parse(text)
    except InvalidHostName as error:
        assert str(error)
        return
    assert name == HostName.parse(name.text) == HostName.parse(name.text.upper() + ".")
    assert name.wire == fold(name.wire.upper() + b".")
    table = NameTable([(name, True)])
    assert table.get(name.wire.replace(b"*", b"x"))

"""
What the daemon's look-ups of ``localhost`` find, for tests whose service moves.
"""

from __future__ import annotations

import os
from pathlib import Path

# Python imports this at the start of every process that has its folder in PYTHONPATH.
_CUSTOM = """
import socket

_ask = socket.getaddrinfo

def getaddrinfo(host, port, *arguments, **named):
    if host != "localhost":
        return _ask(host, port, *arguments, **named)
    with open({path!r}) as found:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (line.strip(), 0)) for line in found]

socket.getaddrinfo = getaddrinfo
"""


class Names:
    """
    The addresses of ``localhost`` for processes that have *environment*; kept in *directory*.
    """

    def __init__(self, directory: Path, *addresses: str) -> None:
        self._path = directory / "addresses"
        folder = directory / "customized"
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(_CUSTOM.format(path=str(self._path)))
        before = os.environ.get("PYTHONPATH")
        self.environment = {"PYTHONPATH": os.pathsep.join([str(folder), *([before] if before else [])])}
        self.move(*addresses)

    def move(self, *addresses: str) -> None:
        """
        Let look-ups find *addresses* from now on, in this order.
        """
        fresh = self._path.with_suffix(".new")
        fresh.write_text("".join(f"{address}\n" for address in addresses))
        fresh.replace(self._path)

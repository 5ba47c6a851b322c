"""
The copy of the domains' file: what was in it, or nothing.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from sptls.remembered_domains import COPY, recall, remember

_FILE: Final = Path("/etc/sptls/domains")

SEEDS: Final = (
    b"# /etc/sptls/domains\na.example\nb.example\n",
    b"# /etc/sptls/domains\n",
    b"# /etc/sptls/others\na.example\n",
    b"# /etc/sptls/domains\r\na.example\r\n",
    "# /etc/sptls/domains\nbücher.example\n\x00".encode(),
    b"# /etc/sptls/domains\n\xff",
)


def check(data: bytes) -> None:
    """
    See that any bytes in the copy are read or ignored, and that any text comes back as it was.
    """
    with TemporaryDirectory() as root:
        directory = Path(root)
        (directory / COPY).write_bytes(data)
        text = recall(directory, _FILE)
        if text is not None:
            assert f"# {_FILE}\n{text}".encode() == data
        remember(directory, _FILE, kept := data.decode("utf-8", "replace"))
        assert kept == recall(directory, _FILE)
        assert recall(directory, _FILE.with_name("others")) is None

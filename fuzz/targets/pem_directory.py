"""
Another program's directory of certificates: pairs that fit, and a line about what is of no use.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from fuzz.targets.pem import CERTIFICATE, KEY
from sptls.cli.pem_files import search

_FILES: Final = ("live/a/fullchain.pem", "live/a/privkey.pem", "renewal/a.conf", "live/a/.old.pem")
_MARK: Final = b"\0\0"

SEEDS: Final = (
    _MARK.join([CERTIFICATE, KEY, b"[renewalparams]\nserver = https://ca.example/directory\n"]),
    _MARK.join([CERTIFICATE + KEY, b"", b"server=x\nserver = y\n", CERTIFICATE]),
    _MARK.join([CERTIFICATE, b"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n"]),
    b"-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n",
)


def check(data: bytes) -> None:
    """
    See that files of any content are found to be pairs, or told of.
    """
    with TemporaryDirectory() as root:
        directory = Path(root)
        for path in _FILES:
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
        for path, content in zip(_FILES, data.split(_MARK), strict=False):
            (directory / path).write_bytes(content)
        found = search(directory)
    assert all(fault.isprintable() for fault in found.faults)
    for pair in found.pairs:
        assert pair.bundle.key_fits()
        assert not any(map(str.isspace, pair.server))

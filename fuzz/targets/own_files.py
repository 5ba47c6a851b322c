"""
The operator's own certificate and key: in force, or a sentence; what was in force stays so while new files are wrong.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from fuzz.targets.pem import CERTIFICATE, KEY
from sptls.certs.own_files import OwnFiles, look, read, sentence
from sptls.errors import BadCertificate
from sptls.names import HostName

_NOW: Final = datetime(2027, 1, 1, tzinfo=UTC)
# What stands between the certificate's file and the key's.
_MARK: Final = b"\0\0"

SEEDS: Final = (
    CERTIFICATE + _MARK + KEY,
    CERTIFICATE + KEY + _MARK + KEY + CERTIFICATE,
    CERTIFICATE + CERTIFICATE + _MARK + KEY,
    CERTIFICATE + _MARK + b"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n",
    KEY + _MARK + CERTIFICATE,
    _MARK,
)


def check(data: bytes) -> None:
    """
    See that files of any content are read or refused, and that looks at them replace nothing good by something worse.
    """
    with TemporaryDirectory() as root:
        files = OwnFiles(HostName("a.example"), "domains[0]", Path(root) / "cert.pem", Path(root) / "key.pem")
        _write(files, CERTIFICATE, KEY)
        good = read(files, _NOW)
        certificate, _, key = data.partition(_MARK)
        _write(files, certificate, key)
        try:
            found = read(files, _NOW)
        except (OSError, BadCertificate) as error:
            assert sentence(files, error).isprintable()
            found = None
        seen = look(files, good, _NOW)
        assert seen.bundle.key_fits()
        assert not seen.faults
        assert (seen.trouble == "") == (found is not None and not found.faults)
        assert look(files, seen, _NOW).bundle == seen.bundle


def _write(files: OwnFiles, certificate: bytes, key: bytes) -> None:
    files.certificate.write_bytes(certificate)
    files.key.write_bytes(key)

"""
The files that all servers of a run share: one ECDSA P-256 certificate for ``localhost``, its key, and who signed it.
"""

from __future__ import annotations

from pathlib import Path

import attrs
import trustme


@attrs.frozen
class Certificates:
    """
    PEM files: what clients trust, and the chain and key of the servers and the origin.
    """

    ca: Path
    certificate: Path
    key: Path

    @classmethod
    def make(cls, directory: Path) -> Certificates:
        """
        Write new ones into *directory*.
        """
        authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
        issued = authority.issue_cert("localhost", "127.0.0.1", key_type=trustme.KeyType.ECDSA)
        files = cls(directory / "ca.pem", directory / "certificate.pem", directory / "key.pem")
        authority.cert_pem.write_to_path(str(files.ca))
        files.certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(files.key))
        return files

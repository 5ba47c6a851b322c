"""
Certificates for the TLS tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trustme

from sptls.certs.bundle import CertificateBundle

if TYPE_CHECKING:
    from tests.tls.handshakes import Issue


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """
    Give a root CA.
    """
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


@pytest.fixture(scope="session")
def issue(authority: trustme.CA) -> Issue:
    """
    Give a function from names to a new bundle: an end-entity certificate and an intermediate.
    """
    intermediate = authority.create_child_ca(key_type=trustme.KeyType.ECDSA)

    def issue(*names: str, key_type: trustme.KeyType = trustme.KeyType.ECDSA) -> CertificateBundle:
        issued = intermediate.issue_cert(*names, key_type=key_type)
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        return CertificateBundle.from_pem(issued.private_key_pem.bytes(), chain)

    return issue


@pytest.fixture(scope="session")
def bundle(issue: Issue) -> CertificateBundle:
    """
    Give a bundle for click.example.com and the names below example.org.
    """
    return issue("click.example.com", "*.example.org")

"""
Bundles as the ``pem`` package's objects, which txacme's ``ICertificateStore`` speaks of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pem

from sptls.certs.bundle import CertificateBundle

if TYPE_CHECKING:
    from collections.abc import Iterable


def of_bundle(bundle: CertificateBundle) -> list[pem.AbstractPEMObject]:
    """
    Give the private key, then the chain, end-entity certificate first.
    """
    return [pem.PrivateKey(bundle.key_pem()), *pem.parse(bundle.chain_pem())]


def to_bundle(objects: Iterable[pem.AbstractPEMObject]) -> CertificateBundle:
    """
    Give the bundle of a private key and certificates in any order.

    Raises:
        BadCertificate: they are none.
    """
    objects = list(objects)
    keys = [one.as_bytes() for one in objects if isinstance(one, pem.Key)]
    certificates = [one.as_bytes() for one in objects if isinstance(one, pem.Certificate)]
    return CertificateBundle.from_pem(b"\n".join(keys), b"\n".join(certificates))

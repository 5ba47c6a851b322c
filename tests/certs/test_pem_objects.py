from __future__ import annotations

import pem
import pytest

from sptls.certs.pem_objects import of_bundle, to_bundle
from sptls.errors import BadCertificate
from tests.certs.stored import stored


def test_bundle_survives() -> None:
    """
    A bundle comes back from its objects, in whatever order they stand.
    """
    bundle = stored().bundle
    objects = of_bundle(bundle)
    assert [pem.PrivateKey, pem.Certificate, pem.Certificate] == [type(one) for one in objects]
    assert bundle == to_bundle(reversed(objects))


def test_key_without_certificate_is_refused() -> None:
    """
    Objects that make no bundle are refused.
    """
    with pytest.raises(BadCertificate):
        to_bundle(of_bundle(stored().bundle)[:1])

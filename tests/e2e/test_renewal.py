"""
Renewal: under traffic, with certificates that live seconds, and with another key type configured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.e2e.ca import Ca, certificate, domains, running_ca, sans
from tests.e2e.conftest import need_pebble
from tests.e2e.daemon import until
from tests.e2e.stored import make_due
from tests.e2e.traffic import traffic

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography import x509

pytestmark = [pytest.mark.e2e, pytest.mark.pebble]

NAME = "renewed.example"
KEY_TYPES = ("ec-p256", "ec-p384", "rsa-2048", "rsa-4096")
# Each is due when it has lived half of it: long enough for a busy machine to renew it in time.
CERTIFICATE_SECONDS = 14


def test_no_handshake_fails_while_certificates_are_renewed(tmp_path: Path) -> None:
    """
    Through two renewals every new handshake succeeds, and each certificate has a key of its own.
    """
    need_pebble()
    with (
        running_ca(tmp_path / "ca", certificate_seconds=CERTIFICATE_SECONDS) as ca,
        ca.launcher(tmp_path / "daemon", NAME).running() as daemon,
        traffic(daemon.https, NAME, ca.client()) as seen,
    ):
        until(lambda: len(seen.served) >= 3, "two renewals", 3 * CERTIFICATE_SECONDS)
    assert [] == seen.failures
    assert len(seen.served) == len(seen.keys)
    assert seen.handshakes > 100


def test_each_key_type(ca: Ca, tmp_path: Path) -> None:
    """
    A certificate that is due is renewed with a key of the configured type, and the name as its only SAN.
    """
    launcher, client = ca.launcher(tmp_path, NAME), ca.client()
    for kind in KEY_TYPES:
        launcher.write(domains=domains(NAME), acme=f'{ca.acme}\nkey_type = "{kind}"')
        with launcher.running() as daemon:
            until(lambda: kind == _kind(certificate(daemon.https, NAME, client)), f"{kind} certificate")  # noqa: B023
            assert [NAME] == sans(certificate(daemon.https, NAME, client))
        make_due(launcher.state, NAME)
    assert len(KEY_TYPES) == ca.orders


def _kind(issued: x509.Certificate) -> str:
    match issued.public_key():
        case ec.EllipticCurvePublicKey() as key:
            return f"ec-p{key.key_size}"
        case rsa.RSAPublicKey() as key:
            return f"rsa-{key.key_size}"
        case other:
            return repr(other)

"""
Certificates that live seconds, renewed again and again under traffic; one daemon for each key type.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import attrs
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.e2e.ca import Ca, certificate, running_ca, sans
from tests.e2e.conftest import need_pebble
from tests.e2e.daemon import Daemon, until
from tests.e2e.traffic import public_key, traffic

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from cryptography import x509

pytestmark = [pytest.mark.e2e, pytest.mark.pebble]

NAME = "renewed.example"
KEY_TYPES = ("ec-p256", "ec-p384", "rsa-2048", "rsa-4096")
# They are due at half of it at the latest.
CERTIFICATE_SECONDS = 14


@attrs.frozen
class Renewing:
    """
    A daemon, its CA's clients, and the first certificate that it served.
    """

    daemon: Daemon
    client: ssl.SSLContext
    first: x509.Certificate


@pytest.fixture(scope="module")
def renewing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Renewing]]:
    """
    Give a running daemon for each key type, each with a CA whose certificates live seconds.
    """
    need_pebble()
    with contextlib.ExitStack() as running:
        daemons: dict[str, Daemon] = {}
        cas: dict[str, Ca] = {}
        for kind in KEY_TYPES:
            directory = tmp_path_factory.mktemp(kind)
            cas[kind] = running.enter_context(running_ca(directory / "ca", certificate_seconds=CERTIFICATE_SECONDS))
            launcher = cas[kind].launcher(directory / "daemon", NAME, acme=f'key_type = "{kind}"')
            daemons[kind] = running.enter_context(launcher.running())
        yield {kind: _renewing(daemons[kind], cas[kind]) for kind in KEY_TYPES}


def _renewing(daemon: Daemon, ca: Ca) -> Renewing:
    client = ca.client()
    return Renewing(daemon, client, certificate(daemon.https, NAME, client))


def _kind(issued: x509.Certificate) -> str:
    match issued.public_key():
        case ec.EllipticCurvePublicKey() as key:
            return f"ec-p{key.key_size}"
        case rsa.RSAPublicKey() as key:
            return f"rsa-{key.key_size}"
        case other:
            return repr(other)


def test_no_handshake_fails_while_certificates_are_renewed(renewing: dict[str, Renewing]) -> None:
    """
    Through two renewals every new handshake succeeds, and each certificate has a key of its own.
    """
    one = renewing["ec-p256"]
    with traffic(one.daemon.https, NAME, one.client) as seen:
        until(lambda: len(seen.served) >= 3, "two renewals", 3 * CERTIFICATE_SECONDS)
    assert [] == seen.failures
    assert len(seen.served) == len(seen.keys)
    assert seen.handshakes > 100


@pytest.mark.parametrize("kind", KEY_TYPES)
def test_each_key_type(renewing: dict[str, Renewing], kind: str) -> None:
    """
    Certificates have a key of the configured type, a new one at each renewal, and the name as their only SAN.
    """
    one = renewing[kind]
    until(lambda: certificate(one.daemon.https, NAME, one.client) != one.first, "renewal", 2 * CERTIFICATE_SECONDS)
    renewed = certificate(one.daemon.https, NAME, one.client)
    assert [kind, kind] == [_kind(one.first), _kind(renewed)]
    assert public_key(one.first) != public_key(renewed)
    assert [NAME] == sans(renewed)

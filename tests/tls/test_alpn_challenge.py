"""
tls-alpn-01: what the certificate says, and which challenge is answered.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import attrs
import pytest
from cryptography import x509
from twisted.internet.defer import Deferred
from txacme.interfaces import IResponder
from zope.interface.verify import verifyObject

from sptls.certs.reach_rules import PROBE_BYTES, Probe
from sptls.errors import InvalidHostName
from sptls.interfaces import IAlpnChallenges
from sptls.tls.alpn_challenge import ACME_IDENTIFIER, ACME_TLS_1, TlsAlpn01Responder
from tests.tls.handshakes import client_context, shake_hands

if TYPE_CHECKING:
    from sptls.tls.contexts import ServerContext

NAME = "click.example.com"
CHALLENGE = object()


@attrs.frozen
class Response:
    """
    The response to a challenge.
    """

    key_authorization: str


FIRST, SECOND = Response("token-1.thumbprint"), Response("token-2.thumbprint")


@pytest.fixture(scope="module")
def shared() -> TlsAlpn01Responder:
    """
    Give a responder whose challenge for NAME, FIRST, is open.
    """
    responder = TlsAlpn01Responder()
    responder.start_responding(NAME, CHALLENGE, FIRST)
    return responder


@pytest.fixture
def responder() -> TlsAlpn01Responder:
    """
    Give a responder without open challenges.
    """
    return TlsAlpn01Responder()


def certificate(context: ServerContext | None) -> x509.Certificate:
    """
    Give what a validator sees that connects as RFC 8737 §3 has it.
    """
    assert context is not None
    done = shake_hands(context.context, client_context(ACME_TLS_1))
    assert done.client.get_alpn_proto_negotiated() == ACME_TLS_1
    (only,) = done.chain()
    return x509.load_der_x509_certificate(only)


def answered(responder: TlsAlpn01Responder, name: bytes = NAME.encode()) -> bytes | None:
    """
    Give the acmeIdentifier that is served for *name*, or None.
    """
    context = responder.alpn_context(name)
    if context is None:
        return None
    extension = certificate(context).extensions.get_extension_for_oid(ACME_IDENTIFIER)
    assert isinstance(extension.value, x509.UnrecognizedExtension)
    return extension.value.value


def identifier(response: Response) -> bytes:
    """
    Give the DER of the digest that RFC 8737 §3 asks for.
    """
    return b"\x04\x20" + hashlib.sha256(response.key_authorization.encode()).digest()


def test_interfaces(shared: TlsAlpn01Responder) -> None:
    """
    It is a responder for txacme and a source of challenges for the listener.
    """
    assert verifyObject(IAlpnChallenges, shared)
    assert IResponder.providedBy(shared)
    assert shared.challenge_type == "tls-alpn-01"


def test_only_name(shared: TlsAlpn01Responder) -> None:
    """
    The name is the only subjectAltName, and the certificate is signed by its own key.
    """
    served = certificate(shared.alpn_context(NAME.encode()))
    names = served.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert x509.SubjectAlternativeName([x509.DNSName(NAME)]) == names
    served.verify_directly_issued_by(served)


def test_identifier(shared: TlsAlpn01Responder) -> None:
    """
    The acmeIdentifier is critical and holds the SHA-256 of the key authorization as an OCTET STRING.
    """
    served = certificate(shared.alpn_context(NAME.encode()))
    assert served.extensions.get_extension_for_oid(ACME_IDENTIFIER).critical
    assert identifier(FIRST) == answered(shared)


@pytest.mark.parametrize(
    ("server_name", "found"),
    [
        (b"CLICK.example.com", True),
        (b"click.example.com.", True),
        (b"open.example.com", False),
        (b"", False),
        (None, False),
    ],
)
def test_server_name(shared: TlsAlpn01Responder, server_name: bytes | None, found: bool) -> None:
    """
    The challenge is found by its name in any case, and by no other.
    """
    assert found == (shared.alpn_context(server_name) is not None)


def test_ready_at_once(responder: TlsAlpn01Responder) -> None:
    """
    Both calls give a Deferred, as txacme wants it, that has fired.
    """
    for call in (responder.start_responding, responder.stop_responding):
        done = call(NAME, CHALLENGE, FIRST)
        assert isinstance(done, Deferred)
        assert done.called


def test_withdrawn(responder: TlsAlpn01Responder) -> None:
    """
    A challenge that is over is not answered, and can be withdrawn twice.
    """
    responder.start_responding(NAME, CHALLENGE, FIRST)
    responder.stop_responding(NAME, CHALLENGE, FIRST)
    responder.stop_responding(NAME, CHALLENGE, FIRST)
    assert answered(responder) is None


def test_self_check_does_not_answer_in_a_challenges_place(responder: TlsAlpn01Responder) -> None:
    """
    A CA may be validating at the moment.
    """
    probe = Probe.of(bytes(PROBE_BYTES))
    responder.start_responding(NAME, CHALLENGE, FIRST)
    responder.start_responding(NAME, CHALLENGE, probe)
    assert identifier(FIRST) == answered(responder)
    responder.stop_responding(NAME, CHALLENGE, FIRST)
    found = answered(responder)
    assert found is not None
    assert probe.acme_identifier == found


@pytest.mark.parametrize(("over", "left"), [(FIRST, SECOND), (SECOND, FIRST)])
def test_two_open(responder: TlsAlpn01Responder, over: Response, left: Response) -> None:
    """
    Of two challenges for one name the latest is answered; when one is over, the other.
    """
    responder.start_responding(NAME, CHALLENGE, FIRST)
    responder.start_responding(NAME.upper(), CHALLENGE, SECOND)
    assert identifier(SECOND) == answered(responder)
    responder.stop_responding(NAME, CHALLENGE, over)
    assert identifier(left) == answered(responder)


def test_two_names(responder: TlsAlpn01Responder) -> None:
    """
    Challenges of different names do not touch each other.
    """
    responder.start_responding(NAME, CHALLENGE, FIRST)
    responder.start_responding("open.example.com", CHALLENGE, SECOND)
    responder.stop_responding("open.example.com", CHALLENGE, SECOND)
    assert identifier(FIRST) == answered(responder)


def test_no_host_name(responder: TlsAlpn01Responder) -> None:
    """
    What is no host name can't have a challenge.
    """
    with pytest.raises(InvalidHostName):
        responder.start_responding("192.0.2.1", CHALLENGE, FIRST)

"""
Contexts: what each policy negotiates, what is served, what is kept, and what our own clients trust.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import attrs
import pytest
import trustme
from cryptography.hazmat.bindings.openssl.binding import Binding
from OpenSSL import SSL
from twisted.internet._sslverify import IOpenSSLTrustRoot
from twisted.internet.ssl import CertificateOptions, optionsForClientTLS
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from sptls.certs.bundle import CertificateBundle
from sptls.errors import BadCertificate, StartError
from sptls.names import HostName
from sptls.tls import openssl
from sptls.tls.contexts import (
    TICKET_KEYS_SECONDS,
    ContextCache,
    client_trust,
    extra_certificates,
    server_context,
    stranger_context,
    trust_in,
)
from tests.tls.handshakes import client_context, shake_hands

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sptls.config import TlsPolicy
    from tests.tls.handshakes import Issue

POLICIES: tuple[TlsPolicy, ...] = ("intermediate", "modern", "compatible")
every_policy = pytest.mark.parametrize("policy", POLICIES)
NAME = HostName("click.example.com")
OTHER = HostName("open.example.com")
TLS_1_3_REVERSED = b"TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256"


@every_policy
def test_serves_the_chain(bundle: CertificateBundle, policy: TlsPolicy) -> None:
    """
    The client gets the end-entity certificate and the intermediates, in order.
    """
    assert bundle.chain == shake_hands(server_context(bundle, policy).context).chain()


def test_stranger_is_asked_whoever_it_is(bundle: CertificateBundle) -> None:
    """
    Nothing is verified: its certificate is what the question is about. The protocols are offered.
    """
    serving = server_context(bundle, "intermediate", (b"acme-tls/1",)).context
    done = shake_hands(serving, stranger_context((b"acme-tls/1",)), b"stranger.example")
    assert (bundle.chain, b"acme-tls/1") == (done.chain(), done.client.get_alpn_proto_negotiated())


def test_self_signed(bundle: CertificateBundle) -> None:
    """
    A chain of one certificate is served as it is.
    """
    alone = attrs.evolve(bundle, chain=bundle.chain[:1])
    assert alone.chain == shake_hands(server_context(alone, "intermediate").context).chain()


@pytest.mark.parametrize("kind", [trustme.KeyType.ECDSA, trustme.KeyType.RSA])
@pytest.mark.parametrize(
    ("version", "suite"), [(SSL.TLS1_2_VERSION, "AES128-GCM-SHA256"), (SSL.TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256")]
)
def test_key_types(issue: Issue, kind: trustme.KeyType, version: int, suite: str) -> None:
    """
    Keys of each kind serve both versions, with AES-128-GCM.
    """
    context = server_context(issue(NAME.text, key_type=kind), "intermediate").context
    assert str(shake_hands(context, client_context(version=version)).client.get_cipher_name()).endswith(suite)


@every_policy
def test_our_preference(bundle: CertificateBundle, policy: TlsPolicy) -> None:
    """
    AES-128-GCM is taken although the client would rather have AES-256.
    """
    done = shake_hands(server_context(bundle, policy).context, client_context(suites=TLS_1_3_REVERSED))
    assert done.client.get_cipher_name() == "TLS_AES_128_GCM_SHA256"


@pytest.mark.parametrize(
    ("policy", "suites", "expected"),
    [
        (
            "intermediate",
            b"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256",
            "ECDHE-ECDSA-AES128-GCM-SHA256",
        ),
        ("intermediate", b"ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-ECDSA-CHACHA20-POLY1305"),
        ("intermediate", b"ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA384", None),
        ("compatible", b"ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES128-SHA"),
        ("compatible", b"ECDHE-ECDSA-AES256-SHA384", "ECDHE-ECDSA-AES256-SHA384"),
        ("compatible", b"ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256"),
        ("compatible", b"AES128-SHA:AES128-GCM-SHA256", None),
        ("modern", b"ECDHE-ECDSA-AES128-GCM-SHA256", None),
    ],
)
def test_tls_1_2_suites(bundle: CertificateBundle, policy: TlsPolicy, suites: bytes, expected: str | None) -> None:
    """
    Of TLS 1.2, each policy has the suites that it says, and refuses a client that has no other.
    """
    context = server_context(bundle, policy).context
    client = client_context(version=SSL.TLS1_2_VERSION, suites=suites)
    if expected is None:
        with pytest.raises(SSL.Error):
            shake_hands(context, client)
    else:
        assert expected == shake_hands(context, client).client.get_cipher_name()


@every_policy
def test_no_older_version(bundle: CertificateBundle, policy: TlsPolicy) -> None:
    """
    TLS 1.1 is refused.
    """
    client = client_context(version=SSL.TLS1_1_VERSION, suites=b"ALL:@SECLEVEL=0")
    client.set_min_proto_version(SSL.TLS1_VERSION)
    with pytest.raises(SSL.Error, match="unsupported protocol"):
        shake_hands(server_context(bundle, policy).context, client)


@pytest.mark.skipif(SSL.OPENSSL_VERSION_NUMBER < 0x30500000, reason="OpenSSL has the group since 3.5")
def test_post_quantum(bundle: CertificateBundle) -> None:
    """
    The hybrid group is agreed on with a client that has it.
    """
    assert shake_hands(server_context(bundle, "modern").context).client.get_group_name() == "X25519MLKEM768"


@pytest.mark.skipif(SSL.OPENSSL_VERSION_NUMBER < 0x30500000, reason="OpenSSL has the group since 3.5")
def test_post_quantum_is_preferred(bundle: CertificateBundle) -> None:
    """
    A client that can do it, but has guessed another, is asked once more.
    """
    client = _with_groups(b"X25519:X25519MLKEM768")
    assert shake_hands(server_context(bundle, "modern").context, client).client.get_group_name() == "X25519MLKEM768"


@pytest.mark.parametrize(("group", "name"), [(b"X25519", "x25519"), (b"P-256", "secp256r1"), (b"P-384", "secp384r1")])
def test_groups(bundle: CertificateBundle, group: bytes, name: str) -> None:
    """
    What common clients have is agreed on.
    """
    handshake = shake_hands(server_context(bundle, "intermediate").context, _with_groups(group))
    assert name == handshake.client.get_group_name()


@every_policy
@pytest.mark.parametrize("group", [b"X448", b"P-521", b"ffdhe2048"])
def test_other_groups(bundle: CertificateBundle, policy: TlsPolicy, group: bytes) -> None:
    """
    What is not recommended is refused.
    """
    with pytest.raises(SSL.Error, match=r"handshake failure|no suitable"):
        shake_hands(server_context(bundle, policy).context, _with_groups(group))


def test_groups_of_an_older_openssl(bundle: CertificateBundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Where the post-quantum group is unknown, the others are offered, and no error is left for a connection to find.
    """
    monkeypatch.setattr(openssl, "_GROUPS", b"Unheard / X25519")
    context = server_context(bundle, "intermediate").context
    assert "x25519" == shake_hands(context).client.get_group_name()
    with pytest.raises(SSL.Error):
        shake_hands(context, _with_groups(b"P-521"))


def _with_groups(groups: bytes) -> SSL.Context:
    context = client_context()
    assert 1 == Binding.lib.SSL_CTX_set1_curves_list(context._context, groups)
    return context


@pytest.mark.parametrize(
    ("offered", "expected"),
    [
        ((), b""),
        ((b"http/1.1",), b"http/1.1"),
        ((b"h2",), b"h2"),
        ((b"http/1.1", b"h2"), b"h2"),
        ((b"http/1.0",), b""),
        ((b"http/1.0", b"h3"), b""),
    ],
)
def test_alpn(bundle: CertificateBundle, offered: tuple[bytes, ...], expected: bytes) -> None:
    """
    h2 is taken where it is offered, else http/1.1; who offers only others is served without ALPN, not refused.
    """
    done = shake_hands(server_context(bundle, "intermediate").context, client_context(*offered))
    assert expected == done.client.get_alpn_proto_negotiated()


def test_alpn_is_our_choice(bundle: CertificateBundle) -> None:
    """
    Of several that both have, ours comes first; a context may have others than usual.
    """
    context = server_context(bundle, "intermediate", (b"http/1.1", b"h2")).context
    assert shake_hands(context, client_context(b"h2", b"http/1.1")).client.get_alpn_proto_negotiated() == b"http/1.1"


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_resumption(bundle: CertificateBundle, version: int) -> None:
    """
    A client that comes again with its ticket gets no certificate; with another context's ticket, all of it.
    """
    context, client = server_context(bundle, "intermediate").context, client_context(version=version)
    first = shake_hands(context, client)
    session = first.client.get_session()
    again = shake_hands(context, client, session=session)
    renewed = shake_hands(server_context(bundle, "intermediate").context, client, session=session)
    certificates_bytes = sum(map(len, bundle.chain))
    assert again.server_bytes < first.server_bytes - certificates_bytes
    assert renewed.server_bytes > again.server_bytes + certificates_bytes


def test_no_renegotiation(bundle: CertificateBundle) -> None:
    """
    A client of TLS 1.2 can't have the handshake repeated.
    """
    done = shake_hands(server_context(bundle, "intermediate").context, client_context(version=SSL.TLS1_2_VERSION))
    done.client.renegotiate()
    with pytest.raises(SSL.WantReadError):
        done.client.do_handshake()
    done.server.bio_write(done.client.bio_read(65536))
    with pytest.raises(SSL.WantReadError):
        done.server.recv(1)
    done.client.bio_write(done.server.bio_read(65536))
    with pytest.raises(SSL.Error, match="no renegotiation"):
        done.client.do_handshake()


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_client_that_half_closes_below_tls(bundle: CertificateBundle, version: int) -> None:
    """
    A client that ends its side without close_notify has ended its side and no more: it gets its answer.
    """
    done = shake_hands(server_context(bundle, "intermediate").context, client_context(version=version))
    done.client.send(b"the request")
    done.server.bio_write(done.client.bio_read(65536))
    done.server.bio_shutdown()
    assert done.server.recv(16384) == b"the request"
    with pytest.raises(SSL.ZeroReturnError):
        done.server.recv(16384)
    done.server.send(b"the answer")
    done.client.bio_write(done.server.bio_read(65536))
    assert done.client.recv(16384) == b"the answer"


@pytest.mark.parametrize(
    ("host", "covered"),
    [
        (b"click.example.com", True),
        (b"Click.Example.COM.", True),
        (b"a.example.org", True),
        (b"a.b.example.org", False),
        (b"example.org", False),
        (b"open.example.com", False),
        (b"", False),
    ],
)
def test_covers(bundle: CertificateBundle, host: bytes, covered: bool) -> None:
    """
    A context knows the names of its certificate as RFC 6125 reads them.
    """
    assert covered == server_context(bundle, "intermediate").covers(host)


def test_key_of_another(bundle: CertificateBundle, issue: Issue) -> None:
    """
    A key that is not the certificate's is refused, in OpenSSL's words.
    """
    with pytest.raises(BadCertificate, match="key values mismatch"):
        server_context(attrs.evolve(bundle, key=issue("other.example.com").key), "intermediate")


@pytest.mark.parametrize(
    "damaged",
    [
        lambda bundle: attrs.evolve(bundle, key=b""),
        lambda bundle: attrs.evolve(bundle, key=bundle.key[:-1]),
        lambda bundle: attrs.evolve(bundle, chain=()),
        lambda bundle: attrs.evolve(bundle, chain=(bundle.chain[0], b"\x30\x03")),
    ],
)
def test_damaged(bundle: CertificateBundle, damaged: Callable[[CertificateBundle], CertificateBundle]) -> None:
    """
    A key or chain that can't be read is refused.
    """
    with pytest.raises(BadCertificate):
        server_context(damaged(bundle), "intermediate")


@pytest.fixture
def clock() -> Clock:
    """
    Give the cache's time.
    """
    return Clock()


@pytest.fixture
def cache(clock: Clock) -> ContextCache:
    """
    Give a cache for two contexts.
    """
    return ContextCache("intermediate", 2, clock.seconds)


def test_kept(cache: ContextCache, bundle: CertificateBundle) -> None:
    """
    The same bundle gets the same context.
    """
    assert cache.get(NAME, bundle) is cache.get(HostName("click.example.com"), bundle)


def test_renewed(cache: ContextCache, bundle: CertificateBundle, issue: Issue) -> None:
    """
    Another bundle gets another context, at once, and an equal object counts as another.
    """
    contexts = [cache.get(NAME, each) for each in (bundle, issue(NAME.text), attrs.evolve(bundle))]
    assert len(cache) == 1
    assert len({id(each) for each in contexts}) == 3


def test_least_recently_used(cache: ContextCache, bundle: CertificateBundle) -> None:
    """
    Over the capacity, the one that was asked for longest ago goes.
    """
    first, second = cache.get(NAME, bundle), cache.get(OTHER, bundle)
    cache.get(NAME, bundle)
    cache.get(HostName("third.example.com"), bundle)
    assert len(cache) == 2
    assert first is cache.get(NAME, bundle)
    assert second is not cache.get(OTHER, bundle)


def test_ticket_keys_age(cache: ContextCache, clock: Clock, bundle: CertificateBundle) -> None:
    """
    A context is replaced when it is a day old, not before, however often it was asked for.
    """
    first = cache.get(NAME, bundle)
    clock.advance(TICKET_KEYS_SECONDS - 1)
    assert first is cache.get(NAME, bundle)
    clock.advance(1)
    assert first is not cache.get(NAME, bundle)


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
def test_yesterdays_ticket(cache: ContextCache, clock: Clock, bundle: CertificateBundle, version: int) -> None:
    """
    A ticket resumes until the context's day is over, and then no more: whoever has its keys by then reads no later one.
    """
    client = client_context(version=version)
    first = shake_hands(cache.get(NAME, bundle).context, client)
    session, resumed = first.client.get_session(), []
    for seconds in (TICKET_KEYS_SECONDS - 1, 1):
        clock.advance(seconds)
        done = shake_hands(cache.get(NAME, bundle).context, client, session=session)
        resumed.append(done.server_bytes < first.server_bytes - sum(map(len, bundle.chain)))
    assert [True, False] == resumed


def test_compression_is_off(bundle: CertificateBundle) -> None:
    """
    A client of TLS 1.2 that offers DEFLATE (RFC 3749) gets no compression: CRIME would read a cookie from its lengths.
    """
    connection = SSL.Connection(client_context(version=SSL.TLS1_2_VERSION), None)
    connection.set_connect_state()
    with pytest.raises(SSL.WantReadError):
        connection.do_handshake()
    hello = connection.bio_read(65536)
    at = hello.index(b"\x01\x00", 44 + hello[43] + int.from_bytes(hello[44 + hello[43] : 46 + hello[43]], "big"))
    longer = b"\x02\x01\x00".join((hello[5:at], hello[at + 2 :]))
    body = longer[:1] + (len(longer) - 4).to_bytes(3, "big") + longer[4:]
    server = SSL.Connection(server_context(bundle, "intermediate").context, None)
    server.set_accept_state()
    server.bio_write(hello[:3] + len(body).to_bytes(2, "big") + body)
    with pytest.raises(SSL.WantReadError):
        server.do_handshake()
    answer = server.bio_read(65536)
    method_at = 44 + answer[43] + 2  # record 5, handshake 4, version 2, random 32, session identifier, suite 2
    assert (22, 2, 0) == (answer[0], answer[5], answer[method_at])


def test_forgotten(cache: ContextCache, bundle: CertificateBundle) -> None:
    """
    What is dropped is made again; what was never there can be dropped.
    """
    first = cache.get(NAME, bundle)
    cache.drop(NAME)
    cache.drop(OTHER)
    second = cache.get(NAME, bundle)
    cache.clear()
    assert len(cache) == 0
    assert len({id(first), id(second), id(cache.get(NAME, bundle))}) == 3


def test_nothing_kept_of_damage(cache: ContextCache, bundle: CertificateBundle) -> None:
    """
    A bundle that can't be used leaves nothing behind, not even the context before it.
    """
    cache.get(NAME, bundle)
    with pytest.raises(BadCertificate):
        cache.get(NAME, attrs.evolve(bundle, key=b""))
    assert len(cache) == 0


@pytest.fixture
def roots(authority: trustme.CA, tmp_path: Path) -> Path:
    """
    Give a file of two roots, with text between them.
    """
    path = tmp_path / "roots.pem"
    other = trustme.CA(key_type=trustme.KeyType.ECDSA)
    path.write_bytes(other.cert_pem.bytes() + b"\nours:\n" + authority.cert_pem.bytes())
    return path


def verified(bundle: CertificateBundle, extra: Path | None) -> bool:
    """
    Tell whether a Twisted client with the trust of *extra* takes the server of *bundle* for genuine.
    """
    client = CertificateOptions(trustRoot=client_trust(extra)).getContext()
    try:
        shake_hands(server_context(bundle, "intermediate").context, client)
    except SSL.Error:
        return False
    return True


def test_extra_root(bundle: CertificateBundle, roots: Path) -> None:
    """
    A server is trusted by an extra root, and not without it.
    """
    assert verified(bundle, roots)
    assert not verified(bundle, None)


@pytest.mark.parametrize("extra", [False, True])
def test_for_twisted(roots: Path, extra: bool) -> None:
    """
    Twisted takes it as a trust root, as it takes its own.
    """
    trust = client_trust(roots if extra else None)
    assert verifyObject(IOpenSSLTrustRoot, trust)
    optionsForClientTLS(NAME.text, trustRoot=trust)


def test_system_roots_stay(roots: Path, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Extra roots come on top of the system's, which SSL_CERT_FILE may name.
    """
    ours, system = trustme.CA(), tmp_path / "system.pem"
    system.write_bytes(ours.cert_pem.bytes())
    issued = ours.issue_cert(NAME.text)
    monkeypatch.setenv("SSL_CERT_FILE", str(system))
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    assert verified(CertificateBundle.from_pem(issued.private_key_pem.bytes(), chain), roots)


def test_trust_is_known_by_its_roots(roots: Path, tmp_path: Path) -> None:
    """
    A file that is read again is the same trust, until there is another root in it.
    """
    before = client_trust(roots)
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    assert before == client_trust(roots)
    assert before != client_trust(tmp_path / "other.pem")
    assert client_trust(None) == client_trust(None)


def test_trust_can_be_told(roots: Path) -> None:
    """
    To a process that may not read the file.
    """
    trust = client_trust(roots)
    assert trust == trust_in(extra_certificates(trust))
    assert client_trust(None) == trust_in(extra_certificates(client_trust(None)))
    assert () == extra_certificates(object())
    with pytest.raises(ValueError, match="error parsing"):
        trust_in((b"no certificate",))


def test_missing_file(tmp_path: Path) -> None:
    """
    A file that is not there is named, with the reason.
    """
    with pytest.raises(StartError, match=r"roots\.pem can't be read: No such file"):
        client_trust(tmp_path / "roots.pem")


@pytest.mark.parametrize("text", [b"", b"none", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_no_certificate(tmp_path: Path, text: bytes) -> None:
    """
    A file without certificates is an error, not an empty trust.
    """
    (tmp_path / "roots.pem").write_bytes(text)
    with pytest.raises(StartError, match="no PEM certificates"):
        client_trust(tmp_path / "roots.pem")


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07"),  # a version that there is not
        (b"trustme", b"trust\xffe"),  # a name that is no UTF-8, which cryptography reads and OpenSSL does not
    ],
)
def test_root_that_is_damaged_is_none(authority: trustme.CA, tmp_path: Path, good: bytes, bad: bytes) -> None:
    """
    It is refused as all that can't be read, told or from the file.
    """
    der = ssl.PEM_cert_to_DER_cert(authority.cert_pem.bytes().decode())
    assert good in der
    odd = der.replace(good, bad)
    (tmp_path / "roots.pem").write_text(ssl.DER_cert_to_PEM_cert(odd))
    with pytest.raises(StartError, match="no PEM certificates"):
        client_trust(tmp_path / "roots.pem")
    with pytest.raises(ValueError, match=r"version|utf8string"):
        trust_in([odd])

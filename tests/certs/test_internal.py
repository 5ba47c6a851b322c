from __future__ import annotations

import ssl
from datetime import datetime, timedelta
from functools import partial
from queue import Queue
from typing import TYPE_CHECKING, cast

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool
from zope.interface.verify import verifyObject

from sptls.certs.bundle import check
from sptls.certs.csr import generate_key
from sptls.certs.internal import CERTIFICATE_FILE, KEY_FILE, ROOT_VALIDITY, InternalCa, Root, open_root
from sptls.certs.pem import certificate_from_der
from sptls.errors import IssuanceFailed, NotRevocable, StartError
from sptls.interfaces import IIssuer, Issued
from sptls.names import HostName
from tests.certs.authority import NOW
from tests.certs.stored import outcome

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from twisted.internet.interfaces import IReactorFromThreads

    from sptls.certs.bundle import CertificateBundle
    from sptls.config import KeyType

CLICK = HostName("click.localhost")


class Reactor:
    """
    The part of a reactor that threads call: what they hand over waits in a queue.
    """

    def __init__(self) -> None:
        self.calls: Queue[Callable[[], object]] = Queue()

    def callFromThread(self, work: Callable[..., object], *args: object, **kwargs: object) -> None:  # noqa: N802
        """
        Take *work* from a thread.
        """
        self.calls.put(partial(work, *args, **kwargs))


class Authority:
    """
    An internal CA at the moment *now*, with a thread of its own.
    """

    def __init__(self, root: Root, now: datetime = NOW, key_type: KeyType = "ec-p256") -> None:
        self.reactor, self.threads = Reactor(), ThreadPool(1, 1)
        self.issuer = InternalCa(
            root,
            reactor=cast("IReactorFromThreads", self.reactor),
            wall_clock=lambda: now,
            threads=self.threads,
            key_type=key_type,
        )

    def issue(self) -> CertificateBundle:
        """
        Have a certificate for click.localhost issued; the key comes from the thread.
        """
        outcomes: list[Issued | Failure] = []
        Deferred.fromCoroutine(self.issuer.obtain(CLICK)).addBoth(outcomes.append)
        self.threads.start()
        try:
            self.reactor.calls.get(timeout=30)()
        finally:
            self.threads.stop()
        (outcome,) = outcomes
        if isinstance(outcome, Failure):
            outcome.raiseException()
        return outcome.bundle


@pytest.fixture
def root(tmp_path: Path) -> Root:
    """
    A root of its own for the test.
    """
    return open_root(tmp_path, NOW)


def test_it_is_an_issuer(root: Root) -> None:
    """
    The internal CA provides IIssuer under the name that the configuration has for it.
    """
    issuer = Authority(root).issuer
    assert verifyObject(IIssuer, issuer)
    assert issuer.directory == "internal"


def test_the_root_is_made_once(tmp_path: Path) -> None:
    """
    The second start reads what the first one made.
    """
    first = open_root(tmp_path / "state", NOW)
    second = open_root(tmp_path / "state", NOW + timedelta(days=1))
    assert first.certificate == second.certificate
    assert first.key.private_numbers() == second.key.private_numbers()


def test_the_key_is_private_and_the_certificate_readable(tmp_path: Path, root: Root) -> None:
    """
    The key file has mode 0600, the certificate file 0644, and its content is what clients have to trust.
    """
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {KEY_FILE: 0o600, CERTIFICATE_FILE: 0o644}
    assert (tmp_path / CERTIFICATE_FILE).read_bytes() == root.pem
    assert repr(root).count("key") == 0


def test_the_root_certifies_servers_only(root: Root) -> None:
    """
    The root is a CA without CAs below it, for ten years from yesterday on.
    """
    constraints = root.certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert x509.BasicConstraints(ca=True, path_length=0) == constraints.value
    assert constraints.critical
    assert NOW - timedelta(days=1) == root.certificate.not_valid_before_utc
    assert root.certificate.not_valid_after_utc == NOW + ROOT_VALIDITY


@pytest.mark.parametrize("key_type", ["ec-p256", "ec-p384", "rsa-2048"])
def test_certificates_satisfy_every_check(root: Root, key_type: KeyType) -> None:
    """
    What is issued passes the checks, covers the name and no other, for 90 days, whatever the key type.
    """
    bundle = Authority(root, key_type=key_type).issue()
    check(bundle, CLICK, NOW)
    assert bundle.names == (CLICK,)
    assert (NOW, NOW + timedelta(days=90)) == (bundle.not_before, bundle.not_after)


def test_certificates_are_for_servers(root: Root) -> None:
    """
    The extensions are a server's, and tie the certificate to the root.
    """
    extensions = certificate_from_der(Authority(root).issue().chain[0]).extensions
    assert extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME).critical
    usage = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    subject = root.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    authority = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert subject.digest == authority.key_identifier


def test_each_certificate_has_a_new_key_and_serial(root: Root) -> None:
    """
    No key and no serial is used twice.
    """
    first, second = Authority(root).issue(), Authority(root).issue()
    assert first.key != second.key
    assert first.serial != second.serial


def test_validity_may_be_seconds(root: Root) -> None:
    """
    Tests of renewal get certificates that live for seconds.
    """
    bundle = root.issue(CLICK, generate_key("ec-p256"), NOW, timedelta(seconds=20))
    assert timedelta(seconds=20) == bundle.not_after - bundle.not_before


def test_nothing_outlives_the_root(root: Root) -> None:
    """
    A certificate ends with the root at the latest, and after that the failure says so.
    """
    end = root.certificate.not_valid_after_utc
    assert Authority(root, end - timedelta(days=1)).issue().not_after == end
    with pytest.raises(IssuanceFailed, match="the internal CA's root expired at 2036-07-29 12:00 UTC") as caught:
        Authority(root, end).issue()
    assert caught.value.failed_authorizations == 0


def test_a_client_that_trusts_the_root_accepts_the_server(tmp_path: Path, root: Root) -> None:
    """
    A TLS client with the root's file as its only trust completes a verified handshake for the name.
    """
    bundle = root.issue(CLICK, generate_key("ec-p256"), datetime.now(tz=NOW.tzinfo))
    file = tmp_path / "server.pem"
    file.write_bytes(bundle.key_pem() + bundle.chain_pem())
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(file)
    client_context = ssl.create_default_context(cafile=str(tmp_path / CERTIFICATE_FILE))
    client_context.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname=CLICK.text)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    for side in (client, server, client):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    assert client.version() == "TLSv1.3"


def test_a_lost_certificate_is_made_again(tmp_path: Path, root: Root) -> None:
    """
    The certificate comes back from the key; what was issued before still verifies.
    """
    bundle = Authority(root).issue()
    (tmp_path / CERTIFICATE_FILE).unlink()
    again = open_root(tmp_path, NOW)
    certificate_from_der(bundle.chain[0]).verify_directly_issued_by(again.certificate)


def other_root_in(path: Path) -> None:
    """
    Put another root's certificate in the place of the right one.
    """
    (path / CERTIFICATE_FILE).write_bytes(Root.create(generate_key("ec-p256"), NOW).pem)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: (path / KEY_FILE).unlink(), f"{KEY_FILE}: No such file or directory"),
        (lambda path: (path / KEY_FILE).write_bytes(b""), "there are 0 private keys in it"),
        (lambda path: (path / CERTIFICATE_FILE).write_bytes(b""), "there is no certificate in it"),
        (other_root_in, "the key does not belong to the certificate"),
    ],
)
@pytest.mark.usefixtures("root")
def test_a_damaged_root_stops_the_start(tmp_path: Path, damage: Callable[[Path], object], reason: str) -> None:
    """
    A root that can't be used is named, with the reason and what to do; nothing is overwritten.
    """
    damage(tmp_path)
    with pytest.raises(StartError, match=reason) as caught:
        open_root(tmp_path, NOW)
    assert "move both files away" in str(caught.value)


def test_a_directory_that_cannot_be_made_stops_the_start(tmp_path: Path) -> None:
    """
    A file in the place of the state directory is named as the reason.
    """
    (tmp_path / "state").write_bytes(b"")
    with pytest.raises(StartError, match="state: it exists and is not a directory"):
        open_root(tmp_path / "state", NOW)


def test_it_has_no_wishes_and_revokes_nothing(root: Root) -> None:
    """
    Certificates are renewed by their lifetime; what can't be revoked is said, with what to do instead.
    """
    authority = Authority(root)
    bundle = authority.issue()
    assert outcome(authority.issuer.renewal_info(bundle)) is None
    with pytest.raises(NotRevocable, match="remove its root"):
        outcome(authority.issuer.revoke(bundle))

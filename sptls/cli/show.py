"""
``sptls show``: one certificate as openssl prints it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from cryptography.hazmat.primitives.hashes import SHA256

from sptls.certs.pem import certificate_from_der
from sptls.cli.options import host_name, place, place_options
from sptls.cli.output import EXIT_FAILED, EXIT_FINE, note, say
from sptls.cli.stored import Stored
from sptls.errors import BadCertificate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cryptography import x509

    from sptls.certs.bundle import CertificateBundle
    from sptls.names import HostName


@click.command("show", short_help="Show a certificate, as openssl prints it.")
@click.argument("name", metavar="NAME", callback=host_name)
@click.option("--pem", "as_pem", is_flag=True, help="Write the chain as PEM instead; never the private key.")
@place_options
def command(name: HostName, as_pem: bool, config: Path | None, state_dir: Path | None, *, renew_only: bool) -> int:
    """
    Show the certificate of NAME as openssl x509 -text prints it, its SHA-256 fingerprint, and its chain.

    It is read from the store, or from the files of a domain that brings its own. A daemon may run.

    \b
    Exit status:
      0  it is shown
      1  there is no certificate, or none that can be read
      2  usage or configuration, also a NAME that is not served and of which nothing is stored
    """  # noqa: D301 - click wants the character itself
    stored = Stored.at(place(config, state_dir, renew_only=renew_only))
    if name in stored.passed_through:
        note(f"{name}: is passed through: its certificate is the other server's; openssl s_client shows it")
        return EXIT_FAILED
    try:
        bundle = stored.bundle(name)
    except BadCertificate as error:
        note(f"{name}: its certificate can't be used: {error}")
        return EXIT_FAILED
    if bundle is None:
        damage = next((damage for damage in stored.loaded.damaged if damage.startswith(f"{name}: ")), None)
        if damage is None and name not in stored.names:
            raise click.UsageError(stored.unknown(name))
        note(damage or f"{name}: there is no certificate; sptls status shows the domains, sptls issue {name} gets one")
        return EXIT_FAILED
    for text in [bundle.chain_pem().decode("ascii").rstrip()] if as_pem else _texts(bundle):
        say(text)
    return EXIT_FINE


def _texts(bundle: CertificateBundle) -> Iterator[str]:
    """
    Give the paragraphs: the end-entity certificate in full, its fingerprint, and a line or two for each of the chain.
    """
    from OpenSSL import crypto  # a tenth of a second, which PEM doesn't need

    chain = [certificate_from_der(der) for der in bundle.chain]
    first = crypto.X509.from_cryptography(chain[0])
    yield crypto.dump_certificate(crypto.FILETYPE_TEXT, first).decode("utf-8", "replace").rstrip()
    yield f"sha256 Fingerprint={chain[0].fingerprint(SHA256()).hex(':').upper()}"
    yield "Certificate chain"
    for depth, certificate in enumerate(chain):
        yield from _chain_lines(depth, certificate)


def _chain_lines(depth: int, certificate: x509.Certificate) -> Iterator[str]:
    """
    Give what ``openssl s_client`` says of a certificate of a chain.
    """
    yield f" {depth} s:{certificate.subject.rfc4514_string()}"
    yield f"   i:{certificate.issuer.rfc4514_string()}"
    validity = (
        f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M:%S}",
        f"{certificate.not_valid_after_utc:%Y-%m-%d %H:%M:%S}",
    )
    yield f"   v:NotBefore: {validity[0]} UTC; NotAfter: {validity[1]} UTC"

"""
Tests for `sptls.cli.show`.
"""

from __future__ import annotations

import shutil
import subprocess

import pytest
from cryptography import x509

from sptls.certs.bundle import CertificateBundle
from tests.cli.conftest import Command, Site


def test_certificate_reads_as_openssl_prints_it(sptls: Command, site: Site) -> None:
    """
    The text, then the fingerprint, then the chain.
    """
    bundle = site.put("a.example")
    ran = sptls("show", "--config", site.write("a.example"), "A.example")
    assert (0, "") == (ran.status, ran.err)
    assert ran.out.startswith("Certificate:\n    Data:\n        Version: 3 (0x2)\n")
    for said in ("Signature Algorithm: ecdsa-with-SHA256", "DNS:a.example", "Not After :", "Public-Key: (256 bit"):
        assert said in ran.out
    assert (
        f"\nCertificate chain\n 0 s:{x509.load_der_x509_certificate(bundle.chain[0]).subject.rfc4514_string()}\n"
        in ran.out
    )


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_fingerprint_is_openssls(sptls: Command, site: Site) -> None:
    """
    Character for character, so that they can be compared.
    """
    bundle = site.put("a.example")
    told = subprocess.run(
        ["openssl", "x509", "-noout", "-fingerprint", "-sha256"],
        input=bundle.chain_pem(),
        capture_output=True,
        check=True,
    )
    assert told.stdout.decode().strip() in sptls("show", "--state-dir", site.state, "a.example").out.splitlines()


def test_pem_is_the_chain_and_never_the_key(sptls: Command, site: Site) -> None:
    """
    For a pipe.
    """
    bundle = site.put("a.example")
    ran = sptls("show", "--state-dir", site.state, "--pem", "a.example")
    assert bundle.chain_pem().decode() == ran.out
    assert "PRIVATE" not in ran.out


def test_own_certificate_is_shown_from_its_files(sptls: Command, site: Site) -> None:
    """
    With the configuration that names them.
    """
    ran = sptls("show", "--config", site.write(site.bring("own.example")), "--pem", "own.example")
    assert (0, (site.directory / "own.example.pem").read_text()) == (ran.status, ran.out)


def test_certificate_that_is_not_there_is_said(sptls: Command, site: Site) -> None:
    """
    And what to do.
    """
    ran = sptls("show", "--config", site.write("a.example"), "a.example")
    assert (1, "", True) == (ran.status, ran.out, "sptls issue a.example gets one" in ran.err)


def test_name_that_is_not_served_is_a_usage_error(sptls: Command, site: Site) -> None:
    """
    As for the other commands; a certificate of a domain that was dropped is shown while it is stored.
    """
    site.put("dropped.example")
    config = site.write("a.example")
    ran = sptls("show", "--config", config, "x.example")
    assert (2, "", True) == (ran.status, ran.out, "x.example: it is none of the configuration's domains" in ran.err)
    ran = sptls("show", "--state-dir", site.state, "x.example")
    assert (2, "", True) == (ran.status, ran.out, "x.example: nothing is stored of it" in ran.err)
    assert 0 == sptls("show", "--config", config, "dropped.example").status


def test_damaged_certificate_is_said_to_be_that(sptls: Command, site: Site) -> None:
    """
    In the store, and in own files.
    """
    site.put("a.example")
    store = site.state / "store.db"
    store.write_bytes(store.read_bytes().replace(b"internal", b"infernal"))
    ran = sptls("show", "--state-dir", site.state, "a.example")
    assert (1, True) == (ran.status, "damaged" in ran.err)
    config = site.write(site.bring("own.example"))
    (site.directory / "own.example.pem").write_text("half")
    ran = sptls("show", "--config", config, "own.example")
    assert (1, True) == (ran.status, "can't be used" in ran.err)


def test_chain_is_told_to_its_end(sptls: Command, site: Site) -> None:
    """
    A number for each certificate.
    """
    bundle: CertificateBundle = site.put("a.example")
    out = sptls("show", "--state-dir", site.state, "a.example").out
    numbers = [line.split()[0] for line in out.partition("Certificate chain\n")[2].splitlines() if " s:" in line]
    assert [str(number) for number in range(len(bundle.chain))] == numbers


def test_another_servers_certificate_is_not_here(sptls: Command, site: Site) -> None:
    """
    And who shows it is said.
    """
    ran = sptls(
        "show", "--config", site.write('{name = "passed.example", passthrough = "192.0.2.1:443"}'), "passed.example"
    )
    assert (1, True) == (ran.status, "is passed through: its certificate is the other server's" in ran.err)

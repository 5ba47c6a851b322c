"""
Tests for `sptls.cli.pem_files`, on the layouts of other programs.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sptls.certs.bundle import CertificateBundle
from sptls.certs.pem import MAX_PEM_BYTES
from sptls.cli import pem_files
from sptls.cli.pem_files import Pair, search
from sptls.names import HostName
from tests.certs.authority import entity, intermediate, pem, root
from tests.certs.stored import CLICK, bundle_for

BUNDLE, OTHER = bundle_for(CLICK), bundle_for(HostName("other.example.com"))
LEAF = BUNDLE.chain_pem().partition(b"-----END CERTIFICATE-----\n")
LEAF_PEM, CHAIN_PEM = LEAF[0] + LEAF[1], LEAF[2]


def certbot(directory: Path, name: str, bundle: CertificateBundle, server: str = "https://ca.example/dir") -> None:
    """
    Put *bundle* where certbot keeps it, with an older one that is in use no more.
    """
    archive, live, renewal = directory / "archive" / name, directory / "live" / name, directory / "renewal"
    for folder in (archive, live, renewal):
        folder.mkdir(parents=True, exist_ok=True)
    (archive / "fullchain1.pem").write_bytes(OTHER.chain_pem())
    (archive / "privkey1.pem").write_bytes(OTHER.key_pem())
    leaf, end, chain = bundle.chain_pem().partition(b"-----END CERTIFICATE-----\n")
    for kind, content in {
        "cert": leaf + end,
        "chain": chain,
        "fullchain": bundle.chain_pem(),
        "privkey": bundle.key_pem(),
    }.items():
        (archive / f"{kind}2.pem").write_bytes(content)
        (live / f"{kind}.pem").symlink_to(Path("..") / ".." / "archive" / name / f"{kind}2.pem")
    (live / "README").write_text("This directory contains your keys and certificates.\n")
    (renewal / f"{name}.conf").write_text(f"version = 2.1\n[renewalparams]\nserver = {server}\nkey_type = ecdsa\n")


def found(directory: Path) -> tuple[tuple[str, CertificateBundle], ...]:
    """
    Give what is found, without a fault.
    """
    told = search(directory)
    assert () == told.faults
    return tuple((str(pair.path.relative_to(directory)), pair.bundle) for pair in told.pairs)


@pytest.mark.parametrize("below", ["", "live"])
def test_certbots_links_are_followed_and_its_archive_is_not_looked_at(tmp_path: Path, below: str) -> None:
    """
    Whether the whole directory is named or the one below it; the CA is known from how it is renewed.
    """
    certbot(tmp_path, "click.example.com", BUNDLE)
    told = search(tmp_path / below)
    live, server = tmp_path / "live" / "click.example.com", "https://ca.example/dir"
    assert (Pair(live / "cert.pem", BUNDLE, server), Pair(live / "fullchain.pem", BUNDLE, server)) == told.pairs
    assert () == told.faults


def test_txacmes_store_has_all_in_one_file(tmp_path: Path) -> None:
    """
    The key first, then the chain.
    """
    (tmp_path / "click.example.com.pem").write_bytes(BUNDLE.key_pem() + BUNDLE.chain_pem())
    (tmp_path / "acme.key").write_bytes(OTHER.key_pem())
    assert (("click.example.com.pem", BUNDLE),) == found(tmp_path)


def test_keys_are_found_by_their_public_key_whatever_files_are_called(tmp_path: Path) -> None:
    """
    In other directories too; other files are none of ours.
    """
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "1").write_bytes(OTHER.key_pem())
    (tmp_path / "keys" / "2").write_bytes(BUNDLE.key_pem())
    (tmp_path / "a.crt").write_bytes(BUNDLE.chain_pem())
    (tmp_path / "b.crt").write_bytes(OTHER.chain_pem())
    (tmp_path / "root.pem").write_bytes(pem(root().certificate))
    (tmp_path / "note.txt").write_text("-----BEGIN NOTHING-----")
    (tmp_path / "great").write_bytes(BUNDLE.chain_pem() + b"\n" * MAX_PEM_BYTES)
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as at:
        at.bind(str(tmp_path / "socket"))
    assert (("a.crt", BUNDLE), ("b.crt", OTHER)) == found(tmp_path)


def test_chain_beside_the_certificate_belongs_to_it(tmp_path: Path) -> None:
    """
    Apache had them apart; the root, which clients have, is left out, and another's intermediate too.
    """
    (tmp_path / "cert.pem").write_bytes(LEAF_PEM)
    (tmp_path / "chain.pem").write_bytes(CHAIN_PEM + pem(root().certificate))
    (tmp_path / "key.pem").write_bytes(BUNDLE.key_pem())
    assert (("cert.pem", BUNDLE),) == found(tmp_path)
    (tmp_path / "chain.pem").unlink()
    ((_, alone),) = found(tmp_path)
    assert BUNDLE.chain[:1] == alone.chain


def test_issuers_in_a_circle_have_an_end(tmp_path: Path) -> None:
    """
    Two that name each other can be made by anyone.
    """
    one = entity("One", issuer=entity("Two"))
    two = entity("Two", issuer=entity("One"))
    leaf = entity("leaf", ["click.example.com"], one)
    (tmp_path / "leaf.pem").write_bytes(leaf.key_pem + pem(leaf.certificate))
    (tmp_path / "others.pem").write_bytes(pem(one.certificate, two.certificate))
    (pair,) = search(tmp_path).pairs
    assert leaf.certificate.serial_number == int(pair.bundle.serial, 16)


def test_directories_are_looked_at_once(tmp_path: Path) -> None:
    """
    Links may lead round in a circle; one that points to a directory of versions is taken for that.
    """
    version = tmp_path / ".versions" / "1"
    version.mkdir(parents=True)
    (version / "fullchain.pem").write_bytes(BUNDLE.chain_pem())
    (version / "privkey.pem").write_bytes(BUNDLE.key_pem())
    (tmp_path / "click.example.com").symlink_to(version)
    (version / "up").symlink_to(tmp_path)
    assert (("click.example.com/fullchain.pem", BUNDLE),) == found(tmp_path)


def _encrypted() -> bytes:
    own = entity("x", ["click.example.com"])
    secret = BestAvailableEncryption(b"secret")
    return own.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (OTHER.chain_pem(), "the private key of its certificate is not there"),
        (OTHER.chain_pem()[:-9], "a PEM block in it is cut off"),
        (_encrypted(), "the private key is encrypted"),
        (OTHER.key_pem() + BUNDLE.key_pem(), "there are 2 private keys in it"),
    ],
)
def test_what_can_not_be_used_is_said_and_keeps_nothing_else(tmp_path: Path, content: bytes, reason: str) -> None:
    """
    With the file that it is in.
    """
    (tmp_path / "a.pem").write_bytes(BUNDLE.key_pem() + BUNDLE.chain_pem())
    (tmp_path / "bad.pem").write_bytes(content)
    told = search(tmp_path)
    (fault,) = told.faults
    assert (True, True) == (fault.startswith(f"{tmp_path}/bad.pem: "), reason in fault)
    assert [BUNDLE] == [pair.bundle for pair in told.pairs]


def test_certificate_that_holds_nothing_usable_is_said(tmp_path: Path) -> None:
    """
    A key of its own is no help where its chain is nonsense.
    """
    (tmp_path / "bad.pem").write_bytes(
        BUNDLE.key_pem() + b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    )
    told = search(tmp_path)
    assert ((), 1) == (told.pairs, len(told.faults))


def test_what_can_not_be_read_is_said(tmp_path: Path) -> None:
    """
    A link to nothing, a directory that is gone.
    """
    (tmp_path / "gone.pem").symlink_to("nowhere")
    assert (f"{tmp_path}/gone.pem: No such file or directory",) == search(tmp_path).faults
    assert (f"{tmp_path}/none: No such file or directory",) == search(tmp_path / "none").faults


def test_number_of_files_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Somebody has named the root of the file system.
    """
    monkeypatch.setattr(pem_files, "MAX_FILES", 1)
    (tmp_path / "a").touch()
    assert () == search(tmp_path).pairs
    (tmp_path / "b").touch()
    with pytest.raises(ValueError, match="over 1 files below"):
        search(tmp_path)


def test_any_chain_of_a_known_kind_of_key_can_lack_it(tmp_path: Path) -> None:
    """
    Intermediates alone are no fault.
    """
    (tmp_path / "chain.pem").write_bytes(pem(intermediate().certificate))
    assert () == found(tmp_path)


@given(st.binary() | st.binary().map(BUNDLE.chain_pem().__add__) | st.sampled_from([LEAF_PEM[:300], CHAIN_PEM[40:]]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_any_file_is_a_certificate_or_a_fault_or_nothing(tmp_path: Path, content: bytes) -> None:
    """
    No other exception.
    """
    (tmp_path / "any.pem").write_bytes(content)
    assert 1 >= len(search(tmp_path).faults)

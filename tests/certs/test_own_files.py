from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING

import attrs
import pytest

from sptls.certs.bundle import KEY_DOES_NOT_FIT
from sptls.certs.own_files import Found, OwnFiles, look, read, sentence
from sptls.certs.pem import MAX_PEM_BYTES
from sptls.errors import BadCertificate
from sptls.names import HostName
from tests.certs.authority import NOW, Entity, der, entity, pem, root

if TYPE_CHECKING:
    from pathlib import Path

CLICK = HostName("click.example.com")
LATER = NOW + timedelta(days=100)


def certificate(name: str = CLICK.text, *, days: int = 80) -> Entity:
    """
    Make a certificate for *name* that is valid for so many days.
    """
    return entity("x", [name], root(), not_after=NOW + timedelta(days=days))


def put(files: OwnFiles, new: Entity) -> None:
    """
    Replace both files, as careful tools do: each by rename.
    """
    put_certificate(files, new)
    put_key(files, new)


def put_certificate(files: OwnFiles, new: Entity) -> None:
    """
    Replace the certificate's file alone.
    """
    temporary = files.certificate.with_suffix(".new")
    temporary.write_bytes(pem(new.certificate, root().certificate))
    os.replace(temporary, files.certificate)


def put_key(files: OwnFiles, new: Entity) -> None:
    """
    Replace the key's file alone.
    """
    temporary = files.key.with_suffix(".new")
    temporary.write_bytes(new.key_pem)
    os.replace(temporary, files.key)


@pytest.fixture
def files(tmp_path: Path) -> OwnFiles:
    """
    The files of click.example.com, both there, and good.
    """
    files = OwnFiles(CLICK, "domains[0]", tmp_path / "own.pem", tmp_path / "own.key")
    put(files, certificate())
    return files


@pytest.fixture
def found(files: OwnFiles) -> Found:
    """
    What reading them gave.
    """
    return read(files, NOW)


def first_certificate(found: Found) -> bytes:
    """
    Give the end-entity certificate in force.
    """
    return found.bundle.chain[0]


def test_both_are_read(found: Found) -> None:
    """
    Reading gives the bundle, and nothing is wrong with it.
    """
    assert found.bundle.names == (CLICK,)
    assert len(found.bundle.chain) == 2
    assert (found.faults, found.trouble, found.troubled_looks) == ((), "", 0)


def test_key_and_chain_may_be_one_file(files: OwnFiles) -> None:
    """
    One file with everything may be named twice.
    """
    new = certificate()
    files.key.write_bytes(pem(root().certificate, new.certificate) + new.key_pem)
    assert der(new.certificate)[0] == first_certificate(read(attrs.evolve(files, certificate=files.key), NOW))


def test_a_faulty_certificate_is_read_with_its_faults(files: OwnFiles) -> None:
    """
    A certificate that has expired, or is for another name, is better than none.
    """
    put(files, certificate("other.example"))
    assert read(files, LATER).faults[0] == "the certificate is for other.example, not for click.example.com"


def test_another_certificates_key_is_no_pair(files: OwnFiles) -> None:
    """
    With a key that does not fit, no handshake is possible.
    """
    put_key(files, certificate())
    with pytest.raises(BadCertificate, match=KEY_DOES_NOT_FIT) as caught:
        read(files, NOW)
    assert sentence(files, caught.value) == f"{files.certificate} with the key {files.key}: {KEY_DOES_NOT_FIT}"


def test_files_that_are_none_are_named(files: OwnFiles, tmp_path: Path) -> None:
    """
    A missing file, a directory, a pipe and a file without end are refused without delay.
    """
    os.mkfifo(tmp_path / "pipe")
    large = tmp_path / "large"
    large.write_bytes(b" " * (MAX_PEM_BYTES + 1000))
    for path, reason in (
        (tmp_path / "none", f"{tmp_path}/none: No such file or directory"),
        (tmp_path, f"{tmp_path}: Is a directory"),
        (tmp_path / "pipe", f"{tmp_path}/pipe: not a regular file"),
        (large, f"{files.certificate} with the key {large}: 131073 bytes are no key and no chain (at most 131072)"),
    ):
        with pytest.raises((OSError, BadCertificate)) as caught:
            read(attrs.evolve(files, key=path), NOW)
        assert isinstance(caught.value, OSError | BadCertificate)
        assert reason == sentence(files if path is not large else attrs.evolve(files, key=path), caught.value)


def test_nothing_new_changes_nothing(files: OwnFiles, found: Found) -> None:
    """
    A look at unchanged files gives what was there.
    """
    assert look(files, found, NOW) == found


def test_new_files_come_into_force(files: OwnFiles, found: Found) -> None:
    """
    A look after both were replaced gives the new bundle.
    """
    new = certificate()
    put(files, new)
    assert der(new.certificate)[0] == first_certificate(look(files, found, NOW))


def test_files_rewritten_in_place_come_into_force(files: OwnFiles, found: Found) -> None:
    """
    A tool that writes into the files, with the same size and modification time, is noticed too.
    """
    new = certificate()
    before = files.certificate.stat()
    files.key.write_bytes(new.key_pem)
    files.certificate.write_bytes(pem(new.certificate, root().certificate))
    os.utime(files.certificate, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert der(new.certificate)[0] == first_certificate(look(files, found, NOW))


def test_half_replaced_files_wait_for_the_other_half(files: OwnFiles, found: Found) -> None:
    """
    While certificate and key do not fit, the old pair stays in force; each look tries again and counts.
    """
    new = certificate()
    put_certificate(files, new)
    once = look(files, found, NOW)
    twice = look(files, once, NOW)
    assert once.bundle is twice.bundle is found.bundle
    assert once.trouble == f"{files.certificate} with the key {files.key}: {KEY_DOES_NOT_FIT}"
    assert (once.troubled_looks, twice.troubled_looks) == (1, 2)
    put_key(files, new)
    after = look(files, twice, NOW)
    assert der(new.certificate)[0] == first_certificate(after)
    assert (after.trouble, after.troubled_looks) == ("", 0)


def test_another_trouble_is_counted_anew(files: OwnFiles, found: Found) -> None:
    """
    A missing key after a misfit is a trouble of its own.
    """
    put_certificate(files, certificate())
    misfit = look(files, found, NOW)
    files.key.unlink()
    missing = look(files, misfit, NOW)
    assert missing.trouble == f"{files.key}: No such file or directory"
    assert missing.troubled_looks == 1


def test_trouble_ends_with_the_old_files_back(files: OwnFiles, found: Found) -> None:
    """
    A file that was moved away and back again leaves no trouble.
    """
    aside = files.key.with_suffix(".aside")
    files.key.rename(aside)
    troubled = look(files, found, NOW)
    aside.rename(files.key)
    after = look(files, troubled, NOW)
    assert troubled.trouble
    assert (after.bundle, after.trouble, after.troubled_looks) == (found.bundle, "", 0)


def test_a_worse_pair_is_not_taken(files: OwnFiles, found: Found) -> None:
    """
    A new pair for another name waits as long as the old one has no faults, and comes into force when it has.
    """
    other = certificate("other.example", days=200)
    put(files, other)
    kept = look(files, found, NOW)
    assert kept.bundle is found.bundle
    assert kept.trouble == f"{files.certificate}: the certificate is for other.example, not for click.example.com"
    assert der(other.certificate)[0] == first_certificate(look(files, kept, LATER))


def test_faults_come_and_go_with_time(files: OwnFiles, found: Found) -> None:
    """
    A certificate that expires while nothing else changes is found faulty; when the clock is set back it is not.
    """
    expired = look(files, found, LATER)
    assert expired.faults[0] == "the certificate expired at 2026-10-20 12:00 UTC"
    assert look(files, expired, LATER) == expired
    assert look(files, expired, NOW).faults == ()

"""
Tests for `sptls.cli.export`, on real files and full disks.
"""

from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sptls.certs.bundle import CertificateBundle
from tests.certs.stored import open_directory, read_only
from tests.cli.conftest import Command, Site

PROGRAM = "from sptls.cli.main import main; main()"


def _files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def _expected(bundle: CertificateBundle) -> dict[str, bytes]:
    fullchain = bundle.chain_pem()
    end = b"-----END CERTIFICATE-----\n"
    chain = fullchain.partition(end)[2]
    return {"chain.pem": chain, "fullchain.pem": fullchain, "privkey.pem": bundle.key_pem()}


def _export_with_small_files(site: Site, out: Path) -> subprocess.CompletedProcess[bytes]:
    """
    Export where no file may have over 64 bytes: a full disk for those who are no root.
    """

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))

    return subprocess.run(
        [sys.executable, "-B", "-c", PROGRAM, "export", "--state-dir", str(site.state), str(out)],
        preexec_fn=limit,
        capture_output=True,
        timeout=60,
    )


@pytest.mark.parametrize("umask", [0o000, 0o777])
def test_files_are_written_for_their_owner_alone(sptls: Command, site: Site, umask: int) -> None:
    """
    Certificates, chain and key of each domain, whatever the umask.
    """
    a, b = site.put("a.example"), site.put("b.example")
    out = site.directory / "out"
    config = site.write("a.example", "b.example")
    before = os.umask(umask)
    try:
        ran = sptls("export", "--config", config, out)
    finally:
        os.umask(before)
    assert (0, "") == (ran.status, ran.err)
    assert f"{out}/a.example\n{out}/b.example\n2 of 2 certificates are in {out}\n" == ran.out
    assert (_expected(a), _expected(b)) == (_files(out / "a.example"), _files(out / "b.example"))
    assert {0o700} == {stat.S_IMODE(path.stat().st_mode) for path in (out, out / "a.example")}
    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in (out / "a.example").iterdir()}


def test_names_narrow_what_is_written(sptls: Command, site: Site) -> None:
    """
    Also names that are stored and no longer configured.
    """
    site.put("a.example")
    site.put("b.example")
    ran = sptls("export", "--config", site.write("a.example"), site.directory / "out", "b.example")
    assert (0, ["b.example"]) == (
        ran.status,
        [path.name for path in (site.directory / "out").iterdir() if path.name[0] != "."],
    )


def test_own_certificates_are_written_too(sptls: Command, site: Site) -> None:
    """
    A back-up is whole.
    """
    out = site.directory / "out"
    assert 0 == sptls("export", "--config", site.write(site.bring("own.example")), out).status
    assert (site.directory / "own.example.pem").read_bytes() == (out / "own.example" / "fullchain.pem").read_bytes()


def test_renewed_certificate_takes_the_old_ones_place(sptls: Command, site: Site) -> None:
    """
    All three files together.
    """
    out = site.directory / "out"
    for _ in range(2):
        bundle = site.put("a.example")
        assert 0 == sptls("export", "--state-dir", site.state, out).status
        assert _expected(bundle) == _files(out / "a.example")


def test_name_without_a_certificate_does_not_keep_the_others(sptls: Command, site: Site) -> None:
    """
    It is said, and the exit status is 1.
    """
    site.put("a.example")
    out = site.directory / "out"
    ran = sptls("export", "--config", site.write("none.example", "a.example"), out)
    assert (1, True) == (ran.status, (out / "a.example").is_dir())
    assert "none.example: there is no certificate yet; sptls issue none.example gets one" in ran.err
    assert "1 of 2 certificates" in ran.out


def test_certificate_that_cannot_be_used_does_not_keep_the_others(sptls: Command, site: Site) -> None:
    """
    Own files that are gone or broken.
    """
    site.put("a.example")
    config = site.write(site.bring("half.example"), site.bring("gone.example"), "a.example")
    ran = sptls("export", "--config", config, out := site.directory / "out")
    assert 0 == ran.status
    (site.directory / "half.example.pem").write_text("half")
    (site.directory / "gone.example.pem").unlink()
    (site.directory / "gone.example.pem").symlink_to("/dev/null")
    ran = sptls("export", "--config", config, out)
    assert 1 == ran.status
    assert "half.example: its certificate can't be used" in ran.err
    assert "gone.example.pem: not a regular file" in ran.err


def test_full_disk_changes_nothing(sptls: Command, site: Site) -> None:
    """
    The old files are whole, nothing half-written is left, and it is said what to do.
    """
    old, out = site.put("a.example"), site.directory / "out"
    assert 0 == sptls("export", "--state-dir", site.state, out).status
    before = sorted(path.name for path in out.rglob("*"))
    site.put("a.example")
    ran = _export_with_small_files(site, out)
    assert 1 == ran.returncode, ran.stderr
    assert b"File too large" in ran.stderr
    assert b"Traceback" not in ran.stderr
    assert (_expected(old), before) == (_files(out / "a.example"), sorted(path.name for path in out.rglob("*")))


def test_directory_that_cannot_be_written_is_said(sptls: Command, site: Site) -> None:
    """
    With the reason and what to do.
    """
    site.put("a.example")
    with open_directory() as out, read_only(out):
        user = os.geteuid()
        if user == out.stat().st_uid:
            pytest.skip("there is no other user to be")
        os.seteuid(0)
        for path in (site.directory, site.state, *site.directory.parents):
            path.chmod(path.stat().st_mode | 0o055)
        (site.state / "store.db").chmod(0o644)
        os.seteuid(user)
        ran = sptls("export", "--state-dir", site.state, out / "new")
    assert (1, True) == (ran.status, "Permission denied; give the user" in ran.err)


def test_nothing_to_export_is_no_success(sptls: Command, site: Site, tmp_path: Path) -> None:
    """
    A back-up job that looks in the wrong place must not stay green.
    """
    ran = sptls("export", "--state-dir", tmp_path / "elsewhere", site.directory / "out")
    assert (1, "") == (ran.status, ran.out)
    assert "nothing to export" in ran.err


def test_another_servers_certificate_is_not_missing(sptls: Command, site: Site) -> None:
    """
    It is left out of all; asked for by name, it is said.
    """
    site.put("a.example")
    out, config = (
        site.directory / "out",
        site.write("a.example", '{name = "passed.example", passthrough = "192.0.2.1:443"}'),
    )
    ran = sptls("export", "--config", config, out)
    assert (0, ["a.example"]) == (ran.status, [path.name for path in out.iterdir() if not path.name.startswith(".")])
    ran = sptls("export", "--config", config, out, "passed.example")
    assert (1, True) == (ran.status, "passed.example: is passed through" in ran.err)

"""
Tests for `sptls.cli.take_over`, which is ``sptls import``: beside a daemon, and without one.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from sptls.certs.bundle import CertificateBundle
from sptls.certs.store_reader import read_store
from sptls.cli import pem_files
from sptls.cli.pem_files import Pair
from sptls.cli.take_over import best
from sptls.clock import wall_time
from sptls.names import HostName
from tests.cli.conftest import Command, Site
from tests.cli.daemon import answering
from tests.ops.web import FakeControls, valid

A, B = HostName("a.example"), HostName("b.example")


def _put(directory: Path, name: str, bundle: CertificateBundle) -> Path:
    directory.mkdir(exist_ok=True)
    path = directory / f"{name}.pem"
    path.write_bytes(bundle.key_pem() + bundle.chain_pem())
    return path


def _stored(site: Site) -> dict[str, CertificateBundle]:
    found = read_store(site.state / "store.db").certificates
    return {name.text: certificate.bundle for name, certificate in found.items()}


def test_without_a_daemon_they_are_put_into_the_store(sptls: Command, site: Site) -> None:
    """
    Those that are configured; a second time there is nothing to do.
    """
    config, live = site.write("a.example", "b.example", site.bring("own.example")), site.directory / "live"
    bundle = site.bundle("a.example")
    path = _put(live, "x", bundle)
    for name in ("own.example", "other.example"):
        _put(live, name, site.bundle(name))
    ran = sptls("import", "--config", config, live)
    assert (0, "", {"a.example": bundle}) == (ran.status, ran.err, _stored(site))
    taken, summary = ran.out.splitlines()
    assert taken.startswith(f"a.example: imported ({path}): renewal ")
    assert f"1 of 2 domains: fine; 0 refused; 1 not found in {live}" == summary
    ran = sptls("import", "--config", config, live)
    assert (0, True) == (ran.status, "a.example: nothing to import" in ran.out)


def test_trial_stores_nothing(sptls: Command, site: Site) -> None:
    """
    It tells the same.
    """
    old = site.put("a.example")
    new = site.bundle("a.example", timedelta(days=95))
    _put(site.directory / "live", "a", new)
    config = site.write("a.example")
    ran = sptls("import", "--dry-run", "--config", config, site.directory / "live")
    assert (0, {"a.example": old}) == (ran.status, _stored(site))
    assert "a.example: would be imported" in ran.out
    assert 0 == sptls("import", "--config", config, site.directory / "live").status
    assert {"a.example": new} == _stored(site)


def test_daemon_that_runs_is_sent_them(sptls: Command, site: Site) -> None:
    """
    However many there are; own certificates are not asked about.
    """
    live, names = site.directory / "live", [f"{number}.example" for number in range(10)]
    for name in [*names, "own.example"]:
        _put(live, name, site.bundle(name))
    controls = FakeControls(*map(valid, [*names, "none.example"]), valid("own.example", source="own"))
    with answering(site.state, controls):
        ran = sptls("import", "--state-dir", site.state, live)
    assert (0, [f"{name}  False" for name in names]) == (ran.status, controls.asked)
    assert 10 == ran.out.count(": imported (")
    assert "10 of 11 domains: fine; 0 refused; 1 not found" in ran.out


def test_certificate_that_is_refused_is_told_with_its_file(sptls: Command, site: Site) -> None:
    """
    The others are taken.
    """
    live = site.directory / "live"
    expired, _ = _put(live, "a", site.bundle("a.example", timedelta(hours=-1))), _put(live, "b", site.bundle(B.text))
    ran = sptls("import", "--config", site.write("a.example", "b.example"), live)
    assert (1, ["b.example"]) == (ran.status, list(_stored(site)))
    assert f"sptls: a.example: not imported ({expired}): the certificate expired at" in ran.err
    assert "1 of 2 domains: fine; 1 refused; 0 not found" in ran.out


def test_what_is_no_certificate_is_said(sptls: Command, site: Site) -> None:
    """
    It may have been meant for a domain.
    """
    live = site.directory / "live"
    _put(live, "a", site.bundle("a.example")).with_name("b.pem").write_bytes(b"-----BEGIN PRIVATE KEY-----")
    ran = sptls("import", "--config", site.write("a.example"), live)
    assert (1, True) == (ran.status, f"{live}/b.pem: a PEM block in it is cut off" in ran.err)
    assert ["a.example"] == list(_stored(site))


def test_directory_without_certificates_is_said(sptls: Command, site: Site) -> None:
    """
    It is the wrong one.
    """
    (site.directory / "empty").mkdir()
    ran = sptls("import", "--config", site.write("a.example"), site.directory / "empty")
    assert (1, f"0 of 1 domains: fine; 0 refused; 1 not found in {site.directory}/empty\n") == (ran.status, ran.out)


@pytest.mark.parametrize("below", ["none", ""])
def test_directory_that_can_not_be_meant_is_a_usage_error(
    sptls: Command, site: Site, monkeypatch: pytest.MonkeyPatch, below: str
) -> None:
    """
    One that is not there, the root of the file system.
    """
    monkeypatch.setattr(pem_files, "MAX_FILES", 1)
    site.write("a.example")
    (site.directory / "another file").touch()
    assert 2 == sptls("import", "--config", site.config, site.directory / below).status


@pytest.mark.parametrize(("hours", "expected"), [((50, 60, 40), 60), ((-1, 20), 20), ((-2, -1), -1), ((50,), 50)])
def test_what_is_good_and_valid_longest_is_chosen(site: Site, hours: tuple[int, ...], expected: int) -> None:
    """
    An older one is the archive's; an expired one is better than nothing to tell of.
    """
    bundles = {number: site.bundle(A.text, timedelta(hours=number)) for number in hours}
    pairs = [Pair(Path(str(number)), bundle) for number, bundle in bundles.items()]
    ((offer, path),) = best(pairs, [A, B], wall_time())
    assert (A, bundles[expected], str(expected)) == (offer.name, offer.bundle, str(path))

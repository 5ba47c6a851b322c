"""
Restarts and the store: what is stored is served without a word to the CA, and what is damaged is obtained once more.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.e2e.ca import Ca, certificate, certificates, domains, sans
from tests.e2e.daemon import https_get
from tests.e2e.stored import break_key, flip_bytes, look

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.daemon import Daemon, Launcher
    from tests.e2e.origin import Origin

pytestmark = [pytest.mark.e2e, pytest.mark.pebble]

NAMES = ["one.example", "two.example", "three.example"]
SET_ASIDE = "SELECT name FROM set_aside"


def _issue_all(launcher: Launcher) -> None:
    with launcher.running() as daemon:
        for name in NAMES:
            daemon.wait_valid(name)


def _serials(daemon: Daemon, client: ssl.SSLContext) -> list[int]:
    return [one.serial_number for one in certificates(daemon.https, NAMES, client)]


def test_restart_asks_the_ca_for_nothing(ca: Ca, tmp_path: Path) -> None:
    """
    With valid certificates stored a restart makes no request at all, and serves the same certificates.
    """
    launcher, client = ca.launcher(tmp_path, *NAMES), ca.client()
    with launcher.running() as daemon:
        before = _serials(daemon, client)
    asked = ca.log
    with launcher.running() as daemon:
        assert before == _serials(daemon, client)
        assert ["valid"] * 3 == [domain["state"] for domain in daemon.status()["domains"]]
    assert asked == ca.log


def test_everything_secret_is_private(ca: Ca, tmp_path: Path) -> None:
    """
    The store and what lies beside it is for the daemon's user alone, whatever the umask.
    """
    before = os.umask(0)
    try:
        _issue_all(ca.launcher(tmp_path, *NAMES))
    finally:
        os.umask(before)
    state = tmp_path / "state"
    assert 0o700 == state.stat().st_mode & 0o777
    assert 0o600 == (state / "store.db").stat().st_mode & 0o777
    secret = [
        key for (key,) in look(state, "SELECT private_key FROM certificate UNION SELECT private_key FROM account")
    ]
    for path in state.iterdir():
        if path.stat().st_mode & 0o077:
            assert [] == [key for key in secret if key in path.read_bytes()]


def test_damaged_row_is_set_aside_and_obtained_once(ca: Ca, tmp_path: Path) -> None:
    """
    A certificate whose bytes changed on the disk is kept aside and ordered once; the others are served as they are.
    """
    launcher, client = ca.launcher(tmp_path, *NAMES), ca.client()
    with launcher.running() as daemon:
        before = _serials(daemon, client)
    flip_bytes(launcher.state, NAMES[0])
    for _ in range(2):
        with launcher.running() as daemon:
            after = _serials(daemon, client)
    assert (before[1:], True) == (after[1:], before[0] != after[0])
    assert 1 == daemon.log.count(f"{NAMES[0]}: the stored certificate is damaged")
    assert [(NAMES[0],)] == look(launcher.state, SET_ASIDE)
    assert len(NAMES) + 1 == ca.orders


def test_certificate_that_cannot_be_used_is_set_aside_and_obtained_once(ca: Ca, tmp_path: Path) -> None:
    """
    A stored certificate whose key is another one's is noticed by the first client, who waits for the new one.
    """
    launcher, client = ca.launcher(tmp_path, *NAMES), ca.client()
    with launcher.running() as daemon:
        _serials(daemon, client)
    break_key(launcher.state, NAMES[0])
    for _ in range(2):
        with launcher.running() as daemon:
            assert [NAMES[0]] == sans(certificate(daemon.https, NAMES[0], client))
    assert [(NAMES[0],)] == look(launcher.state, SET_ASIDE)
    assert len(NAMES) + 1 == ca.orders


def test_store_that_is_garbage_is_kept_and_begun_anew(ca: Ca, tmp_path: Path) -> None:
    """
    A file that is no database is put aside under another name; a fresh one is made and every name obtained again.
    """
    launcher = ca.launcher(tmp_path, *NAMES)
    _issue_all(launcher)
    garbage = os.urandom(20_000)
    (launcher.state / "store.db").write_bytes(garbage)
    _issue_all(launcher)
    _issue_all(launcher)
    (kept,) = launcher.state.glob("store.db.damaged-*Z")  # beside it a journal
    assert (garbage, 0o600) == (kept.read_bytes(), kept.stat().st_mode & 0o777)
    assert [(len(NAMES),)] == look(launcher.state, "SELECT count(*) FROM certificate")
    assert 2 * len(NAMES) == ca.orders


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """
    Give a state directory on a file system of one megabyte.
    """
    disk = tmp_path / "state"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("a file system can't be mounted here; that takes root")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def _fill(disk: Path) -> Path:
    """
    Fill *disk* to the last byte; give the file that does.
    """
    path = disk / "filler"
    with path.open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while filler.write(bytes(512)):
            pass
    assert 0 == os.statvfs(disk).f_bavail
    return path


def test_full_disk_serves_what_is_stored(ca: Ca, tmp_path: Path, small_disk: Path, tracking: Origin) -> None:
    """
    With the state directory's disk full the daemon starts and serves what is stored; nothing is ordered.
    """
    launcher, client = ca.launcher(tmp_path, *NAMES, upstream=tracking.configuration), ca.client()
    with launcher.running() as daemon:
        before = _serials(daemon, client)
    _fill(small_disk)
    asked = ca.log
    with launcher.running() as daemon:
        assert before == _serials(daemon, client)
        assert 302 == https_get(daemon.https, "/f/a", NAMES[0], client).status
    assert asked == ca.log


def test_full_disk_does_not_lose_a_new_certificate(ca: Ca, tmp_path: Path, small_disk: Path) -> None:
    """
    A name that is new while the disk is full is served from memory, and stored when there is room at the end.
    """
    launcher, client = ca.launcher(tmp_path, *NAMES), ca.client()
    _issue_all(launcher)
    launcher.write(domains=domains(*NAMES, "late.example"), acme=ca.acme)
    filler = _fill(small_disk)
    with launcher.running() as daemon:
        issued = certificate(daemon.https, "late.example", client)
        filler.unlink()
    with launcher.running() as daemon:
        assert issued == certificate(daemon.https, "late.example", client)
    assert len(NAMES) + 1 == ca.orders


def test_internal_ca_keeps_its_root(launcher: Launcher) -> None:
    """
    The internal CA issues from one root, which a restart keeps, as it keeps the certificates.
    """
    launcher.write(domains=domains(*NAMES), acme='directory = "internal"')
    root = launcher.state / "internal-ca.pem"
    with launcher.running() as daemon:
        client = ssl.create_default_context(cafile=root)
        before = _serials(daemon, client), root.read_bytes()
    launcher.write(domains=domains(*NAMES, "more.example"), acme='directory = "internal"')
    with launcher.running() as daemon:
        assert ["more.example"] == sans(certificate(daemon.https, "more.example", client))
        assert before == (_serials(daemon, client), root.read_bytes())

"""
The renewal daemon: certificates in files for another server, which is told of them; http-01 answered either way.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from sptls.certs.bundle import CertificateBundle
from tests.e2e.ca import Ca, certificate, domains, running_ca, sans
from tests.e2e.conftest import need_pebble
from tests.e2e.daemon import Daemon, Launcher, http_get, https_get, until
from tests.e2e.nginx import need_nginx, nginx
from tests.e2e.stored import make_due

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.e2e

NAME, OTHER = "click.example.com", "other.example.com"
# Each is due when it has lived half of it: long enough for a busy machine to renew it in time.
CERTIFICATE_SECONDS = 12
INTERNAL = 'directory = "internal"'


def deploy(launcher: Launcher, *command: str, more: str = "") -> str:
    """
    Give the ``[deploy]`` table with *command*, run after a change below ``deployed``.
    """
    words = ", ".join(f'"{word}"' for word in command)
    return f'[deploy]\ndirectory = "{launcher.directory}/deployed"\ncommand = [{words}]\n{more}\n'


def deployment(daemon: Daemon, name: str = NAME) -> dict[str, Any]:
    """
    Give what ``/status`` says of *name*'s files; nothing while there is no certificate.
    """
    found: dict[str, Any] = daemon.domain(name)["deployment"] or {"state": "none", "problem": ""}
    return found


def wait_state(daemon: Daemon, state: str, name: str = NAME) -> dict[str, Any]:
    """
    Wait until *name*'s files are in *state*; give what the status says of them.
    """
    until(lambda: deployment(daemon, name)["state"] == state, f"deployment in the state {state}:\n{daemon.log}")
    return deployment(daemon, name)


def files(launcher: Launcher, name: str = NAME) -> CertificateBundle:
    """
    Read *name*'s files as a server does.
    """
    folder = launcher.directory / "deployed" / name
    return CertificateBundle.from_pem((folder / "privkey.pem").read_bytes(), (folder / "fullchain.pem").read_bytes())


def test_a_real_nginx_serves_the_renewed_certificate(tmp_path: Path) -> None:
    """
    It answers http-01 from its webroot, is told of the first certificate and of its successor, and serves each.
    """
    need_pebble()
    need_nginx()
    with (
        running_ca(tmp_path / "ca", certificate_seconds=CERTIFICATE_SECONDS) as ca,
        nginx(tmp_path / "nginx", http=ca.http, https=ca.https) as server,
    ):
        launcher = ca.launcher(tmp_path / "daemon", NAME)
        table = deploy(launcher, "/bin/sh", str(server.deploy), more=f'webroot = "{server.webroot}"')
        launcher.write(domains=domains(NAME, OTHER), acme=ca.acme, more=table)
        with launcher.running("--renew-only") as daemon:
            wait_state(daemon, "deployed")
            wait_state(daemon, "deployed", OTHER)
            first = until(lambda: _served(ca), "certificate served by nginx")
            assert b"by nginx\n" == https_get(ca.https, "/", OTHER, ca.client()).content
            until(lambda: _served(ca) not in (None, first), "renewed certificate", 3 * CERTIFICATE_SECONDS)
        assert 2 == len(list((launcher.directory / "deployed" / ".versions" / NAME).iterdir()))
        # Nothing is left of the challenges, whatever became of the orders.
        assert [] == list((server.webroot / ".well-known" / "acme-challenge").iterdir())


def _served(ca: Ca) -> int | None:
    """
    Give the serial of the certificate that nginx serves for `NAME`, None while it serves none.
    """
    with contextlib.suppress(OSError):
        issued = certificate(ca.https, NAME, ca.client())
        assert [NAME] == sans(issued)
        return issued.serial_number
    return None


def test_http_01_is_answered_on_our_own_port(ca: Ca, tmp_path: Path) -> None:
    """
    No other server is needed: nothing listens on the TLS port, port 80 proxies nothing, the files are private.
    """
    launcher = ca.launcher(tmp_path, NAME)
    launcher.write(domains=domains(NAME), acme=ca.acme, more=deploy(launcher, "/bin/true"))
    with launcher.running("--renew-only") as daemon:
        serial = wait_state(daemon, "deployed")["serial"]
        assert 421 == http_get(daemon.http, "/", NAME).status
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", daemon.https), 5)
    assert (serial, 1) == (files(launcher).serial, ca.orders)
    folder = (tmp_path / "deployed" / NAME).resolve()
    assert [0o700, 0o600, 0o600, 0o600] == [path.stat().st_mode & 0o777 for path in (folder, *folder.iterdir())]


def test_a_command_that_fails_is_shown_and_still_owed_after_a_restart(launcher: Launcher) -> None:
    """
    Killed and started again, the daemon keeps to the next moment; another command, by SIGHUP, is run at once.
    """
    launcher.write(domains=domains(NAME), acme=INTERNAL, more=deploy(launcher, "/bin/sh", "-c", "echo down; exit 7"))
    with launcher.running("--renew-only") as daemon:
        before = wait_state(daemon, "failing")
        assert "the deploy command failed with exit status 7; its last words: down" == before["problem"]
        daemon.process.kill()
        daemon.process.wait()
    with launcher.running("--renew-only") as daemon:
        assert before == deployment(daemon)
        mended = deploy(launcher, "/bin/sh", "-c", "echo $SPTLS_NAMES > told")
        launcher.write(domains=domains(NAME), acme=INTERNAL, more=mended)
        daemon.signal(signal.SIGHUP)
        wait_state(daemon, "deployed")
    assert f"{NAME}\n" == (launcher.directory / "told").read_text()
    with launcher.running("--renew-only") as daemon:
        wait_state(daemon, "deployed")
    assert 1 == daemon.log.count("the deploy command has been told")


def test_a_command_that_hangs_is_ended(launcher: Launcher) -> None:
    """
    The deadline ends it and what it started; the daemon renews and stops as ever.
    """
    script = "echo $$ > pid; sleep 60"
    table = deploy(launcher, "/bin/sh", "-c", script, more="command_seconds = 1")
    launcher.write(domains=domains(NAME), acme=INTERNAL, more=table)
    with launcher.running("--renew-only") as daemon:
        problem = wait_state(daemon, "failing")["problem"]
    assert "the deploy command did not end within 1 s and was ended; its last words: none" == problem
    assert not _is_group((launcher.directory / "pid").read_text())


def _is_group(pid: str) -> bool:
    try:
        os.killpg(int(pid), 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def small_disk(launcher: Launcher) -> Iterator[Path]:
    """
    Give ``deployed`` on a disk of 64 KiB.
    """
    directory = launcher.directory / "deployed"
    directory.mkdir(mode=0o700)
    mounting = ["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", str(directory)]
    if os.geteuid() != 0 or subprocess.run(mounting, capture_output=True).returncode != 0:
        pytest.skip("no file system may be mounted here")
    try:
        yield directory
    finally:
        subprocess.run(["umount", str(directory)], check=True)


def test_a_full_disk_leaves_the_old_files_in_place(launcher: Launcher, small_disk: Path) -> None:
    """
    The status says so; with space again, the new files come.
    """
    launcher.write(domains=domains(NAME), acme=INTERNAL, more=deploy(launcher, "/bin/true"))
    with launcher.running("--renew-only") as daemon:
        old = wait_state(daemon, "deployed")["serial"]
    make_due(launcher.state, NAME)
    with contextlib.suppress(OSError), (small_disk / "filler").open("wb", buffering=0) as filler:
        while filler.write(b"x" * 4096):
            pass
    with launcher.running("--renew-only") as daemon:
        failing = wait_state(daemon, "failing")
        assert "No space left on device; free some space; what was in place still is" in failing["problem"]
        assert (old, old) == (files(launcher).serial, failing["serial"])
        (small_disk / "filler").unlink()
        launcher.write(domains=domains(NAME), acme=INTERNAL, more=deploy(launcher, "/bin/true", "again"))
        daemon.signal(signal.SIGHUP)
        new = wait_state(daemon, "deployed")["serial"]
    assert (True, new) == (old != new, files(launcher).serial)


def test_deployed_files_stand_in_for_a_store_that_is_lost(launcher: Launcher) -> None:
    """
    The certificate is taken from them, and nobody is asked for another.
    """
    launcher.write(domains=domains(NAME), acme=INTERNAL, more=deploy(launcher, "/bin/true"))
    with launcher.running("--renew-only") as daemon:
        serial = wait_state(daemon, "deployed")["serial"]
    for path in launcher.state.glob("store.db*"):
        path.unlink()
    with launcher.running("--renew-only") as daemon:
        assert ("valid", serial) == (daemon.domain(NAME)["state"], daemon.domain(NAME)["serial"])
        assert 1 == daemon.log.count("certificate issued")

"""
The commands as real processes, with a real CA: while the daemon runs, while it doesn't, and when it goes away.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from tests.e2e.ca import Ca, certificate, domains
from tests.e2e.conftest import own_domain
from tests.e2e.daemon import Launcher, until
from tests.ports import free_ports

pytestmark = [pytest.mark.e2e, pytest.mark.pebble]

NAMES = ["one.example", "two.example"]
COMMAND = [sys.executable, "-c", "from sptls.cli.main import main; main()"]
INTERNAL = 'directory = "internal"'


def _start(launcher: Launcher, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "SPTLS_CONFIG": str(launcher.directory / "sptls.toml")}
    return subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def _run(launcher: Launcher, *arguments: str) -> tuple[int, str, str]:
    """
    Give the exit status of a command, and what it wrote.
    """
    with _start(launcher, *arguments) as process:
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err


def test_commands_beside_a_running_daemon(ca: Ca, tmp_path: Path) -> None:
    """
    They tell what it serves, and write it out.
    """
    launcher = ca.launcher(tmp_path, *NAMES)
    with launcher.running() as daemon:
        for name in NAMES:
            daemon.wait_valid(name)
        served = certificate(daemon.https, NAMES[0], ca.client())
        fingerprint = served.fingerprint(SHA256()).hex(":").upper()
        orders = ca.orders
        assert (0, True) == ((checked := _run(launcher, "check"))[0], checked[1].startswith("fine: 2 domains"))
        status, out, err = _run(launcher, "status")
        assert (0, "", True) == (status, err, "2 domains: 2 valid" in out)
        assert daemon.status()["domains"] == json.loads(_run(launcher, "status", "--json")[1])["domains"]
        status, out, _ = _run(launcher, "issue", "--all")
        assert (0, 2) == (status, out.count("has a certificate already"))
        assert fingerprint in _run(launcher, "show", NAMES[0])[1]
        assert 0 == _run(launcher, "export", str(tmp_path / "out"))[0]
        assert served.serial_number == _serial(tmp_path / "out" / NAMES[0] / "fullchain.pem")
        assert orders == ca.orders


def _hexadecimal(serial: int) -> str:
    return serial.to_bytes((serial.bit_length() + 7) // 8).hex()


def _serial(fullchain: Path) -> int:
    return x509.load_pem_x509_certificates(fullchain.read_bytes())[0].serial_number


def test_daemon_started_by_flags_is_reached_by_its_state_directory(launcher: Launcher) -> None:
    """
    No file says where it is.
    """
    config = launcher.write(domains=domains("flags.example"), acme=INTERNAL)
    with launcher.running() as daemon:
        daemon.wait_valid("flags.example")
        config.unlink()
        ran = subprocess.run([*COMMAND, "status", "--state-dir", str(daemon.state)], capture_output=True, text=True)
    assert (0, "", True) == (ran.returncode, ran.stderr, "1 domain: 1 valid" in ran.stdout)


def test_commands_without_a_daemon_go_from_nothing_to_certificates(ca: Ca, tmp_path: Path) -> None:
    """
    The command answers the CA itself; a daemon that starts then asks the CA for nothing.
    """
    launcher = ca.launcher(tmp_path, *NAMES)
    status, out, _ = _run(launcher, "status")
    assert (1, True) == (status, "no sptls daemon is running" in out)
    assert 1 == _run(launcher, "show", NAMES[0])[0]
    status, out, err = _run(launcher, "issue", "--all")
    assert (0, 2) == (status, out.count(": issued by ")), err
    assert 2 == ca.orders
    status, out, _ = _run(launcher, "status")
    assert (1, True) == (status, "2 domains: 2 valid" in out)
    assert 0 == _run(launcher, "export", str(tmp_path / "out"), NAMES[1])[0]
    with launcher.running() as daemon:
        served = certificate(daemon.https, NAMES[1], ca.client())
        assert served.serial_number == _serial(tmp_path / "out" / NAMES[1] / "fullchain.pem")
    assert 2 == ca.orders


def test_failure_is_asked_again_and_waited_for(ca: Ca, tmp_path: Path) -> None:
    """
    A name that failed waits no longer once the operator asks, and its reason is told when it fails again.
    """
    launcher = ca.launcher(tmp_path, *NAMES)
    launcher.https, launcher.http = free_ports(2)
    launcher.write(domains=domains(NAMES[0]), acme=ca.acme)
    with launcher.running() as daemon:
        until(lambda: daemon.domain(NAMES[0])["state"] == "failing", f"failure:\n{daemon.log}", 30)
        orders = ca.orders
        status, out, err = _run(launcher, "issue", NAMES[0])
        assert (1, True) == (status, f"{NAMES[0]}: failed: " in out), (out, err, daemon.log)
        assert orders < ca.orders
        assert 1 == _run(launcher, "status")[0]


def test_certificates_of_another_program_are_taken_over_without_an_order(ca: Ca, tmp_path: Path) -> None:
    """
    A migration: certbot's directory, then the first start; the same beside a running daemon.
    """
    before = ca.launcher(tmp_path / "before", *NAMES)
    assert 0 == _run(before, "issue", "--all")[0]
    serials = {}
    for name in NAMES:
        assert 0 == _run(before, "export", str(tmp_path / "letsencrypt" / "archive"), name)[0]
        live = tmp_path / "letsencrypt" / "live" / name
        live.parent.mkdir(exist_ok=True)
        live.symlink_to(tmp_path / "letsencrypt" / "archive" / name)
        serials[name] = _serial(live / "fullchain.pem")
    (tmp_path / "letsencrypt" / "renewal").mkdir()
    launcher, orders = ca.launcher(tmp_path / "after", *NAMES), ca.orders
    (tmp_path / "letsencrypt" / "live" / NAMES[1]).rename(later := tmp_path / "later")
    status, out, err = _run(launcher, "import", str(tmp_path / "letsencrypt"))
    assert (0, True) == (status, "1 of 2 domains: fine; 0 refused; 1 not found" in out), (out, err)
    with launcher.running() as daemon:
        assert serials[NAMES[0]] == certificate(daemon.https, NAMES[0], ca.client()).serial_number
        assert serials[NAMES[1]] != (mine := certificate(daemon.https, NAMES[1], ca.client())).serial_number
        status, out, err = _run(launcher, "import", str(later.resolve()))
        assert (0, f"{NAMES[1]}: nothing to import" in out) == (status, True), (out, err)
        assert mine.serial_number == certificate(daemon.https, NAMES[1], ca.client()).serial_number
    assert orders + 1 == ca.orders


def test_certificates_are_renewed_and_revoked_at_an_operators_word(ca: Ca, tmp_path: Path) -> None:
    """
    The CA knows which is revoked; what is served is the new one.
    """
    launcher, name = ca.launcher(tmp_path, *NAMES), NAMES[0]
    with launcher.running() as daemon:
        daemon.wait_valid(name)
        first = certificate(daemon.https, name, ca.client()).serial_number
        status, out, err = _run(launcher, "renew", name)
        assert (0, True) == (status, out.startswith(f"{name}: issued by ")), (out, err, daemon.log)
        second = certificate(daemon.https, name, ca.client()).serial_number
        assert first != second
        status, out, err = _run(launcher, "revoke", name, "--reason", "superseded", "--yes")
        assert (0, True) == (status, f"{name}: certificate {_hexadecimal(second)} is revoked" in out), (out, err)
        third = certificate(daemon.https, name, ca.client()).serial_number
        assert third not in {first, second}
        statuses = [ca.pebble.certificate_status(_hexadecimal(serial))["Status"] for serial in (first, second, third)]
        assert ["Valid", "Revoked", "Valid"] == statuses


def test_daemon_that_is_killed_while_one_waits_is_said(ca: Ca, tmp_path: Path, authority: trustme.CA) -> None:
    """
    The command ends, the next start takes the dead socket's place.
    """
    launcher = ca.launcher(tmp_path, NAMES[0])
    ordered = f'[[domains]]\nname = "{NAMES[0]}"\n'
    launcher.write(domains=ordered + own_domain(authority, tmp_path, "own.example"), acme=ca.acme)
    with ca.hanging():
        daemon = launcher.spawn()
        until((launcher.state / "control.sock").exists, f"socket:\n{daemon.log}")
        with _start(launcher, "issue", "--all") as process:
            assert process.stdout is not None
            assert "own.example: brings its own certificate" in process.stdout.readline()
            daemon.signal(signal.SIGKILL)
            daemon.process.wait()
            out, _ = process.communicate(timeout=60)
    assert (1, True) == (process.returncode, f"{NAMES[0]}: not known: " in out)
    assert (launcher.state / "control.sock").exists()
    assert "no sptls daemon is running" in _run(launcher, "status")[1]
    with launcher.running() as daemon:
        daemon.wait_valid(NAMES[0])
        assert 0 == _run(launcher, "status")[0]
    assert not (launcher.state / "control.sock").exists()

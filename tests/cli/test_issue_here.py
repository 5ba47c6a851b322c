"""
Tests for `sptls.cli.issue_here`: real processes, the internal CA, and one that never answers.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sptls.certs.store_reader import read_store
from tests.cli.conftest import Site
from tests.e2e.daemon import until
from tests.ports import free_ports

PROGRAM = "from sptls.cli.main import main; main()"


@pytest.fixture
def silent_ca() -> Iterator[str]:
    """
    Give the directory of a CA that accepts and says nothing.
    """
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        yield f"https://127.0.0.1:{silent.getsockname()[1]}/dir"


def _write(site: Site, *names: str, directory: str = "internal") -> list[str]:
    """
    Write the configuration; give the command that gets certificates for all its names.
    """
    https, http = free_ports(2)
    listen = f'[listen]\nhttps = ["127.0.0.1:{https}"]\nhttp = ["127.0.0.1:{http}"]\nadmin = ""\n'
    site.write(*names, more=listen, acme=f'directory = "{directory}"\nagree_to_terms = true')
    return [sys.executable, "-c", PROGRAM, "issue", "--config", str(site.config)]


def _run(command: list[str], *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*command, *more], capture_output=True, text=True, timeout=60)


def test_certificates_are_issued_and_stored_for_the_names_alone(site: Site) -> None:
    """
    What was not asked for waits for the daemon; nothing of this process stays behind.
    """
    command = _write(site, "a.example", "b.example", "c.example")
    ran = _run(command, "a.example", "b.example")
    assert 0 == ran.returncode, ran.stderr
    assert "sptls: no daemon is running; this process gets the certificates itself\n" == ran.stderr
    assert ["a.example: issued by sptls internal CA", "b.example: issued by sptls internal CA"] == sorted(
        line[:38].strip() for line in ran.stdout.splitlines()
    )
    stored = read_store(site.state / "store.db").certificates
    assert ["a.example", "b.example"] == sorted(name.text for name in stored)
    assert set() == {"lock", "control.sock"} & {path.name for path in site.state.iterdir()}


def test_ca_that_never_answers_is_not_waited_for_longer_than_asked(site: Site, silent_ca: str) -> None:
    """
    The exit status says that a name is without.
    """
    ran = _run(_write(site, "a.example", directory=silent_ca), "--all", "--timeout", "1")
    assert (1, "a.example: no outcome in 1 s\n") == (ran.returncode, ran.stdout), ran.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_it_in_order(site: Site, silent_ca: str, number: signal.Signals) -> None:
    """
    The lock is given back, and no traceback comes out.
    """
    command = _write(site, "a.example", directory=silent_ca)
    process = subprocess.Popen([*command, "--all"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until((site.state / "lock").exists, "start")
    until((site.state / "access.log").exists, "serving process")
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (1, "a.example: not issued: this process was ended first\n") == (process.returncode, out), err
    assert "Traceback" not in err
    assert not (site.state / "lock").exists()


def test_port_that_is_taken_is_said(site: Site) -> None:
    """
    The CA would look for its answer there.
    """
    command = _write(site, "a.example")
    port = int(site.config.read_text().partition('https = ["127.0.0.1:')[2].partition('"')[0])
    with closing(socket.create_server(("127.0.0.1", port))):
        ran = _run(command, "--all")
    assert (1, "") == (ran.returncode, ran.stdout)
    assert f"can't listen on 127.0.0.1:{port}: address already in use" in ran.stderr


def test_parts_that_cannot_start_are_said(site: Site) -> None:
    """
    No outcome is not a good one.
    """
    command = _write(site, "a.example")
    (site.state / "internal-ca.key.pem").write_text("damaged")
    ran = _run(command, "--all")
    assert 1 == ran.returncode
    assert "can't start: " in ran.stderr
    assert "a.example: not issued: this process was ended first\n" == ran.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act for another user")
def test_files_belong_to_the_daemons_user(site: Site) -> None:
    """
    The daemon must be able to go on with what root made in its directory.
    """
    os.chown(site.state, 65534, 65534)
    ran = _run(_write(site, "a.example"), "--all")
    assert 0 == ran.returncode, ran.stderr
    owners = {path.name: path.stat().st_uid for path in (site.state, *Path(site.state).iterdir())}
    assert {65534} == set(owners.values()), owners

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sptls.config import ListenConfig
from sptls.serving import DRAIN_SECONDS
from sptls.tap import EXIT_CONFIGURATION, Options
from sptls.tls.sockets import BACKLOG, DEFER_ACCEPT_SECONDS

ROOT = Path(__file__).parents[2]
UNITS = [ROOT / "contrib/sptls.service", ROOT / "contrib/sptls-renew.service"]
INSTALLED = "/opt/sptls/bin/twistd"
# systemd calls everything up to 4.9 OK; ours are at 1.6 and 2.3 (systemd 252), and should not get worse unnoticed.
MAX_EXPOSURE = 25

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")


def settings(unit: Path) -> dict[str, list[str]]:
    """
    Give the unit's settings: each may be there more than once.
    """
    found: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_takes_it(unit: Path, tmp_path: Path) -> None:
    """
    No fault is found with a unit by systemd, given that its program is there.
    """
    here = tmp_path / unit.name
    here.write_text(unit.read_text().replace(INSTALLED, sys.executable))
    command = ["systemd-analyze", "verify", "--man=no", str(here)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stderr)


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_is_hardened(unit: Path) -> None:
    """
    What a unit exposes stays low, by systemd's own measure.
    """
    command = ["systemd-analyze", "security", "--offline=yes", f"--threshold={MAX_EXPOSURE}", "--no-pager", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stdout


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_twistd_understands_its_command(unit: Path) -> None:
    """
    A unit starts twistd in the foreground, without a pid file, with options that sptls has.
    """
    (command,) = settings(unit)["ExecStart"]
    program, *words = command.split()
    assert (INSTALLED, ["-n", "--pidfile=", "sptls"]) == (program, words[:3])
    options = Options()
    options.parseOptions(words[3:])
    assert "/etc/sptls.toml" == options["config"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_ends_and_restarts_as_the_daemon_does(unit: Path) -> None:
    """
    A unit leaves the drain its time, and does not start a configuration again and again that can't be used.
    """
    found = settings(unit)
    assert int(found["TimeoutStopSec"][0]) >= 2 * DRAIN_SECONDS
    assert [str(EXIT_CONFIGURATION)] == found["RestartPreventExitStatus"]
    assert ["notify"] == found["Type"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_daemon_that_hangs_is_started_again(unit: Path) -> None:
    """
    A unit's watchdog ends a daemon that gives no sign of life, by the signal that no process can ignore, and a start
    follows; none leaves a core, in which its keys would be.
    """
    found = settings(unit)
    assert 0 < int(found["WatchdogSec"][0])
    assert (["SIGKILL"], ["0"]) == (found["WatchdogSignal"], found["LimitCORE"])
    assert found["Restart"][0] in ("on-failure", "always")


def test_what_a_unit_stops_has_stopped_before_it_starts() -> None:
    """
    The renewal daemon is ordered to what it gives way to: else systemd binds port 80 while the other still has it.
    """
    found = settings(ROOT / "contrib/sptls-renew.service")
    conflicts, after = ({name for line in found[key] for name in line.split()} for key in ("Conflicts", "After"))
    assert {"sptls.service", "sptls.socket"} == conflicts
    assert conflicts <= after


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_can_not_write_its_own_program(unit: Path) -> None:
    """
    No unit's daemon writes where it is installed: as root it would leave a cache of plugins there, by its umask for
    root alone, which the other unit's user then can neither read nor replace.
    """
    found = settings(unit)
    program = Path(INSTALLED).parents[1]
    assert ["strict"] == found["ProtectSystem"] or [f"-{program}"] == found["ReadOnlyPaths"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_lets_libffi_write_code(unit: Path) -> None:
    """
    No unit forbids memory that is written and executed: pyOpenSSL's callbacks need it.
    """
    assert "MemoryDenyWriteExecute" not in settings(unit)


@needs_systemd
def test_systemd_takes_the_sockets(tmp_path: Path) -> None:
    """
    No fault is found with the socket unit by systemd, beside the service that it starts.
    """
    for name in ("sptls.service", "sptls.socket"):
        (tmp_path / name).write_text((ROOT / "contrib" / name).read_text().replace(INSTALLED, sys.executable))
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / "sptls.socket")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stderr)


def test_sockets_are_made_as_the_daemons_own() -> None:
    """
    They are at the addresses that the configuration has by default, with the options of `tls.sockets`.
    """
    found = settings(ROOT / "contrib/sptls.socket")
    listen = ListenConfig()
    assert [str(one.port) for one in (*listen.https, *listen.http)] == found["ListenStream"]
    assert (["both"], ["yes"]) == (found["BindIPv6Only"], found["NoDelay"])
    assert ([str(BACKLOG)], [str(DEFER_ACCEPT_SECONDS)]) == (found["Backlog"], found["DeferAcceptSec"])


def test_logrotate_takes_it(tmp_path: Path) -> None:
    """
    The file for logrotate is read without an error, and names the access log.
    """
    # It is not on everybody's PATH.
    logrotate = shutil.which("logrotate", path="/usr/sbin:/usr/bin:/sbin:/bin")
    if logrotate is None:
        pytest.skip("needs logrotate")
    rotation = tmp_path / "sptls"
    rotation.write_text((ROOT / "contrib/sptls.logrotate").read_text())
    # It refuses a file that others may write.
    rotation.chmod(0o644)
    command = [logrotate, "--debug", "--state", str(tmp_path / "state"), str(rotation)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (0, False) == (done.returncode, "error:" in done.stderr), done.stderr
    assert "rotating pattern: /var/lib/sptls/access.log" in done.stderr

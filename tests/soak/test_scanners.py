"""
What those say of our TLS whose trade it is: testssl.sh (Debian's), and sslyze, which goes by Mozilla's configurations.
"""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.e2e.daemon import Daemon, Launcher
from tests.e2e.origin import origin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NAME = "click.localhost"
SCAN_SECONDS = 600
GRAVE = {"MEDIUM", "HIGH", "CRITICAL", "FATAL"}
# What is not the proxy's, and why.
NOT_OURS = {
    "cert_revocation": "certificates of the internal CA name no list of revoked ones, and no OCSP responder",
    "security_headers": "what a page may do (frames, scripts) is for the tracking service to say",
}
# testssl.sh from 3.2 on gives the grade of SSL Labs' guide; Debian's 3.0 has none.
GRADE = "overall_grade"
GOOD_GRADES = {"A", "A+"}


@pytest.fixture(params=["intermediate", "modern"])
def policy(request: pytest.FixtureRequest) -> str:
    """
    Give each policy that Mozilla has a name for.
    """
    return str(request.param)


@pytest.fixture
def daemon(tmp_path: Path, policy: str) -> Iterator[Daemon]:
    """
    Give a daemon with a certificate of the internal CA.
    """
    (tmp_path / "daemon").mkdir()
    launcher = Launcher(tmp_path / "daemon")
    with origin(tmp_path) as tracking:
        launcher.write(
            domains=f'domains = ["{NAME}"]',
            acme='directory = "internal"',
            upstream=tracking.configuration,
            more=f'[tls]\npolicy = "{policy}"\n',
        )
        with launcher.running() as running:
            running.wait_valid(NAME)
            yield running


def test_testssl(daemon: Daemon, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """
    By testssl.sh, nothing is weak: there is no finding of medium gravity or more but for `cert_revocation` and
    `security_headers`, which are not the proxy's; and the grade, where its release gives one, is A or A+.
    """
    program = shutil.which("testssl")
    if program is None:
        pytest.skip("testssl.sh is not installed (Debian: apt-get install testssl.sh)")
    found, root = tmp_path / "found.csv", daemon.state / "internal-ca.pem"
    options = ["--quiet", "--color", "0", "--warnings", "off", "--ip", "127.0.0.1", "--add-ca", str(root)]
    subprocess.run(
        [program, *options, "--csvfile", str(found), f"{NAME}:{daemon.https}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=SCAN_SECONDS,
        check=False,  # its status counts findings
    )
    with found.open(newline="") as lines:
        findings = list(csv.DictReader(lines))
    grades = {row["finding"] for row in findings if row["id"] == GRADE}
    record_property("findings", len(findings))
    record_property("grade", ", ".join(grades) or "this release gives none")
    assert len(findings) > 100, "the scan broke off"
    grave = {row["id"]: row["finding"] for row in findings if row["severity"] in GRAVE}
    record_property("excepted", ", ".join(sorted(grave.keys() & NOT_OURS.keys())) or "nothing")
    assert {} == {name: finding for name, finding in grave.items() if name not in NOT_OURS}
    assert grades <= GOOD_GRADES


def test_sslyze(daemon: Daemon, policy: str, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """
    By sslyze, we are compliant with Mozilla's configuration of the policy's name.
    """
    environment = tmp_path / "sslyze"  # of its own: it wants another cryptography than we do
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    pip = [str(environment / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", "sslyze"]
    subprocess.run(pip, check=True, timeout=SCAN_SECONDS)
    root = daemon.state / "internal-ca.pem"
    scan = [str(environment / "bin" / "sslyze"), "--mozilla_config", policy, "--certinfo_ca_file", str(root)]
    ran = subprocess.run(
        [*scan, "--sni", NAME, f"127.0.0.1:{daemon.https}"],
        capture_output=True,
        text=True,
        timeout=SCAN_SECONDS,
        check=False,
    )
    verdict = ran.stdout.partition("COMPLIANCE AGAINST")[2]
    record_property("verdict", verdict.strip().rpartition(": ")[2])
    assert "OK - Compliant" in verdict, verdict

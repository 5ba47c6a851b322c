from __future__ import annotations

from pathlib import Path

from sptls.deploy.command import environment, run
from sptls.names import HostName
from tests.certs.stored import outcome
from tests.deploy.doubles import Programs


def test_it_is_told_what_changed() -> None:
    """
    Names and directory stand in its environment beside the daemon's own, less what systemd says to the daemon.
    """
    names = (HostName("a.example"), HostName("b.example"))
    inherited = {"PATH": "/bin", "HOME": "/root", "NOTIFY_SOCKET": "/run/systemd/notify", "SPTLS_NAMES": "old"}
    given = environment(names, Path("/etc/certs"), inherited)
    told = {"SPTLS_NAMES": "a.example b.example", "SPTLS_DIRECTORY": "/etc/certs"}
    assert {"PATH": "/bin", "HOME": "/root", **told} == given


def test_a_failure_says_that_it_is_the_deploy_commands() -> None:
    """
    And not another program's of the operator's.
    """
    assert outcome(run(Programs(), ["/no/such/program"], {}, 1.0)).startswith("the deploy command can't be run")

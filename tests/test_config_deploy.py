"""
What ``[deploy]`` may hold: directories apart from each other, a program that is there.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from sptls.config import DeployConfig
from sptls.config_deploy import deploy
from sptls.config_file import DeployTable
from sptls.config_inspection import Inspection
from sptls.errors import ConfigError
from tests.full_config import BASE, OnlyOk

STATE_DIR = BASE / "ok-www" / "state"


def judged(table: DeployTable, *, renew_only: bool = True) -> DeployConfig | list[str]:
    """
    Give what *table* amounts to, or its faults as lines.
    """
    look = Inspection((), {}, BASE, OnlyOk())
    config = deploy(look, table, STATE_DIR, renew_only=renew_only)
    try:
        look.end()
    except ConfigError as error:
        return [str(fault) for fault in error.faults]
    return config


def test_nothing_is_copied_by_default() -> None:
    """
    The proxy needs no copies.
    """
    assert DeployConfig() == judged(DeployTable(), renew_only=False)
    assert DeployConfig() == judged(DeployTable("", "", ()), renew_only=False)


@pytest.mark.parametrize("renew_only", [True, False])
def test_copies_are_made_beside_the_proxy_too(*, renew_only: bool) -> None:
    """
    The program is found at once, and its words are left alone.
    """
    table = DeployTable("live", None, ("ok-reload", "", "-x", "a b"), 5)
    expected = DeployConfig(BASE / "live", None, ("/usr/bin/ok-reload", "", "-x", "a b"), 5)
    assert expected == judged(table, renew_only=renew_only)


def test_a_webroot_is_a_directory_that_is_there() -> None:
    """
    It is another server's.
    """
    assert DeployConfig(BASE / "live", Path("/srv/ok")) == judged(DeployTable("live", "/srv/ok"))


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        (DeployTable(), "deploy.directory: missing: --renew-only needs a directory to keep the certificates in"),
        (DeployTable(command=("ok",)), "deploy.directory: missing: command is set, and it is run after a change"),
        (DeployTable("a\0"), "deploy.directory: a path can't hold a NUL"),
        (DeployTable("live", "gone"), "deploy.webroot: '/etc/sptls/gone' is not a directory that can be written: No"),
        (DeployTable("live", command=("gone",)), "deploy.command[0]: 'gone' can't be run: no such program on the PATH"),
        (DeployTable("live", command=("",)), "deploy.command[0]: must name a program"),
        (DeployTable("live", command=("ok", "-x", "\0")), "deploy.command[2]: a program can't be given a NUL"),
        (DeployTable("ok-www/state"), "deploy.directory: must not be state_dir itself"),
        (DeployTable("ok/live", "ok"), "deploy.directory: lies in deploy.webroot: the server there would give private"),
        (DeployTable("ok", "ok"), "deploy.directory: lies in deploy.webroot"),
        (DeployTable("live", "ok-www"), "state_dir: lies in deploy.webroot"),
    ],
)
def test_what_can_not_be_used_is_one_fault(table: DeployTable, fault: str) -> None:
    """
    At its place, with what would do.
    """
    found = judged(table)
    assert isinstance(found, list)
    assert [True] == [line.startswith(fault) for line in found]


def test_a_webroot_goes_with_the_renewal_daemon_only() -> None:
    """
    Port 80 is the proxy's own.
    """
    found = judged(DeployTable("live", "ok"), renew_only=False)
    assert isinstance(found, list)
    assert ["deploy.webroot: goes with --renew-only only"] == [line.partition(": the")[0] for line in found]


@pytest.mark.parametrize("words", [(None,), (None, "-x"), ("ok", None)])
def test_a_word_that_is_none_was_told_already(words: tuple[str | None, ...]) -> None:
    """
    By whoever read the file.
    """
    assert isinstance(judged(DeployTable("live", command=words)), DeployConfig)

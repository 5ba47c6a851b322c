"""
Where certificates are copied to for other servers, and what ``--renew-only`` makes of a configuration.

Decides what ``[deploy]`` may hold, and what of it goes with which way of running: beside the proxy, or instead of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sptls.config import DeployConfig

if TYPE_CHECKING:
    from pathlib import Path

    from sptls.config_file import DeployTable
    from sptls.config_inspection import Inspection


def deploy(look: Inspection, table: DeployTable, state_dir: Path, *, renew_only: bool) -> DeployConfig:
    """
    Give what ``[deploy]`` says.
    """
    directory = look.path("deploy.directory", table.directory)
    webroot = look.directory("deploy.webroot", table.webroot)
    if not table.directory and look.is_sound("deploy.directory"):
        if table.command:
            look.note("deploy.directory", "missing: command is set, and it is run after a change in there")
        elif renew_only:
            look.note("deploy.directory", "missing: --renew-only needs a directory to keep the certificates in")
    if table.webroot and not renew_only:
        why = "the proxy answers http-01 itself, on listen.http; leave it out, or run with --renew-only"
        look.note("deploy.webroot", f"goes with --renew-only only: {why}")
    _check_apart(look, directory, webroot, state_dir)
    return DeployConfig(directory, webroot, look.command("deploy.command", table.command), table.command_seconds)


def _check_apart(look: Inspection, directory: Path | None, webroot: Path | None, state_dir: Path) -> None:
    """
    Note directories that lie where their keys would be served to everyone, or mixed with the daemon's own files.
    """
    if directory == state_dir:
        look.note("deploy.directory", "must not be state_dir itself; a directory in it will do")
    if webroot is None:
        return
    for place, keys in (("deploy.directory", directory), ("state_dir", state_dir)):
        if keys is not None and (webroot == keys or webroot in keys.parents):
            look.note(place, "lies in deploy.webroot: the server there would give private keys to everyone")

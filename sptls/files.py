"""
Files that appear whole or not at all, with the mode they are meant to have whatever the umask says.

Each is written beside its final place, synced, renamed over it, and the directory synced: after a crash or a full disk
there is the old file or the new one. Decides nothing about what is in them.
"""

from __future__ import annotations

import errno
import os
import tempfile
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

PRIVATE_MODE: Final = 0o600
PUBLIC_MODE: Final = 0o644
PRIVATE_DIRECTORY_MODE: Final = 0o700


def make_private_directory(path: Path) -> None:
    """
    Make the directory *path*, and its parents, where it is missing; a new one is its owner's alone.

    One that exists keeps its mode: it may be the operator's choice, or everybody's (``/tmp``).

    Raises:
        OSError: it can't be made, or something else has that name.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.mkdir(PRIVATE_DIRECTORY_MODE)
    except FileExistsError:
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "it exists and is not a directory", str(path)) from None
    else:
        path.chmod(PRIVATE_DIRECTORY_MODE)  # a umask may have taken even the owner's bits


def write_private(path: Path, content: bytes) -> None:
    """
    Put a secret into *path*: only the owner can read it, at any moment of its life.

    Raises:
        OSError: it could not be written; what was there before is there still.
    """
    _write(path, content, PRIVATE_MODE)


def write_public(path: Path, content: bytes) -> None:
    """
    Put *content* into *path*, for everybody to read who may enter the directory.

    Raises:
        OSError: it could not be written; what was there before is there still.
    """
    _write(path, content, PUBLIC_MODE)


def _write(path: Path, content: bytes, mode: int) -> None:
    # mkstemp makes it exclusively, under a name that can't be guessed, with mode 0600.
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """
    Make the renames in *path* survive a power cut.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

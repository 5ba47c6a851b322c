"""
From a configuration's file on disk to a `Config`: for twistd's start, for SIGHUP, and for the commands.

Decides nothing: `config_load` does, and asks the disk through `DiskFiles`. All paths are made absolute when a source is
made, since twistd changes the directory when it daemonizes and the file is read again later.
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from sptls import config_load
from sptls.config import FILE_BYTES
from sptls.errors import ConfigError, Fault

if TYPE_CHECKING:
    from sptls.config import Config
    from sptls.config_load import Overrides


def _absolute(path: Path | None) -> Path | None:
    return path and path.absolute()


def _absolute_overrides(overrides: Overrides) -> Overrides:
    # On the command line a relative path means what it means to the shell, wherever the file lies.
    state_dir = overrides.state_dir and str(Path(overrides.state_dir).absolute())
    return attrs.evolve(overrides, state_dir=state_dir)


@attrs.frozen
class ConfigSource:
    """
    Where a configuration comes from: the file at *path*, or none, and what the command line says.

    *foreground* says that standard output is the operator's.
    """

    path: Path | None = attrs.field(converter=_absolute)
    overrides: Overrides = attrs.field(converter=_absolute_overrides)
    foreground: bool
    _working_directory: Path = attrs.field(factory=Path.cwd, init=False)

    def load(self) -> Config:
        """
        Give the configuration as the file is now.

        Blocks while files are read: milliseconds, and 0.4 s for 100,000 names.

        Raises:
            ConfigError: with all its faults.
        """
        files = DiskFiles()
        text, base = "", self._working_directory
        if self.path is not None:
            try:
                # A symbolic link is followed: paths in the file are relative to where it really lies.
                text, base = files.text(self.path), self.path.resolve().parent
            except ValueError as error:
                raise ConfigError((Fault("--config", f"{self.path} can't be read: {error}"),)) from None
        return config_load.load(text, overrides=self.overrides, base=base, foreground=self.foreground, files=files)


class DiskFiles:
    """
    The disk, as `config_inspection.Files` wants it asked.
    """

    def why_unreadable(self, path: Path) -> str | None:
        """
        Tell why *path* is not a file that can be read, or None when it is.
        """
        try:
            with path.open("rb"):
                return None
        except OSError as error:
            return error.strerror or str(error)

    def text(self, path: Path) -> str:
        """
        Give what is in *path*, less a byte order mark.

        Raises:
            ValueError: it can't be read, is over `FILE_BYTES`, or is not UTF-8; says why.
        """
        try:
            with path.open("rb") as file:
                content = file.read(FILE_BYTES + 1)
        except OSError as error:
            raise ValueError(error.strerror or str(error)) from None
        if len(content) > FILE_BYTES:
            raise ValueError(f"it is over {FILE_BYTES // 2**20} MiB")
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            # UTF-16 has a byte order mark that is not UTF-8, so it ends here too, on line 1.
            line = content.count(b"\n", 0, error.start) + 1
            raise ValueError(f"it is not UTF-8 text (line {line})") from None

    def why_unwritable(self, directory: Path) -> str | None:
        """
        Tell why *directory* is not one in which files can be made, or None when it is.
        """
        try:
            is_directory = stat.S_ISDIR(directory.stat().st_mode)
        except OSError as error:
            return error.strerror or str(error)
        if not is_directory:
            return "Not a directory"
        return None if os.access(directory, os.W_OK | os.X_OK) else "Permission denied"

    def program(self, word: str) -> str | None:
        """
        Give the absolute path of the program that *word*, a name or a path, stands for; None when there is none.
        """
        found = shutil.which(word)
        return found and str(Path(found).absolute())

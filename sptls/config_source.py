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

from sptls import config_load, remembered_domains
from sptls.config import FILE_BYTES
from sptls.errors import ConfigError, Fault

if TYPE_CHECKING:
    from twisted.logger import Logger

    from sptls.config import Config
    from sptls.config_load import Overrides


def _log() -> Logger:
    """
    Give the daemon's log; the commands, which write none, need not wait for Twisted's import.
    """
    from twisted.logger import Logger

    return Logger()


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
        text, base = self._text()
        return self._config(text, base, DiskFiles())

    def load_for_start(self) -> Config:
        """
        Give the configuration as `load` does, for a daemon that starts; `remember` keeps what it needs the next time.

        Where ``domains_file`` can't be read, the names count that were in it when it last was: the certificates of
        thousands of names are there, and must be served.

        Raises:
            ConfigError: with all its faults.
        """
        try:
            config = self.load()
        except ConfigError as error:
            if {fault.place for fault in error.faults} != {"domains_file"}:
                raise
            text, base = self._text()
            files = RememberedFiles(config_load.state_directory(text, self.overrides, base))
            config = self._config(text, base, files)
            for fault in error.faults:
                _log().error(
                    "{fault}; the names that it had before are served; SIGHUP reads it again", fault=str(fault)
                )
            return config
        self.remember(config)
        return config

    def remember(self, config: Config) -> None:
        """
        Keep what is in *config*'s ``domains_file`` for a start at which that can't be read.
        """
        if config.domains_file is None:
            return
        try:
            remembered_domains.remember(config.state_dir, config.domains_file, DiskFiles().text(config.domains_file))
        except (OSError, ValueError) as error:
            _log().warn("domains_file could not be copied for a start at which it is missing: {error}", error=error)

    def _text(self) -> tuple[str, Path]:
        """
        Give the file's text, and the directory that paths in it are relative to.
        """
        if self.path is None:
            return "", self._working_directory
        try:
            # A symbolic link is followed: paths in the file are relative to where it really lies.
            return DiskFiles().text(self.path), self.path.resolve().parent
        except ValueError as error:
            raise ConfigError((Fault("--config", f"{self.path} can't be read: {error}"),)) from None

    def _config(self, text: str, base: Path, files: DiskFiles) -> Config:
        return config_load.load(
            text, overrides=self.overrides, base=base, foreground=self.foreground, files=files, path=self.path
        )


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


class RememberedFiles(DiskFiles):
    """
    The disk, with what is remembered in *state_dir* of a file that can't be read.
    """

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir

    def text(self, path: Path) -> str:
        """
        Give what is in *path*, or was when it could be read.

        Raises:
            ValueError: it can't be read, and nothing is remembered of it; says why.
        """
        try:
            return super().text(path)
        except ValueError:
            remembered = remembered_domains.recall(self._state_dir, path)
            if remembered is None:
                raise
            return remembered

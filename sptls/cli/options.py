"""
The options that every command has, and the configuration and state directory that they mean.

Decides where the configuration is looked for: ``--config``, ``SPTLS_CONFIG``, then the usual place if there is a file.
A daemon that was started by flags alone is reached with ``--state-dir``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs
import click

from sptls.config import STATE_DIR
from sptls.config_load import Overrides
from sptls.config_source import ConfigSource
from sptls.errors import ConfigError, Fault, InvalidHostName
from sptls.names import HostName

if TYPE_CHECKING:
    from collections.abc import Callable

    from sptls.config import Config

F = TypeVar("F", bound="Callable[..., Any]")

DEFAULT_CONFIG: Final = Path("/etc/sptls.toml")


@attrs.frozen
class Place:
    """
    What the common options mean: the *source* of the configuration, if there is any, and *state_dir* if it was given.
    """

    source: ConfigSource | None
    given_state_dir: Path | None

    def config(self) -> Config:
        """
        Give the configuration.

        Raises:
            ConfigError: with all its faults, or since there is none.
        """
        if self.source is None:
            where = f"name the file (or set SPTLS_CONFIG); there is none at {DEFAULT_CONFIG}"
            raise ConfigError((Fault("--config", where),))
        return self.source.load()

    def state_dir(self) -> Path:
        """
        Give the state directory of the daemon that is meant; the configuration is read only where it has to say.

        Raises:
            ConfigError: it can't say.
        """
        if self.given_state_dir is not None:
            return self.given_state_dir
        return STATE_DIR if self.source is None else self.source.load().state_dir


def host_name(context: click.Context, parameter: click.Parameter, text: str) -> HostName:
    """
    Give the host name that an argument spells.
    """
    try:
        return HostName.parse(text)
    except InvalidHostName as error:
        raise click.BadParameter(str(error), context, parameter) from None


def host_names(context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> tuple[HostName, ...]:
    """
    Give the host names that arguments spell, each once.
    """
    return tuple(dict.fromkeys(host_name(context, parameter, text) for text in texts))


def place_options(command: F) -> F:
    """
    Give *command* the common options; it gets a `Place` as *place*.
    """
    command = click.option(
        "--debug", is_flag=True, expose_value=False, help="Show the whole traceback of an unexpected error."
    )(command)
    command = click.option(
        "--renew-only", is_flag=True, help="Read the configuration as twistd sptls --renew-only does."
    )(command)
    command = click.option(
        "--state-dir",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="The daemon's state directory, in place of what the configuration says; enough to reach one that runs.",
    )(command)
    return click.option(
        "--config",
        "-c",
        envvar="SPTLS_CONFIG",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help=f"The configuration file. [env: SPTLS_CONFIG; default: {DEFAULT_CONFIG} if there is one]",
    )(command)


def place(config: Path | None, state_dir: Path | None, *, renew_only: bool = False) -> Place:
    """
    Give what the common options mean.
    """
    path = config if config is not None or not DEFAULT_CONFIG.exists() else DEFAULT_CONFIG
    given = None if state_dir is None else state_dir.absolute()
    if path is None:
        return Place(None, given)
    overrides = Overrides(state_dir=None if given is None else str(given), renew_only=renew_only)
    # In the foreground, where "-" names a log: what systemd and containers start.
    return Place(ConfigSource(path, overrides, foreground=True), given)

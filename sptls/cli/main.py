"""
The entry point of ``sptls``: which commands there are, and how every fault ends.

Decides the exit status of each kind of error, and that nobody meets a traceback who has not asked for one.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from importlib import metadata
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from sptls.cli.output import (
    EXIT_FAILED,
    EXIT_FINE,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    listed,
    note,
    show_every_character,
)
from sptls.errors import ConfigError, DaemonNotRunning, SptlsError

if TYPE_CHECKING:
    from collections.abc import Sequence

# Imported when they are asked for: each needs other parts of sptls, and a monitor asks every minute.
_COMMANDS: Final = ("check", "status", "explain", "issue", "renew", "retry", "revoke", "import", "export", "show")
# "import" is a word of Python's.
_MODULES: Final = {"import": "take_over"}
_STANDARD_OUTPUT: Final = 1


class _Commands(click.Group):
    """
    The commands, in the order in which an operator meets them.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """
        Give their names.
        """
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """
        Give the command of that name, or None.
        """
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"sptls.cli.{_MODULES.get(cmd_name, cmd_name)}").command
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(metadata.version("sptls"), message="sptls %(version)s")
@click.option("--debug", is_flag=True, expose_value=False, help="Show the whole traceback of an unexpected error.")
def sptls() -> None:
    """
    Look after a TLS proxy for e-mail tracking domains.

    The daemon itself is started with twistd (see: twistd sptls --help). These commands find it by the configuration
    file, and ask it over a socket in its state directory; most of them work where none runs as well.

    Exit status: 0 fine, 1 something failed, 2 usage or configuration.
    """


def main() -> NoReturn:
    """
    Do what the command line says, and end the process.
    """
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """
    Do what *arguments* say; gives the exit status.
    """
    show_every_character()
    try:
        status: Any = sptls.main(args=list(arguments), prog_name="sptls", standalone_mode=False)
        if sys.stdout is not None:  # it may have been closed before the start
            sys.stdout.flush()
    except Exception as error:  # noqa: BLE001 - this is where every fault ends
        return _end(error, is_debugging="--debug" in arguments)
    return status if isinstance(status, int) else EXIT_FINE


def _end(error: Exception, *, is_debugging: bool) -> int:
    """
    Say what *error* is, and give the exit status for it.
    """
    match error:
        case click.Abort():
            return EXIT_INTERRUPTED
        case click.ClickException():
            error.show()
            return error.exit_code
        case ConfigError():
            note(f"the configuration can't be used:{listed(error.faults)}")
            return EXIT_USAGE
        case DaemonNotRunning():
            note(f"{error}; start it, or say with --config or --state-dir which one is meant")
        case SptlsError():
            note(str(error))
        case BrokenPipeError():
            _write_no_more()
        case OSError():
            _write_no_more()
            place = f"{error.filename}: " if error.filename else ""
            note(f"{place}{error.strerror or error}")
        case _:
            note(f"a fault of sptls itself: {type(error).__name__}: {error}")
            note("please report it, with what the same command says with --debug")
    if is_debugging:
        traceback.print_exception(error)
    return EXIT_FAILED


def _write_no_more() -> None:
    """
    Drop what is still buffered for standard output, which can't be written: Python would try, and complain, at its end.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, _STANDARD_OUTPUT)
    os.close(nowhere)

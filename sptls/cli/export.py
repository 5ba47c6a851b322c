"""
``sptls export``: the certificates and their keys as files, for a back-up or another program.

The files are laid out and replaced as for ``deploy.directory``: `deploy.layout` does both.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sptls.cli.options import host_names, place, place_options
from sptls.cli.output import EXIT_FAILED, EXIT_FINE, note, say
from sptls.cli.stored import Stored
from sptls.deploy import layout, plan
from sptls.errors import BadCertificate, DeployError

if TYPE_CHECKING:
    from sptls.names import HostName


@click.command("export", short_help="Write certificates and keys to files.")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("names", metavar="[NAME]...", nargs=-1, callback=host_names)
@place_options
def command(
    directory: Path, names: tuple[HostName, ...], config: Path | None, state_dir: Path | None, *, renew_only: bool
) -> int:
    """
    Write each certificate to DIR/NAME/fullchain.pem and chain.pem, and its private key to privkey.pem.

    Without a NAME, those of all domains. New directories get mode 0700, files 0600. DIR/NAME is a link, replaced in one
    step when everything is written: key and certificate always fit, and a full disk changes nothing. A daemon may run.

    Exit status: 1 when a certificate could not be written, or a domain has none.
    """
    stored = Stored.at(place(config, state_dir, renew_only=renew_only))
    for damage in stored.loaded.damaged:
        note(damage)
    elsewhere = stored.passed_through
    for name in elsewhere.intersection(names):
        note(f"{name}: is passed through: its certificate is the other server's, and not here")
    wanted = names or tuple(name for name in stored.names if name not in elsewhere)
    if not wanted:
        note("there is nothing to export: no domain is configured and nothing is stored; see --config and --state-dir")
        return EXIT_FAILED
    # Each is tried: one that is damaged must not keep the others from a back-up.
    written = [name for name in wanted if name not in elsewhere and _written(directory.absolute(), name, stored)]
    say(f"{len(written)} of {len(wanted)} certificates are in {directory}")
    return EXIT_FINE if len(written) == len(wanted) and not stored.loaded.damaged else EXIT_FAILED


def _written(directory: Path, name: HostName, stored: Stored) -> bool:
    """
    Write the files of *name*, or say why that can't be done.
    """
    try:
        bundle = stored.bundle(name)
        if bundle is None:
            note(f"{name}: there is no certificate yet; sptls issue {name} gets one, sptls status says what is amiss")
            return False
        layout.put(directory, name, bundle)
    except DeployError as error:
        note(f"{name}: {error}")
    except BadCertificate as error:
        note(f"{name}: its certificate can't be used: {error}")
    except OSError as error:
        note(f"{name}: {error.filename}: {error.strerror}")
    else:
        say(str(directory / plan.link_name(name)))
        return True
    return False

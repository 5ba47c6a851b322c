"""
The part of the containers' local stack that is ours: ``python -m sptls.demo.stack DIRECTORY``.

Makes a root in DIRECTORY and Pebble's own HTTPS certificate from it, for the container with Pebble to read; then serves
as the tracking service until it is told to end. `docker-compose.override.yml` starts it, and knows its name and port.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from sptls.certs.csr import generate_key
from sptls.certs.internal import open_root
from sptls.clock import wall_time
from sptls.demo.pebble import CERTIFICATE, KEY
from sptls.demo.tracking_service import DemoTrackingService
from sptls.files import write_private, write_public
from sptls.names import HostName

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sptls.clock import WallClock

# The names of the two services, which Docker's DNS answers for.
PEBBLE_HOST: Final = HostName("pebble")
TRACKING_HOST: Final = HostName("tracking")
EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 - it runs in a container: which network that is on decides who gets here
PORT: Final = 8443


def write_pebble_certificate(directory: Path, wall_clock: WallClock) -> None:
    """
    Make Pebble's own certificate anew, from the root in *directory*, which is made where it is missing.

    Raises:
        StartError: the root can't be read or made.
        OSError: *directory* can't be written.
    """
    now = wall_clock()
    bundle = open_root(directory, now).issue(PEBBLE_HOST, generate_key("ec-p256"), now)
    write_private(directory / KEY, bundle.key_pem())
    write_public(directory / CERTIFICATE, bundle.chain_pem())


def run(reactor: Any, arguments: Sequence[str], port: int = PORT) -> Deferred[None]:
    """
    Do all that this module is for; what is returned fires when it is cancelled, and not before.

    Raises:
        SystemExit: *arguments* are not one directory.
        StartError: the root can't be read or made.
        OSError: the directory can't be written.
        CannotListenError: the port is taken.
    """
    if len(arguments) != 1:
        raise SystemExit("usage: python -m sptls.demo.stack DIRECTORY")
    directory = Path(arguments[0])
    write_pebble_certificate(directory, wall_time)
    service = DemoTrackingService(reactor, directory, wall_time, host=TRACKING_HOST, address=EVERYWHERE, port=port)
    address = service.start()
    sys.stderr.write(f"the demo's tracking service serves {address.url}; its root is {address.trust}\n")
    return Deferred.fromCoroutine(_until_cancelled(service))


async def _until_cancelled(service: DemoTrackingService) -> None:
    never: Deferred[None] = Deferred()
    try:
        await never
    finally:
        await service.stop()


if __name__ == "__main__":
    react(run, (sys.argv[1:],))

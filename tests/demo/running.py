"""
Runs a part of the demo in a process of its own, on a real reactor: ``python -m tests.demo.running PART DIRECTORY``.

Writes what the part gave as one line of JSON, and ends when its standard input does.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet import task
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.stdio import StandardIO

from sptls.certs.internal import CERTIFICATE_FILE
from sptls.clock import wall_time
from sptls.demo import stack
from sptls.demo.child import Child
from sptls.demo.pebble import DemoPebble
from sptls.demo.tracking_service import DemoTrackingService
from sptls.errors import StartError
from tests.ports import free_ports


class Input(Protocol):
    """
    Waits for the end of standard input.
    """

    def __init__(self) -> None:
        self.ended: Deferred[None] = Deferred()

    def connectionLost(self, reason: object = None) -> None:  # noqa: N802
        """
        Note the end.
        """
        self.ended.callback(None)


async def end_of_input(reactor: Any, **facts: object) -> None:
    """
    Tell *facts*, and wait for the end.
    """
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()
    protocol = Input()
    StandardIO(protocol, reactor=reactor)
    await protocol.ended


async def pebble(reactor: Any, directory: Path) -> None:
    """
    Run the CA; the ports for validation are closed.
    """
    demo = DemoPebble(reactor, directory, wall_time, https_port=1, http_port=1)
    try:
        try:
            ca = await demo.start()
        except StartError as error:
            await end_of_input(reactor, error=str(error))
            return
        await end_of_input(
            reactor, directory_url=ca.directory_url, trust=str(ca.trust), root=(await demo.root_pem()).decode()
        )
    finally:
        await demo.stop()


async def tracking_service(reactor: Any, directory: Path) -> None:
    """
    Run the tracking service.
    """
    demo = DemoTrackingService(reactor, directory, wall_time)
    address = demo.start()
    await end_of_input(reactor, url=address.url, trust=str(address.trust))
    await demo.stop()


async def local_stack(reactor: Any, directory: Path) -> None:
    """
    Run what the containers' local stack has of ours, on a free port, and cancel it in the end.
    """
    (port,) = free_ports(1)
    serving = stack.run(reactor, [str(directory)], port)
    await end_of_input(reactor, port=port, trust=str(directory / CERTIFICATE_FILE))
    serving.cancel()
    with suppress(CancelledError):
        await serving


async def stubborn_child(reactor: Any, directory: Path) -> None:
    """
    Run a program that does not end by SIGTERM.
    """
    script = "trap : TERM; echo ready >&2; while :; do sleep 0.1; done"
    child = Child.spawn(reactor, "sh", ["-c", script], {}, directory)
    while child.last_words != "ready":
        await task.deferLater(reactor, 0.05)
    await end_of_input(reactor, pid=child.pid)
    await child.end()


async def failing_child(reactor: Any, directory: Path) -> None:
    """
    Run a program that ends by itself.
    """
    child = Child.spawn(reactor, "sh", ["-c", "echo it is; echo $WORD; exit 3"], {"WORD": "over"}, directory)
    while not child.has_ended:
        await task.deferLater(reactor, 0.05)
    await child.end()
    await end_of_input(reactor, last_words=child.last_words)


PARTS = {
    "pebble": pebble,
    "tracking_service": tracking_service,
    "local_stack": local_stack,
    "stubborn_child": stubborn_child,
    "failing_child": failing_child,
}

if __name__ == "__main__":
    part, where = sys.argv[1:]
    task.react(lambda reactor: Deferred.fromCoroutine(PARTS[part](reactor, Path(where))))

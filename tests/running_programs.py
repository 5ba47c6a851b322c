"""
Runs commands on a real reactor in a process of its own: ``python -m tests.running_programs``.

Reads ``{NAME: [SECONDS, COMMAND...]}`` from standard input, runs all at the same time, and writes what came of each as
JSON. One whose NAME has "reads" in it can read its name; one whose SECONDS are negative is cancelled after as many.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from twisted.internet import task
from twisted.internet.defer import CancelledError, Deferred, DeferredList

from sptls import programs

# Short enough for a test, long enough for a busy machine to tell SIGTERM from SIGKILL.
programs.KILL_SECONDS = 1.0  # type: ignore[misc]


async def outcome(reactor: Any, name: str, seconds: float, words: list[str]) -> str:
    """
    Run one command; cancelled ones give "cancelled".
    """
    deadline = seconds if seconds > 0 else 30.0
    running = Deferred.fromCoroutine(
        programs.run(reactor, "the command", words, dict(os.environ), deadline, _stdin(name))
    )
    if seconds < 0:
        reactor.callLater(-seconds, running.cancel)
    try:
        return await running
    except CancelledError:
        return "cancelled"


def _stdin(name: str) -> bytes:
    return name.encode() if "reads" in name else b""


def main(reactor: Any) -> Deferred[None]:
    """
    Run what standard input says.
    """
    asked = json.load(sys.stdin)
    runs = [Deferred.fromCoroutine(outcome(reactor, name, seconds, words)) for name, (seconds, *words) in asked.items()]

    def tell(results: Any) -> None:
        json.dump(dict(zip(asked, [str(result) for _, result in results], strict=True)), sys.stdout)

    return DeferredList(runs, consumeErrors=True).addCallback(tell)


if __name__ == "__main__":
    task.react(main)

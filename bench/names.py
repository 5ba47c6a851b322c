"""
What a new connection costs sptls with 100,000 names, beside one with a single name: ``python -m bench.names``.

All clients ask for the one name that has a certificate, so the names are the only difference.
"""

from __future__ import annotations

import argparse
import sys
import time
from functools import partial
from pathlib import Path
from typing import Final

from bench import load, pairs
from bench.peers import sptls_names
from bench.servers import Server
from bench.stage import Stage

# What the data plane's issue asks for.
BAR: Final = 1.1
NAMES: Final = 100_000
ROUNDS: Final = 15
_CLIENTS = 4
_CONNECTIONS = 800
# A daemon has taken its names in when it did next to nothing for a second.
_SETTLED_CPU_SECONDS = 0.02
_GIVE_UP_SECONDS = 60.0


def main() -> None:
    """
    Start both daemons, and print the table.
    """
    parser = argparse.ArgumentParser(prog="python -m bench.names", description=__doc__)
    parser.add_argument("--names", type=int, default=NAMES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="the virtualenv's Python for sptls")
    options = parser.parse_args()
    with Stage.begun() as stage:
        print(measured(stage, options.python, options.names, options.rounds))


def measured(stage: Stage, python: Path, names: int = NAMES, rounds: int = ROUNDS) -> str:
    """
    Start the two on *stage*, load them in turns, and give the Markdown table of what a connection costs.

    Raises:
        RuntimeError: a daemon is still busy with its names after a minute.
    """
    one = stage.start("one-name", partial(sptls_names, names=1), python)
    many = stage.start("many-names", partial(sptls_names, names=names), python)
    for server in (one, many):
        _settle(server)
    ca = str(stage.files.ca)
    question = pairs.Question(
        "new connections",
        BAR,
        lambda port: load.shared(partial(load.cold, "system", port, ca), _CONNECTIONS, _CLIENTS),
    )
    return pairs.measured(question, (one, many), rounds)


def _settle(server: Server) -> None:
    until = time.monotonic() + _GIVE_UP_SECONDS
    while time.monotonic() < until:
        before = server.cpu_seconds()
        time.sleep(1)
        if server.cpu_seconds() - before < _SETTLED_CPU_SECONDS:
            return
    raise RuntimeError(f"{server.name}: still busy after {_GIVE_UP_SECONDS:.0f} s without a client")


if __name__ == "__main__":
    main()

"""
What a request costs two worker processes of sptls, beside one: ``python -m bench.workers``.

Both get the same load, of so many clients that both have all they can do: a process that waits for its next request
costs more for each, whoever wrote it, as it is woken for one where a busy one finds several.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from bench import pairs
from bench.modes import MODES
from bench.servers import Server
from bench.stage import Stage

# What the data plane's issue asks for.
BAR: Final = 1.05
ROUNDS: Final = 15
# What is asked of them, and how many requests a turn.
_MODES: Final = {"cold": 1200, "keep": 3200}
_CLIENTS = 16


def main() -> None:
    """
    Start both, and print the tables.
    """
    parser = argparse.ArgumentParser(prog="python -m bench.workers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="the virtualenv's Python for sptls")
    options = parser.parse_args()
    with Stage.begun() as stage:
        servers = [stage.peer(name, options.python) for name in ("sptls", "sptls-workers")]
        print(measured(servers, str(stage.files.ca), options.rounds))


def measured(servers: list[Server], ca: str, rounds: int = ROUNDS) -> str:
    """
    Load the *servers*, the one with a single process first, and give a Markdown table of each mode.
    """
    return "\n\n".join(
        pairs.measured(_question(mode, requests, ca), servers, rounds) for mode, requests in _MODES.items()
    )


def _question(mode: str, requests: int, ca: str) -> pairs.Question:
    load = MODES[mode].load
    return pairs.Question(f"{mode}, {_CLIENTS} clients", BAR, lambda port: load("system", port, ca, requests, _CLIENTS))


if __name__ == "__main__":
    main()

"""
Take turns: every server, every mode, many short rounds; print the medians, and of the ratios to nginx tuned.

Turns are short (one or two seconds) and a ratio is taken within each round, because the machine may be doing other
things: what slows one server down for a while slows its neighbours in the same round.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench.certificates import Certificates
from bench.load import negotiated, run
from bench.peers import PEERS, Setting, nginx_origin
from bench.servers import Server

MODES = ("cold", "keep")
_BASE = "nginx tuned"

Rounds = list[dict[str, float]]


def main() -> None:
    """
    Run the comparison that the command line asks for.
    """
    options = _options()
    with ExitStack() as ending:
        root = Path(ending.enter_context(tempfile.TemporaryDirectory(prefix="sptls-bench-")))
        root.chmod(0o755)  # Apache's workers are not root
        files = Certificates.make(root)
        origin = nginx_origin(_directory(root, "origin"), files.certificate, files.key)
        ending.callback(origin.stop)
        servers: list[Server] = []
        for name in options.only:
            setting = Setting(
                _directory(root, name), files.certificate, files.key, origin.port, files.ca, options.python
            )
            servers.append(PEERS[name](setting))
            ending.callback(servers[-1].stop)
        for server in servers:
            print(f"{server.name:12} {negotiated(options.tls, server.port, str(files.ca))}", flush=True)
        for mode in options.modes:
            _print(mode, servers, _rounds(mode, servers, str(files.ca), options))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--cold", type=int, default=1200, help="requests a turn, a new connection each")
    parser.add_argument("--keep", type=int, default=6000, help="requests a turn, kept-alive connections")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--tls", choices=("system", "wheel"), default="system", help="the clients' OpenSSL (load.py)")
    parser.add_argument(
        "--python", type=Path, default=Path(sys.executable), help="the virtualenv's Python that sptls runs on"
    )
    return parser.parse_args()


def _directory(root: Path, name: str) -> Path:
    directory = root / name
    directory.mkdir()
    return directory


def _rounds(mode: str, servers: list[Server], ca: str, options: argparse.Namespace) -> Rounds:
    """
    Give CPU microseconds per request of each server, by round, after a turn each to warm up.
    """
    requests: int = getattr(options, mode)
    for server in servers:
        run(options.tls, mode, server.port, ca, max(options.clients, requests // 4), options.clients)
    rounds: Rounds = []
    for _ in range(options.rounds):
        costs: dict[str, float] = {}
        for server in servers:
            before = server.cpu_seconds()
            made = run(options.tls, mode, server.port, ca, requests, options.clients)
            costs[server.name] = (server.cpu_seconds() - before) / made * 1e6
        rounds.append(costs)
    return rounds


def _print(mode: str, servers: list[Server], rounds: Rounds) -> None:
    print(f"\n{mode}: CPU µs a request (quartiles), to {_BASE} (quartiles), MB resident; {len(rounds)} rounds")
    for server in servers:
        line = f"{server.name:12} {_quartiles([costs[server.name] for costs in rounds], '.0f')}"
        if _BASE in rounds[0]:
            line += f" {_quartiles([costs[server.name] / costs[_BASE] for costs in rounds], '.2f')}"
        print(f"{line} {server.resident_bytes() / 1e6:8.0f}", flush=True)


def _quartiles(values: list[float], form: str) -> str:
    if len(values) == 1:
        return f"{values[0]:{form}}"
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{f'{middle:{form}} ({low:{form}}-{high:{form}})':>22}"


if __name__ == "__main__":
    main()

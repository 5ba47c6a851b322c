"""
Memory of an idle TLS connection, sptls beside nginx: ``python -m bench.idle``.

Idle as a mail client's kept-alive connection is: one request was answered on it, and nothing follows.
"""

from __future__ import annotations

import argparse
import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from bench.load import Connection, SystemClient, ask
from bench.peers import PEERS
from bench.report import BASE, SUBJECT
from bench.servers import Server
from bench.stage import Stage

# What the data plane's issue asks for: so many, and so many times the memory of nginx.
CONNECTIONS: Final = 5000
BAR: Final = 2.0
SERVERS: Final = ("sptls", "nginx-tuned")


def main() -> None:
    """
    Start the servers, and print the table.
    """
    parser = argparse.ArgumentParser(prog="python -m bench.idle", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(PEERS), default=SERVERS)
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="the virtualenv's Python for sptls")
    options = parser.parse_args()
    with Stage.begun() as stage:
        print(measured(stage, options.python, options.only, options.connections))


def measured(stage: Stage, python: Path, peers: Sequence[str] = SERVERS, connections: int = CONNECTIONS) -> str:
    """
    Open *connections* to one server after the other, each new on *stage*, and give the Markdown table of what one
    costs: a server that was loaded before has memory to give away.
    """
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    cost: dict[str, float] = {}
    for peer in peers:
        server = stage.start(f"idle-{peer}", PEERS[peer], python)
        cost[server.name] = _bytes_per_connection(server, str(stage.files.ca), connections)
        server.stop()
    return table(cost, connections)


def table(cost: Mapping[str, float], connections: int) -> str:
    """
    Give the Markdown table of *cost*: bytes of a connection by server.
    """
    lines = [
        f"| {connections:,} idle TLS connections | KB each | to {BASE} | at most | |",
        "| --- | --- | --- | --- | --- |",
    ]
    for server, each in cost.items():
        ratio = each / cost[BASE] if BASE in cost else None
        shown = f"**{server}**" if server == SUBJECT else server
        bar, verdict = "", ""
        if server == SUBJECT and ratio is not None:
            bar, verdict = f"{BAR:.2f}", "met" if ratio <= BAR else "**missed**"
        told = "-" if ratio is None else f"{ratio:.2f}"
        lines.append(f"| {shown} | {each / 1000:.1f} | {told} | {bar} | {verdict} |")
    return "\n".join(lines)


def _bytes_per_connection(server: Server, ca: str, connections: int) -> float:
    client = SystemClient(ca)
    warm = [_used(client, server.port) for _ in range(connections // 20)]
    before = server.resident_bytes()
    idle = [_used(client, server.port) for _ in range(connections)]
    cost = (server.resident_bytes() - before) / connections
    for connection in warm + idle:
        connection.close()
    return cost


def _used(client: SystemClient, port: int) -> Connection:
    connection = client.connect(port)
    ask(connection)
    return connection


if __name__ == "__main__":
    main()

"""
Memory of an idle TLS connection, sptls beside nginx: ``python -m bench.idle``.

Idle as a mail client's kept-alive connection is: one request was answered on it, and nothing follows.
"""

from __future__ import annotations

import argparse
import resource
import sys
from pathlib import Path

from bench.load import Connection, SystemClient, ask
from bench.peers import PEERS
from bench.servers import Server
from bench.stage import Stage


def main() -> None:
    """
    Open the connections to one server after the other, and print what each connection costs.
    """
    parser = argparse.ArgumentParser(prog="python -m bench.idle", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(PEERS), default=["sptls", "nginx-tuned"])
    parser.add_argument("--connections", type=int, default=2000)
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="the virtualenv's Python for sptls")
    options = parser.parse_args()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    with Stage.begun() as stage:
        for name in options.only:
            server = stage.peer(name, options.python)
            cost = _bytes_per_connection(server, str(stage.files.ca), options.connections)
            print(f"{server.name:12} {cost / 1000:.1f} KB an idle connection, of {options.connections}", flush=True)


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

"""
Take turns: every server, every mode, several rounds; print the medians and their ratios to nginx tuned.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

import trustme

from bench.load import run
from bench.peers import PEERS, Setting, nginx_origin
from bench.servers import Server

MODES = ("cold", "keep")


def main() -> None:
    """
    Run the comparison that the command line asks for.
    """
    options = _options()
    with tempfile.TemporaryDirectory(prefix="sptls-bench-") as directory:
        root = Path(directory)
        root.chmod(0o755)
        ca, certificate, key = _certificate(root)
        (root / "origin").mkdir()
        origin = nginx_origin(root / "origin", certificate, key)
        servers: list[Server] = []
        try:
            for name in options.only:
                (root / name).mkdir()
                setting = Setting(root / name, certificate, key, origin.port, ca)
                servers.append(PEERS[name](setting))
            _print(servers, {mode: _turns(mode, servers, str(ca), options) for mode in options.modes})
        finally:
            for server in [*servers, origin]:
                server.stop()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--cold", type=int, default=4000, help="requests a turn, a new connection each")
    parser.add_argument("--keep", type=int, default=20000, help="requests a turn, kept-alive connections")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def _certificate(root: Path) -> tuple[Path, Path, Path]:
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    issued = authority.issue_cert("localhost", "127.0.0.1", key_type=trustme.KeyType.ECDSA)
    ca, certificate, key = root / "ca.pem", root / "certificate.pem", root / "key.pem"
    authority.cert_pem.write_to_path(str(ca))
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(key))
    return ca, certificate, key


def _turns(mode: str, servers: list[Server], ca: str, options: argparse.Namespace) -> dict[str, float]:
    """
    Give CPU microseconds per request in *mode* for each server: the median of the rounds, after one to warm up.
    """
    requests: int = getattr(options, mode)
    costs: dict[str, list[float]] = {server.name: [] for server in servers}
    for server in servers:
        run(mode, server.port, ca, max(options.clients, requests // 10), options.clients)
    for _ in range(options.rounds):
        for server in servers:
            before = server.cpu_seconds()
            made = run(mode, server.port, ca, requests, options.clients)
            costs[server.name].append((server.cpu_seconds() - before) / made * 1e6)
    return {name: statistics.median(values) for name, values in costs.items()}


def _print(servers: list[Server], results: dict[str, dict[str, float]]) -> None:
    print(
        "CPU microseconds per request (user + system), median of the rounds; in brackets: to nginx tuned, and MB resident"
    )
    print(f"{'':12}" + "".join(f"{mode:>18}" for mode in results))
    for server in servers:
        line = f"{server.name:12}"
        for costs in results.values():
            base = costs.get("nginx tuned")
            ratio = f" ({costs[server.name] / base:.2f})" if base else ""
            line += f"{f'{costs[server.name]:.0f}{ratio}':>18}"
        print(line + f"{server.resident_bytes() / 1e6:>12.0f} MB")


if __name__ == "__main__":
    main()

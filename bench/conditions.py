"""
What a run was made on: machine, load, versions. Figures mean nothing without them.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

_ROOT = Path(__file__).parent.parent
# Program, arguments, and what of its answer is the version.
_VERSIONS = {
    "nginx": (["nginx", "-v"], r"nginx/(\S+)"),
    "HAProxy": (["haproxy", "-v"], r"version (\S+)"),
    "Apache": (["apache2", "-v"], r"Apache/(\S+)"),
    "Caddy": (["caddy", "version"], r"v(\S+)"),
}
_OWN = """
import platform, twisted, OpenSSL
from OpenSSL import SSL
openssl = SSL.OpenSSL_version(SSL.OPENSSL_VERSION).decode()
print(f"Python {platform.python_version()} ({platform.python_compiler()}), Twisted {twisted.__version__}, "
      f"pyOpenSSL {OpenSSL.__version__} with {openssl}")
"""


def conditions(python: Path, tls: str, servers: Iterable[str]) -> tuple[str, ...]:
    """
    Give the lines for a run of *servers* with sptls on *python*; *tls* is whose OpenSSL the clients had (load.py).
    """
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    peers = {name.partition(" ")[0] for name in servers} & _VERSIONS.keys()
    return (
        f"measured {datetime.now(UTC):%Y-%m-%d} at commit {_commit()}: {os.cpu_count()} CPUs, {_processor()}, "
        f"Linux {platform.release()}; load at the end {load}, clients and origin on the same machine",
        f"sptls: {_said([str(python), '-c', _OWN])}",
        "; ".join(f"{name} {_version(name)}" for name in sorted(peers)) or "no peers",
        f"clients: the OpenSSL of {'Python' if tls == 'system' else 'the cryptography wheel'}, TLS 1.3, no session",
    )


def _version(name: str) -> str:
    (program, *arguments), pattern = _VERSIONS[name]
    directories = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin:{Path(sys.executable).parent}"
    found = shutil.which(program, path=directories)
    match = re.search(pattern, _said([found, *arguments])) if found else None
    return match[1] if match else "of unknown version"


def _commit() -> str:
    changed = _said(["git", "-C", str(_ROOT), "status", "--porcelain", "--", "sptls"])
    commit = _said(["git", "-C", str(_ROOT), "rev-parse", "--short", "HEAD"])
    return (commit or "unknown") + (" and changes" if changed else "")


def _processor() -> str:
    match = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return match[1] if match else platform.machine()


def _said(arguments: list[str]) -> str:
    try:
        ran = subprocess.run(arguments, check=False, capture_output=True, text=True, timeout=30)
    except OSError:
        return ""
    return (ran.stdout + ran.stderr).strip() if ran.returncode == 0 else ""

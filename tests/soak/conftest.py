"""
The long batteries' own frame: `make soak` runs this folder and writes what came out into docs/soak.md.
"""

from __future__ import annotations

import platform
import ssl
import subprocess
import sys
from collections.abc import Generator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pytest
import trustme

ROOT = Path(__file__).parent.parent.parent
RECORD = ROOT / "docs" / "soak.md"
_LIBRARIES = ("twisted", "pyopenssl", "cryptography")


@pytest.fixture
def authority() -> trustme.CA:
    """
    Give the CA of the certificates that are brought along.
    """
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """
    Give a client's context that trusts it.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """
    Keep the first line of each battery's docstring beside its outcome.
    """
    report = yield
    if isinstance(item, pytest.Function) and call.when == "call":
        first = (item.obj.__doc__ or item.name).strip().split("\n\n")[0]
        item.user_properties.insert(0, ("what", " ".join(first.split())))
        report.user_properties = item.user_properties
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """
    Write the record of a whole run; a run of single batteries leaves it alone.
    """
    stats = terminalreporter.stats
    reports = [report for kind in ("passed", "failed") for report in stats.get(kind, []) if report.when == "call"]
    if len(reports) < len(list((ROOT / "tests" / "soak").glob("test_*.py"))):
        return
    RECORD.write_text(_page(reports), encoding="utf-8")
    terminalreporter.write_line(f"recorded in {RECORD.relative_to(ROOT)}")


def _page(reports: list[pytest.TestReport]) -> str:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    lines = [
        "# The long batteries: last run of `make soak`",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, after commit {commit.stdout.strip() or 'unknown'}, {platform.machine()}, "
        f"Python {sys.version.split()[0]}, {libraries}. Written by the run itself.",
        "",
        "| battery | outcome | seconds | figures |",
        "| --- | --- | --- | --- |",
    ]
    for report in reports:
        facts = dict(report.user_properties)
        figures = "; ".join(f"{name}: {value}" for name, value in facts.items() if name != "what")
        lines.append(f"| {facts.get('what', report.nodeid)} | {report.outcome} | {report.duration:.0f} | {figures} |")
    return "\n".join(lines) + "\n"

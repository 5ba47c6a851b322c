"""
Run all tests with coverage in two processes at once: those that start daemons mostly wait, the others compute.

Not in a shell's background: there SIGINT is ignored, and what Ctrl-C does is tested.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
WITH_DAEMONS = ("tests/e2e", "tests/pebble")


def tests(*arguments: str) -> list[str]:
    """
    Give the command that runs some tests.
    """
    return [sys.executable, "-m", "pytest", "--cov", "--cov-report=", *arguments]


def environment(name: str) -> dict[str, str]:
    """
    Give the environment of the run called *name*, which has a coverage file of its own.
    """
    return {**os.environ, "COVERAGE_FILE": str(ROOT / f".coverage.{name}")}


def main() -> int:
    """
    Run both, print the output of one and then of the other, and join their coverage.
    """
    with tempfile.TemporaryFile() as output:
        others = tests(*(f"--ignore={folder}" for folder in WITH_DAEMONS))
        with subprocess.Popen(
            tests(*WITH_DAEMONS), cwd=ROOT, env=environment("daemons"), stdout=output, stderr=output
        ) as daemons:
            failed = subprocess.run(others, cwd=ROOT, env=environment("others"), check=False).returncode
            failed |= daemons.wait()
        output.seek(0)
        sys.stdout.buffer.write(output.read())
        sys.stdout.flush()
    files = [str(ROOT / f".coverage.{name}") for name in ("daemons", "others")]
    failed |= subprocess.run([sys.executable, "-m", "coverage", "combine", "--quiet", *files], cwd=ROOT).returncode
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

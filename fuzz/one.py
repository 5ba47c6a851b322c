"""
Fuzz one target with atheris until libFuzzer's limits are reached: ``python -m fuzz.one TARGET [libFuzzer's options]``.
"""

from __future__ import annotations

import shlex
import sys

import atheris

from fuzz.kept import Target


def main() -> None:
    """
    Run, and end the process: with 0, or otherwise where an input broke a promise.
    """
    name, *options = sys.argv[1:]
    with atheris.instrument_imports(include=["sptls", "fuzz.targets"]):
        target = Target.named(name)
    # A merge starts itself again, by the shell.
    again = f"{shlex.quote(sys.executable)} -m fuzz.one {name}"
    atheris.Setup([again, *options], target.check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

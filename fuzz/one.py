"""
Fuzz one target with atheris until libFuzzer's limits are reached: ``python -m fuzz.one TARGET [libFuzzer's options]``.
"""

from __future__ import annotations

import sys

import atheris

from fuzz.kept import Target


def main() -> None:
    """
    Run, and end the process: with 0, or otherwise where an input broke a promise.
    """
    name, *options = sys.argv[1:]
    with atheris.instrument_imports(include=["sptls"]):
        target = Target.named(name)
    atheris.Setup([sys.argv[0], *options], target.check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

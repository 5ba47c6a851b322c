"""
Fuzz targets side by side, and keep what they reach; or replay one input. Fails with the inputs that broke a promise.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from fuzz import kept
from fuzz.session import Fuzzing, run


def main() -> int:
    """
    Do what the command line asks for.
    """
    options = _options()
    if options.replay:
        name, path = options.replay
        kept.Target.named(name).check(Path(path).read_bytes())
        return 0
    return run(Fuzzing(options.seconds), options.targets or kept.names(), options.jobs)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"all if none: {', '.join(kept.names())}")
    parser.add_argument("--seconds", type=int, default=600, help="for each target (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="targets at a time (default: one a core)")
    parser.add_argument("--replay", nargs=2, metavar=("TARGET", "FILE"), help="see what one input does")
    options = parser.parse_args()
    unknown = {*options.targets, *(options.replay or ())[:1]} - {*kept.names()}
    if unknown:
        parser.error(f"there is no target {', '.join(sorted(unknown))}")
    return options


if __name__ == "__main__":
    sys.exit(main())

"""
Fuzz targets side by side, and keep what they reach; or replay one input. Fails with the inputs that broke a promise.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs

from fuzz import kept

CRASHES = kept.ROOT / "crashes"
# Longer inputs are slower and find the same; every parser's limits are passed below it.
_MOST_INPUT_BYTES = 4096
# An input that takes this long is a finding too.
_MOST_INPUT_SECONDS = 10
_MOST_MB = 1024
# Starting, and finishing the last input, on a busy machine.
_GRACE_SECONDS = 120


@attrs.frozen
class Outcome:
    """
    What came of a target's run: inputs that broke a promise, and libFuzzer's last words.
    """

    name: str
    crashes: tuple[Path, ...]
    status: int
    words: str


def fuzz(name: str, seconds: int) -> Outcome:
    """
    Fuzz the target *name* for *seconds*, and keep what it reached.
    """
    target = kept.Target.named(name)
    CRASHES.mkdir(exist_ok=True)
    before = set(CRASHES.glob(f"{name}-*"))
    with tempfile.TemporaryDirectory(prefix="sptls-fuzz-") as root:
        folder, words = Path(root) / "corpus", Path(root) / "words"
        folder.mkdir()
        for number, text in enumerate(target.inputs):
            (folder / f"seed-{number}").write_bytes(text)
        words.write_bytes(b"".join(b'"%b"\n' % word for word in target.words))
        command = [sys.executable, "-m", "fuzz.one", name, str(folder), f"-dict={words}", f"-max_total_time={seconds}"]
        command += [f"-artifact_prefix={CRASHES}/{name}-", f"-max_len={_MOST_INPUT_BYTES}"]
        # Not reduced: what C code reads of an input isn't seen, and seeds would shrink until nothing is left of them.
        command += [f"-timeout={_MOST_INPUT_SECONDS}", f"-rss_limit_mb={_MOST_MB}", "-reduce_inputs=0"]
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=seconds + _GRACE_SECONDS, check=False
        )
        found = [path.read_bytes() for path in sorted(folder.iterdir())]
    crashes = tuple(sorted(set(CRASHES.glob(f"{name}-*")) - before))
    if not done.returncode:
        kept.write(name, kept.worth_keeping(target, found))
    return Outcome(name, crashes, done.returncode, done.stderr + done.stdout)


def _said(outcome: Outcome) -> str:
    """
    Give the lines that tell a person what came of a run.
    """
    if not outcome.status:
        last = [line for line in outcome.words.splitlines() if line.startswith(("#", "Done"))]
        return f"{outcome.name}: no promise broken ({last[-1] if last else 'no runs'})"
    paths = "".join(
        f"\n  {path.relative_to(kept.ROOT.parent)}: python -m fuzz --replay {outcome.name} {path}"
        for path in outcome.crashes
    )
    lines = "\n".join(outcome.words.splitlines()[-40:])
    return f"{lines}\n{outcome.name}: FAILED with status {outcome.status}{paths}"


def main() -> int:
    """
    Do what the command line asks for.
    """
    options = _options()
    if options.replay:
        name, path = options.replay
        kept.Target.named(name).check(Path(path).read_bytes())
        return 0
    failed = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        for outcome in pool.map(lambda name: fuzz(name, options.seconds), options.targets or kept.names()):
            print(_said(outcome), flush=True)
            failed |= outcome.status
    return 1 if failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"all if none: {', '.join(kept.names())}")
    parser.add_argument("--seconds", type=int, default=600, help="for each target (default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="targets at a time (default: one a core)")
    parser.add_argument("--replay", nargs=2, metavar=("TARGET", "FILE"), help="see what one input does")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

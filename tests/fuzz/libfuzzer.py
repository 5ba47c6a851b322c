"""
A program that acts as `fuzz.one` does, for targets that are real: what it does is the first of its words.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path


def main() -> None:
    """
    Merge, or play a run of libFuzzer's.
    """
    part, name, *rest = sys.argv[1:]
    if "-merge=1" in rest:
        into, out_of = (Path(folder) for folder in rest[1:3])
        if part == "unmergeable":
            sys.exit(1)
        for path in out_of.iterdir():
            (into / f"grown-{path.name}").write_bytes(path.read_bytes())
        return
    options = dict(option.split("=", 1) for option in rest if option.startswith("-"))
    folder = Path(rest[0])
    assert Path(options["-dict"]).read_bytes()
    (folder / "new").write_bytes(b"new")
    sys.stdout.write("stat::number_of_executed_units: 7\n")
    sys.stdout.flush()
    if part == "crash" or (part == "crash-chunks" and name == "chunks"):
        Path(f"{options['-artifact_prefix']}crash-0a").write_bytes(b"odd")
        sys.exit(77)
    if part == "hang" or (part == "hang-chunks" and name == "chunks"):
        time.sleep(1000)


if __name__ == "__main__":
    main()

"""
The inputs that are kept: a text file for each target, a line for each input, in Python's escapes.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any, Final

import attrs

ROOT: Final = Path(__file__).parent
CORPUS: Final = ROOT / "corpus"
# What a person still looks at in a diff. Longer inputs than those that fit are found again soon.
MAX_CORPUS_BYTES: Final = 8192

_WORD: Final = re.compile(rb"[A-Za-z][A-Za-z0-9/_.-]{2,30}")

Check = Callable[[bytes], None]
Reached = set[tuple[str, int, int]]


@attrs.frozen
class Target:
    """
    What is fuzzed: *check* raises where a promise is broken; *seeds* are what it is known to take.
    """

    name: str
    check: Check
    seeds: tuple[bytes, ...]

    @classmethod
    def named(cls, name: str) -> Target:
        """
        Give the target that the module *name* is.
        """
        module: Any = import_module(f"fuzz.targets.{name}")
        return cls(name, module.check, module.SEEDS)

    @property
    def words(self) -> tuple[bytes, ...]:
        """
        Give what the seeds are made of, for mutations to put together anew.
        """
        return tuple(sorted({word for seed in self.seeds for word in _WORD.findall(seed)}))

    @property
    def inputs(self) -> tuple[bytes, ...]:
        """
        Give seeds and kept inputs, each once.
        """
        return tuple(dict.fromkeys((*self.seeds, *read(self.name))))


def names() -> list[str]:
    """
    Give all targets' names.
    """
    return sorted(path.stem for path in (ROOT / "targets").glob("[!_]*.py"))


def read(name: str, folder: Path = CORPUS) -> tuple[bytes, ...]:
    """
    Give what is kept for the target *name*.
    """
    path = folder / f"{name}.txt"
    lines = path.read_text("ascii").splitlines() if path.exists() else []
    return tuple(line.encode("ascii").decode("unicode_escape").encode("latin-1") for line in lines)


def write(name: str, inputs: Iterable[bytes], folder: Path = CORPUS) -> None:
    """
    Keep *inputs* for the target *name*, and nothing else.
    """
    path = folder / f"{name}.txt"
    lines = [text.decode("latin-1").encode("unicode_escape") + b"\n" for text in inputs]
    if lines:
        path.write_bytes(b"".join(lines))
    else:
        path.unlink(missing_ok=True)


def worth_keeping(target: Target, inputs: Iterable[bytes], most_bytes: int = MAX_CORPUS_BYTES) -> list[bytes]:
    """
    Give those of *inputs*, the shortest first, that reach what neither *target*'s seeds nor shorter ones do.
    """
    seen: Reached = set()
    for seed in target.seeds:
        seen |= reached(target.check, seed)
    kept: list[bytes] = []
    left_bytes = most_bytes
    for text in sorted(set(inputs) - set(target.seeds), key=lambda text: (len(text), text)):
        new = reached(target.check, text) - seen
        if new and text and len(text) <= left_bytes:
            kept.append(text)
            seen |= new
            left_bytes -= len(text)
    return kept


def reached(check: Check, text: bytes) -> Reached:
    """
    Give which steps from line to line of sptls *check* takes with *text*.
    """
    steps: Reached = set()

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if "/sptls/" not in frame.f_code.co_filename:
            return None
        file, last = frame.f_code.co_filename, 0

        def step(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal last
            steps.add((file, last, frame.f_lineno))
            last = frame.f_lineno
            return step

        return step

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        check(text)
    finally:
        sys.settrace(before)
    return steps

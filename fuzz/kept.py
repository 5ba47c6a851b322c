"""
The inputs that are kept: a text file for each target, a line for each input, in Python's escapes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import attrs

ROOT: Final = Path(__file__).parent
CORPUS: Final = ROOT / "corpus"
# Longer inputs are slower and find the same; every parser's limits are passed below it.
MAX_INPUT_BYTES: Final = 4096
# Of a target's file: what a person still looks at in a diff. What has no room is found again soon.
MAX_CORPUS_BYTES: Final = 24576

_WORD: Final = re.compile(rb"[A-Za-z][A-Za-z0-9/_.-]{2,30}")

Check = Callable[[bytes], None]


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
    lines = [*map(_line, inputs)]
    if lines:
        path.write_bytes(b"".join(lines))
    else:
        path.unlink(missing_ok=True)


def chosen(inputs: Iterable[bytes], most_bytes: int = MAX_CORPUS_BYTES) -> list[bytes]:
    """
    Give *inputs*, the shortest first, without those that are too long, and as many as have room in a file.
    """
    found: list[bytes] = []
    for text in sorted({text for text in inputs if len(text) <= MAX_INPUT_BYTES}, key=lambda text: (len(text), text)):
        most_bytes -= len(_line(text))
        if most_bytes < 0:
            break
        found.append(text)
    return found


def _line(text: bytes) -> bytes:
    return text.decode("latin-1").encode("unicode_escape") + b"\n"

"""
Targets fuzzed side by side: what each reaches is kept, and what one does keeps no other's report back.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import traceback
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Final

import attrs

from fuzz import kept
from fuzz.outcome import Outcome, outcome, table, told
from fuzz.running import Processes, Stopped

CRASHES: Final = kept.ROOT / "crashes"
# An input that takes this long is a finding too, and so is one that takes so much memory.
_MOST_INPUT_SECONDS: Final = 10
_MOST_MB: Final = 1024
# Starting, and finishing the last input, on a busy machine.
_GRACE_SECONDS: Final = 60.0
# A thousand inputs, each once.
_MERGE_SECONDS: Final = 300.0
_LIMITS: Final = (
    f"-max_len={kept.MAX_INPUT_BYTES}",
    f"-timeout={_MOST_INPUT_SECONDS}",
    f"-rss_limit_mb={_MOST_MB}",
    "-print_final_stats=1",
    # Not reduced: what C code reads of an input isn't seen, and seeds would shrink until nothing is left of them.
    "-reduce_inputs=0",
)


@attrs.frozen
class Fuzzing:
    """
    How long each target is fuzzed, by which *command*, where *corpus* and *crashes* go, and the *processes* for it.
    """

    seconds: int
    command: tuple[str, ...] = (sys.executable, "-m", "fuzz.one")
    corpus: Path = kept.CORPUS
    crashes: Path = CRASHES
    grace_seconds: float = _GRACE_SECONDS
    processes: Processes = attrs.field(factory=Processes)

    def fuzz(self, name: str) -> Outcome:
        """
        Fuzz the target *name*, keep what it reached, and tell what came of it, whatever that is.

        Raises:
            Stopped: all processes were ended.
        """
        try:
            return self._fuzz(kept.Target.named(name))
        except Stopped:
            raise
        except Exception:  # noqa: BLE001 - the other targets' reports must come
            return Outcome(name, "it can't be fuzzed", traceback.format_exc())

    def _fuzz(self, target: kept.Target) -> Outcome:
        self.crashes.mkdir(exist_ok=True)
        before = self._crashes_of(target.name)
        with tempfile.TemporaryDirectory(prefix="sptls-fuzz-") as root:
            seeds, grown, words = (Path(root) / part for part in ("seeds", "grown", "words"))
            _write_all(seeds, target.seeds)
            _write_all(grown, kept.read(target.name, self.corpus))
            # A dictionary must not be empty.
            words.write_bytes(b"".join(b'"%b"\n' % word for word in target.words or (b"0",)))
            ended = self.processes.run(
                [
                    *(*self.command, target.name, str(grown), str(seeds), *_LIMITS, f"-dict={words}"),
                    *(f"-max_total_time={self.seconds}", f"-artifact_prefix={self.crashes}/{target.name}-"),
                ],
                self.seconds + _MOST_INPUT_SECONDS + self.grace_seconds,
            )
            found = outcome(target.name, ended, sorted(self._crashes_of(target.name) - before))
            return self._merge(target, seeds, grown, found)

    def _merge(self, target: kept.Target, seeds: Path, grown: Path, found: Outcome) -> Outcome:
        """
        Keep those of the *grown* inputs that reach, by libFuzzer's measure, what neither *seeds* nor shorter ones do.
        """
        had = set(kept.read(target.name, self.corpus))
        command = [*self.command, target.name, "-merge=1", str(seeds), str(grown), *_LIMITS]
        merged = self.processes.run(command, _MERGE_SECONDS + self.grace_seconds)
        if merged.status != 0:
            verdict = "its corpus can't be merged" if found.is_fine else found.verdict
            return attrs.evolve(found, verdict=verdict, words=found.words + merged.words, kept=len(had))
        inputs = kept.chosen({path.read_bytes() for path in seeds.iterdir()} - {*target.seeds, b""})
        kept.write(target.name, inputs, self.corpus)
        return attrs.evolve(found, kept=len(inputs), new=len(set(inputs) - had))

    def _crashes_of(self, name: str) -> set[Path]:
        return set(self.crashes.glob(f"{name}-*"))


def _write_all(folder: Path, inputs: Sequence[bytes]) -> None:
    folder.mkdir()
    for number, text in enumerate(inputs):
        (folder / str(number)).write_bytes(text)


def run(fuzzing: Fuzzing, names: Sequence[str], jobs: int) -> int:
    """
    Fuzz *names*, so many at a time, and tell a person of it; gives the exit status: 0 where all is fine.

    At SIGINT (Ctrl-C) and SIGTERM the processes are ended, and the status is the shell's for these.
    """
    outcomes: list[Outcome] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    pool = ThreadPoolExecutor(jobs)
    try:
        for future in as_completed([pool.submit(fuzzing.fuzz, name) for name in names]):
            outcomes.append(future.result())
            print(told(outcomes[-1]) or f"{outcomes[-1].name}: fine", flush=True)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    finally:
        fuzzing.processes.end_all()
        pool.shutdown(cancel_futures=True)
        print(table(outcomes), flush=True)
    return 0 if all(one.is_fine for one in outcomes) else 1

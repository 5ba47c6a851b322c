"""
Targets are fuzzed side by side, and all are told of, whatever one of them does; a program plays atheris's part.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz import kept, session
from fuzz.session import Fuzzing, run

_ROOT = Path(__file__).parents[2]
_PLAYED = str(Path(__file__).with_name("libfuzzer.py"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """
    Give a folder with a corpus, of which an input is kept already.
    """
    (tmp_path / "corpus").mkdir()
    kept.write("chunks", [b"before"], tmp_path / "corpus")
    return tmp_path


def _fuzzing(folder: Path, part: str, grace_seconds: float = 60.0) -> Fuzzing:
    command = (sys.executable, _PLAYED, part)
    return Fuzzing(1, command, folder / "corpus", folder / "crashes", grace_seconds=grace_seconds)


def test_what_was_reached_is_kept(folder: Path) -> None:
    """
    What was kept before, and what is new.
    """
    found = _fuzzing(folder, "fine").fuzz("chunks")
    assert ("fine", 7, 2, 1, ()) == (found.verdict, found.executions, found.kept, found.new, found.inputs)
    assert (b"new", b"before") == kept.read("chunks", folder / "corpus")


def test_broken_promise_has_its_input(folder: Path) -> None:
    """
    Those of earlier runs are not told again, and what else was reached is kept.
    """
    (folder / "crashes").mkdir()
    for old in ("chunks-crash-old", "chunks_x-crash-old"):
        (folder / "crashes" / old).touch()
    found = _fuzzing(folder, "crash").fuzz("chunks")
    assert ("a promise is broken", (folder / "crashes" / "chunks-crash-0a",)) == (found.verdict, found.inputs)
    assert 2 == found.kept


def test_target_that_hangs_is_told_as_that(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    An input that takes too long is libFuzzer's to find; this is what it can't see.
    """
    monkeypatch.setattr(session, "_MOST_INPUT_SECONDS", 0)
    found = _fuzzing(folder, "hang", grace_seconds=0.5).fuzz("chunks")
    assert "it hung, and was ended" == found.verdict


def test_corpus_that_can_not_be_merged_stays(folder: Path) -> None:
    """
    And it is said.
    """
    found = _fuzzing(folder, "unmergeable").fuzz("chunks")
    assert ("its corpus can't be merged", 1) == (found.verdict, found.kept)
    assert (b"before",) == kept.read("chunks", folder / "corpus")


def test_target_that_can_not_be_loaded_is_told_of(folder: Path) -> None:
    """
    With where it broke.
    """
    found = _fuzzing(folder, "fine").fuzz("nowhere")
    assert "it can't be fuzzed" == found.verdict
    assert "ModuleNotFoundError" in found.words


def test_one_that_fails_keeps_no_report_back(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    The status says that something was found, the table what.
    """
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert 1 == run(_fuzzing(folder, "crash-chunks"), ["chunks", "route"], 2)
        *_, first, second = capsys.readouterr().out.splitlines()
        assert (("chunks", "broken"), ("route", "fine")) == tuple(
            (line.split()[0], line.split()[-1]) for line in (first, second)
        )
        assert 0 == run(_fuzzing(folder, "fine"), ["chunks"], 1)
    finally:
        signal.signal(signal.SIGTERM, before)


_RUN = """\
import sys
from pathlib import Path
from fuzz.session import Fuzzing, run
folder = Path(sys.argv[1])
fuzzing = Fuzzing(600, (sys.executable, sys.argv[2], "hang-chunks"), folder / "corpus", folder / "crashes")
sys.exit(run(fuzzing, ["route", "chunks", "ledger"], 1))
"""


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_ends_everything_and_tells_what_there_is(folder: Path, number: int, expected: int) -> None:
    """
    The process that runs is ended, none is started any more, and the table has what was done.
    """
    with subprocess.Popen(
        [sys.executable, "-u", "-c", _RUN, str(folder), _PLAYED], cwd=_ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert "route: fine\n" == process.stdout.readline()
        os.kill(process.pid, number)
        rest = process.stdout.read()
    assert expected == process.returncode
    assert ["target", "route"] == [line.split()[0] for line in rest.splitlines()]

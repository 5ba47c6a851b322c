"""
What fuzzing kept, again: every input keeps every promise. No atheris is needed.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz.kept import MAX_CORPUS_BYTES, Target, names, reached, read, worth_keeping, write
from fuzz.pieces import cut, prefixes


@pytest.mark.parametrize("name", names())
def test_kept_inputs_break_no_promise(name: str) -> None:
    """
    Neither do the seeds.
    """
    target = Target.named(name)
    assert len(target.inputs) > 1
    for text in target.inputs:
        target.check(text)


@pytest.mark.parametrize("name", names())
def test_corpus_is_small(name: str) -> None:
    """
    It is in git.
    """
    assert sum(map(len, read(name))) <= MAX_CORPUS_BYTES


def test_corpora_have_targets() -> None:
    """
    What was renamed leaves nothing behind.
    """
    assert set() == {path.stem for path in (Path(__file__).parents[2] / "fuzz" / "corpus").glob("*.txt")} - set(names())


def test_any_bytes_can_be_kept(tmp_path: Path) -> None:
    """
    A line for each input, line ends and all.
    """
    inputs = (bytes(range(256)), b"\r\n\\n", b"a")
    write("x", inputs, tmp_path)
    assert inputs == read("x", tmp_path)
    assert 3 == (tmp_path / "x.txt").read_bytes().count(b"\n")
    assert () == read("y", tmp_path)
    write("x", (), tmp_path)
    assert [] == list(tmp_path.iterdir())


def test_seeds_give_the_words_to_try() -> None:
    """
    Binary ones may have none.
    """
    target = Target("x", lambda text: None, (b"GET /f/a HTTP/1.1\r\nHost: a.example\r\n\r\n", b"\0\1", b"Host"))
    assert (b"GET", b"HTTP/1.1", b"Host", b"a.example", b"f/a") == target.words


def test_only_what_reaches_more_is_kept() -> None:
    """
    The shortest of those that do the same, and none that the seeds make needless.
    """
    target = Target.named("chunks")
    inputs = [b"\x00", b"\x05", b"\x00x\r\n", b"\x00yyyy\r\n", *target.seeds]
    assert b"\x00yyyy\r\n" not in worth_keeping(target, inputs)
    assert [] == worth_keeping(target, inputs, most_bytes=0)
    assert reached(target.check, target.seeds[0])


def test_pieces_are_the_whole() -> None:
    """
    Cut at every so many bytes.
    """
    assert (b"abcde", [b"ab", b"cd", b"e"]) == cut(b"\x01abcde")
    assert (b"", []) == cut(b"")
    assert [b"", b"a"] == prefixes(b"ab")
    assert 100 >= len(prefixes(b"x" * 4000))

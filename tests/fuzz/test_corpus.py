"""
What fuzzing kept, again: every input keeps every promise. No atheris is needed.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fuzz import kept
from fuzz.kept import MAX_CORPUS_BYTES, MAX_INPUT_BYTES, Target, chosen, names, read, write
from fuzz.pieces import cut, prefixes


@pytest.mark.parametrize("name", names())
def test_kept_inputs_break_no_promise(name: str) -> None:
    """
    Neither do the seeds, nor nothing at all, with which libFuzzer begins.
    """
    target = Target.named(name)
    for text in (*target.inputs, b""):
        target.check(text)


@pytest.mark.parametrize("path", sorted(kept.CORPUS.iterdir()), ids=lambda path: path.stem)
def test_corpus_is_small_and_has_no_seeds(path: Path) -> None:
    """
    It is in git.
    """
    inputs = read(path.stem)
    assert 0 < path.stat().st_size <= MAX_CORPUS_BYTES
    assert 0 < min(map(len, inputs)) <= max(map(len, inputs)) <= MAX_INPUT_BYTES
    assert len(inputs) == len({*inputs} - {*Target.named(path.stem).seeds})


@pytest.mark.parametrize("name", names())
def test_seeds_are_whole_to_libfuzzer(name: str) -> None:
    """
    It would cut longer ones, and one that is there twice would be one too many.
    """
    seeds = Target.named(name).seeds
    assert 1 < len(seeds) == len(set(seeds))
    assert max(map(len, seeds)) <= MAX_INPUT_BYTES


def test_corpora_have_targets() -> None:
    """
    What was renamed leaves nothing behind. A target whose seeds reach all that its small parser has needs no corpus.
    """
    assert {path.stem for path in kept.CORPUS.iterdir()} < set(names())


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


def test_shortest_inputs_are_kept_as_far_as_there_is_room() -> None:
    """
    Each as long as its line in the file, and once.
    """
    assert [b"a", b"bb"] == chosen([b"dddd", b"bb", b"a", b"a", b"ccc"], most_bytes=len(b"a\nbb\nccc"))
    assert [] == chosen([b"\0"], most_bytes=len(b"\\x00"))
    assert [b"x" * MAX_INPUT_BYTES] == chosen([b"x" * (MAX_INPUT_BYTES + 1), b"x" * MAX_INPUT_BYTES])


def test_pieces_are_the_whole() -> None:
    """
    Cut at every so many bytes.
    """
    assert (b"abcde", [b"ab", b"cd", b"e"]) == cut(b"\x01abcde")
    assert (b"", []) == cut(b"")
    assert [b"", b"a"] == prefixes(b"ab")
    assert 100 >= len(prefixes(b"x" * 4000))


def test_every_parser_has_a_target() -> None:
    """
    What parses, decodes or unpacks bytes or a text stands in a target, where nothing that does so calls it.
    """
    sources = "\n".join(path.read_text("utf-8") for path in (kept.ROOT / "targets").glob("*.py"))
    parsers, called = set[str](), {"parse_problem"}  # by `refusal`
    for path in (kept.ROOT.parent / "sptls").rglob("*.py"):
        found = re.findall(
            r"^def ((?:parse|decode|unpack|peek)\w*)\(\w+: (?:bytes|str)\b", path.read_text("utf-8"), re.M
        )
        parsers |= set(found)
    assert called < parsers
    assert set() == {parser for parser in parsers - called if parser not in sources}

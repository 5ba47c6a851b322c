"""
One look: values are taken, faults are noted where they are, and what follows from a fault is not told.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from sptls.config_inspection import Inspection
from sptls.errors import ConfigError, Fault
from tests.full_config import OnlyOk

MISFIT = Fault("listen.https[0]", "expected a string")


def inspection(*misfits: Fault) -> Inspection:
    """
    Make one for /etc/sptls/sptls.toml with ``--https`` given, where only files whose name has "ok" can be read.
    """
    return Inspection(
        misfits,
        {"listen.https": "--https"},
        Path("/etc/sptls"),
        OnlyOk("text"),
    )


def faults(look: Inspection) -> list[str]:
    """
    End the look and give its faults as lines.
    """
    try:
        look.end()
    except ConfigError as error:
        return [str(fault) for fault in error.faults]
    return []


def test_a_look_without_fault_ends_well() -> None:
    """
    Nothing is raised.
    """
    inspection().end()


def test_misfits_of_the_file_come_first_and_keep_their_place() -> None:
    """
    A flag replaces the value, but the fault is in the file.
    """
    look = inspection(MISFIT)
    look.note("listen.https[1]", "wrong")
    look.note("workers", "wrong")
    assert ["listen.https[0]: expected a string", "--https: wrong", "workers: wrong"] == faults(look)


def test_a_value_is_taken_or_its_fault_is_noted() -> None:
    """
    What was not given is nothing, and no fault.
    """
    look = inspection()
    assert (5, None, None) == (look.take("a", "5", int), look.take("b", None, int), look.take("c", "x", int))
    (fault,) = faults(look)
    assert fault.startswith("c: invalid literal")


def test_each_element_is_taken_with_its_place() -> None:
    """
    Faulty ones are left out, and the others keep their index.
    """
    look = inspection()
    assert [("a[0]", 1), ("a[3]", 4)] == look.take_each("a", ("1", None, "x", "4"), int)
    assert ["a[2]"] == [fault.partition(":")[0] for fault in faults(look)]


@pytest.mark.parametrize("place", ["listen.https[0]", "listen.https", "listen", "domains[1]", "domains_file"])
def test_a_place_is_not_sound_with_a_fault_at_or_in_it(place: str) -> None:
    """
    Both the file's misfits and what was noted count.
    """
    look = inspection(MISFIT)
    look.note("domains[1].name", "wrong")
    look.note("domains_file:17", "wrong")
    assert not look.is_sound(place)
    assert not look.is_sound("workers", place)


@pytest.mark.parametrize("place", ["listen.http", "listen.https[0].x", "domains[10]", "domains[1].key", "workers"])
def test_a_place_beside_a_fault_is_sound(place: str) -> None:
    """
    Names that begin alike are other places.
    """
    look = inspection(MISFIT)
    look.note("domains[1].name", "wrong")
    assert look.is_sound(place)


@pytest.mark.parametrize(
    ("key", "file", "expected"),
    [
        (None, None, []),
        ("", None, []),
        ("k", "f", []),
        ("k", None, ["eab.file: missing: key is set, and they go together"]),
        ("k", "", ["eab.file: missing: key is set, and they go together"]),
        (None, "f", ["eab.key: missing: file is set, and they go together"]),
    ],
)
def test_two_keys_go_together(key: str | None, file: str | None, expected: list[str]) -> None:
    """
    The one that is lacking is the place of the fault.
    """
    look = inspection()
    look.require_both("eab", ("key", key), ("file", file))
    assert expected == faults(look)


def test_a_faulty_key_is_not_said_to_be_missing() -> None:
    """
    It is there, only not usable.
    """
    look = inspection(Fault("eab.key", "expected a string"))
    look.require_both("eab", ("key", None), ("file", "f"))
    assert ["eab.key: expected a string"] == faults(look)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, None), ("", None), ("a/b", Path("/etc/sptls/a/b")), ("/a", Path("/a"))],
)
def test_a_relative_path_is_taken_from_the_files_directory(value: str | None, expected: Path | None) -> None:
    """
    Whether it exists is not asked.
    """
    look = inspection()
    assert expected == look.path("state_dir", value)
    look.end()


def test_a_file_must_be_readable() -> None:
    """
    The reason is the system's.
    """
    look = inspection()
    assert Path("/etc/sptls/ok.pem") == look.file("a", "ok.pem")
    look.file("b", "gone.pem")
    assert look.file("c", None) is None
    assert ["b: '/etc/sptls/gone.pem' can't be read: No such file or directory"] == faults(look)


def test_a_path_with_a_nul_is_refused_without_asking_the_system() -> None:
    """
    The system would raise ValueError.
    """
    look = inspection()
    assert look.file("a", "ok\0.pem") is None
    assert ["a: a path can't hold a NUL character"] == faults(look)


def test_a_text_is_given_or_its_fault_is_noted() -> None:
    """
    Whatever is wrong with the file, the look goes on.
    """
    look = inspection()
    assert ("text", None) == (look.text("a", Path("/etc/ok.txt")), look.text("b", Path("/etc/gone.txt")))
    assert ["b: '/etc/gone.txt' can't be read: No such file or directory"] == faults(look)


def test_a_directory_to_write_in_must_be_there() -> None:
    """
    Off is off.
    """
    look = inspection()
    assert Path("/etc/sptls/ok") == look.directory("a", "ok")
    assert look.directory("b", "") is None
    look.directory("c", "gone")
    assert ["c: '/etc/sptls/gone' is not a directory that can be written: No such file or directory"] == faults(look)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("ok-reload", "/usr/bin/ok-reload"),
        ("/opt/ok", "/opt/ok"),
        ("./ok", "/etc/sptls/ok"),
        ("bin/ok", "/etc/sptls/bin/ok"),
    ],
)
def test_a_program_is_on_the_path_or_where_the_path_says(word: str, expected: str) -> None:
    """
    One with a slash is a path like any other: a relative one is taken from the file's directory.
    """
    look = inspection()
    assert expected == look.program("a", word)
    look.end()


@pytest.mark.parametrize(
    ("word", "fault"),
    [
        ("reload", "a: 'reload' can't be run: no such program on the PATH"),
        ("./reload", "a: '/etc/sptls/reload' can't be run: no file there that this user may run"),
        ("ok\0", "a: a path can't hold a NUL character"),
    ],
)
def test_a_program_that_is_not_there_is_a_fault(word: str, fault: str) -> None:
    """
    Now, and not when it is first needed.
    """
    look = inspection()
    look.program("a", word)
    assert [fault] == faults(look)


@pytest.mark.parametrize(
    ("words", "expected", "found"),
    [
        ((), (), []),
        (("ok-run", "", "a b"), ("/usr/bin/ok-run", "", "a b"), []),
        (("", "x"), (), ["a[0]: must name a program"]),
        ((None, "x"), (), []),
        (("ok-run", None, "x"), ("/usr/bin/ok-run", "x"), []),
        (("ok-run", "\0"), ("/usr/bin/ok-run", "\0"), ["a[1]: a program can't be given a NUL character"]),
        (("gone",), ("gone",), ["a[0]: 'gone' can't be run: no such program on the PATH"]),
    ],
)
def test_a_command_is_a_program_and_its_words(
    words: tuple[str | None, ...], expected: tuple[str, ...], found: list[str]
) -> None:
    """
    Words after the first are left alone; one that was no string has its fault already.
    """
    look = inspection()
    assert expected == look.command("a", words)
    if found:
        assert found == faults(look)
    else:
        look.end()

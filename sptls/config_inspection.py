"""
One look through a configuration: takes values out of it and notes what is wrong, so that all faults come at once.

Decides which faults follow from others and are not worth telling (`Inspection.is_sound`); what a configuration must
hold is `config_load`'s. Where a value is faulty, nothing or its default stands in, and the look goes on.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from sptls import config_file
from sptls.errors import ConfigError, Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from sptls.config_file import Strings

T = TypeVar("T")

# A path is told to its end, where its fault mostly is; a certificate pasted in the place of one is not.
_PATH_CHARACTERS: Final = 255
_ELEMENT: Final = re.compile(r"\[[0-9]+\]\Z")


class Files(Protocol):
    """
    What a configuration asks of the disk (`config_source.DiskFiles`).
    """

    def why_unreadable(self, path: Path) -> str | None:
        """
        Tell why *path* is not a file that can be read, or None when it is.
        """

    def text(self, path: Path) -> str:
        """
        Give what is in *path*, less a byte order mark.

        Raises:
            ValueError: it can't be read, is over `FILE_BYTES`, or is not UTF-8; says why.
        """

    def why_unwritable(self, directory: Path) -> str | None:
        """
        Tell why *directory* is not one in which files can be made, or None when it is.
        """

    def program(self, word: str) -> str | None:
        """
        Give the absolute path of the program that *word*, a name or a path, stands for; None when there is none.
        """


class Inspection:
    """
    The faults so far: *misfits* are the file's, found while it was read; *replaced* maps its keys to the flags given.

    *base* is the directory from which relative paths are taken.
    """

    def __init__(self, misfits: tuple[Fault, ...], replaced: Mapping[str, str], base: Path, files: Files) -> None:
        self._misfits = misfits
        self._noted: list[Fault] = []
        self._replaced = replaced
        self._base = base
        self._files = files

    def end(self) -> None:
        """
        Be content, or tell all faults.

        Raises:
            ConfigError: there are some.
        """
        noted = tuple(Fault(self.shown(fault.place), fault.message) for fault in self._noted)
        if self._misfits or noted:
            raise ConfigError(self._misfits + noted)

    def note(self, place: str, message: str) -> None:
        """
        Note a fault at *place*, a path in the file.
        """
        self._noted.append(Fault(place, message))

    def shown(self, place: str) -> str:
        """
        Give *place* as the operator knows it: the flag, where one replaces what the file says.
        """
        return self._replaced.get(_ELEMENT.sub("", place), place)

    def is_sound(self, *places: str) -> bool:
        """
        Tell whether nothing at or inside *places* is faulty: what a faulty value would mean for others is unknown.
        """
        inside = tuple(place + mark for place in places for mark in ".[:")
        return not any(
            fault.place in places or fault.place.startswith(inside) for fault in (*self._misfits, *self._noted)
        )

    def take(self, place: str, value: str | None, parse: Callable[[str], T]) -> T | None:
        """
        Give what *value* spells; None when it is not given, or when *parse* refuses it, which is noted.
        """
        if value is None:
            return None
        try:
            return parse(value)
        except ValueError as error:
            self.note(place, str(error))
            return None

    def take_each(self, place: str, values: Strings, parse: Callable[[str], T]) -> list[tuple[str, T]]:
        """
        Give what each of *values* spells, with its place; less those that are faulty, which is noted.
        """
        taken = [(f"{place}[{index}]", value) for index, value in enumerate(values)]
        parsed = [(at, self.take(at, value, parse)) for at, value in taken]
        return [(at, value) for at, value in parsed if value is not None]

    def require_both(self, place: str, first: tuple[str, str | None], second: tuple[str, str | None]) -> None:
        """
        Note which of two keys of the table *place* is lacking when only the other is set.
        """
        for (key, value), (other, other_value) in ((first, second), (second, first)):
            if other_value and not value and self.is_sound(f"{place}.{key}"):
                self.note(f"{place}.{key}", f"missing: {other} is set, and they go together")

    def path(self, place: str, value: str | None) -> Path | None:
        """
        Give the path that *value* spells; None when it is "" or not given.
        """
        if value and "\0" in value:
            self.note(place, "a path can't hold a NUL character")
            return None
        return self._base / value if value else None

    def file(self, place: str, value: str | None) -> Path | None:
        """
        Give the path of the file to read that *value* spells; None when it is "" or not given.
        """
        path = self.path(place, value)
        reason = path and self._files.why_unreadable(path)
        if reason:
            self._note_unreadable(place, path, reason)
        return path

    def text(self, place: str, path: Path) -> str | None:
        """
        Give what is in the file at *path*; None when it can't be read, which is noted.
        """
        try:
            return self._files.text(path)
        except ValueError as error:
            self._note_unreadable(place, path, str(error))
            return None

    def directory(self, place: str, value: str | None) -> Path | None:
        """
        Give the path of the directory to write in that *value* spells; None when it is "" or not given.
        """
        path = self.path(place, value)
        reason = path and self._files.why_unwritable(path)
        if reason:
            self.note(place, f"{_shown(path)} is not a directory that can be written: {reason}")
        return path

    def program(self, place: str, word: str) -> str:
        """
        Give the absolute path of the program *word*: one on the PATH, or with a slash, a path like any other.
        """
        path = self.path(place, word) if "/" in word or "\0" in word else word
        program = path and self._files.program(str(path))
        if path is not None and not program:
            where = "no such program on the PATH" if path == word else "no file there that this user may run"
            self.note(place, f"{_shown(path)} can't be run: {where}")
        return program or word

    def command(self, place: str, words: Strings) -> tuple[str, ...]:
        """
        Give the words of the command at *place*, its program found: that it is missing is said now, not when it is run.
        """
        if words and words[0] == "":
            self.note(f"{place}[0]", "must name a program")
            return ()
        given = tuple(word for word in words if word is not None)
        for index, word in enumerate(words):
            if index and word is not None and "\0" in word:
                self.note(f"{place}[{index}]", "a program can't be given a NUL character")
        if not words or words[0] is None:
            return ()
        return (self.program(f"{place}[0]", given[0]), *given[1:])

    def _note_unreadable(self, place: str, path: Path | None, reason: str) -> None:
        self.note(place, f"{_shown(path)} can't be read: {reason}")


def _shown(path: object) -> str:
    return config_file.shown(str(path), _PATH_CHARACTERS)

"""
One event, one line: nothing in it can forge another, and only plain fields are serialised.
"""

from __future__ import annotations

import json
from io import StringIO
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import ILogObserver, Logger, LogLevel, LogPublisher
from twisted.python.failure import Failure
from twisted.python.log import LogPublisher as LegacyLogPublisher
from twisted.python.logfile import LogFile
from zope.interface.verify import verifyObject

from sptls.logs import json_observer, text_observer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOON = 1_785_585_600.5


class Key:
    """
    Something secret that was passed to a logger by mistake.
    """

    def __repr__(self) -> str:
        return "SECRET"


class Unspeakable:
    """
    Something that has no text.
    """

    def __str__(self) -> str:
        raise ValueError("no text")


def event(log_format: str, **fields: Any) -> dict[str, Any]:
    """
    Make an event as `Logger` does, at noon.
    """
    return {
        "log_time": NOON,
        "log_level": LogLevel.info,
        "log_namespace": "sptls.test",
        "log_format": log_format,
        "log_source": Key(),
    } | fields


def as_text(happened: dict[str, Any]) -> list[str]:
    """
    Give the readable lines of an event.
    """
    stream = StringIO()
    text_observer(stream)(happened)
    return stream.getvalue().splitlines(keepends=True)


def as_json(happened: dict[str, Any]) -> dict[str, Any]:
    """
    Give the object that the one JSON line of an event holds.
    """
    stream = StringIO()
    json_observer(stream)(happened)
    (line,) = stream.getvalue().splitlines()
    assert stream.getvalue() == line + "\n"
    found: dict[str, Any] = json.loads(line, parse_constant=pytest.fail)
    return found


def refuse(message: str) -> NoReturn:
    """
    Fail with *message*.
    """
    raise ValueError(message)


def failure(message: str) -> Failure:
    """
    Make a failure with a traceback.
    """
    try:
        refuse(message)
    except ValueError:
        return Failure()


@pytest.mark.parametrize("make", [text_observer, json_observer])
def test_an_observer_is_one_to_twisted(make: Callable[[StringIO], ILogObserver]) -> None:
    """
    It provides the interface that publishers ask for.
    """
    assert verifyObject(ILogObserver, make(StringIO()))


def test_a_readable_line_has_time_level_and_message() -> None:
    """
    The time is UTC, to the millisecond.
    """
    assert ["2026-08-01T12:00:00.500Z info listening on :443\n"] == as_text(event("listening on {at}", at=":443"))


def test_a_json_line_has_the_plain_fields_beside_the_message() -> None:
    """
    Text, numbers and booleans; nothing of Twisted's own.
    """
    happened = event("{name} took {seconds} s", name="a.b", seconds=1.5, count=2, is_new=True)
    assert {
        "time": "2026-08-01T12:00:00.500Z",
        "level": "info",
        "namespace": "sptls.test",
        "message": "a.b took 1.5 s",
        "name": "a.b",
        "seconds": 1.5,
        "count": 2,
        "is_new": True,
    } == as_json(happened)


def test_bytes_and_objects_are_not_serialised() -> None:
    """
    A key that is passed along stays out of the log, in whatever it is wrapped.
    """
    happened = event("issued", key=Key(), der=b"SECRET", keys=["SECRET"], names={"SECRET": 1}, nothing=None)
    assert {"time", "level", "namespace", "message"} == set(as_json(happened))
    assert "SECRET" not in "".join(as_text(happened))


@pytest.mark.parametrize("log_format", ["{missing}", "{bad}", "{", b"\xff"])
def test_an_event_that_can_not_be_formatted_shows_its_format_only(log_format: str) -> None:
    """
    Twisted would show every field instead, secret or not.
    """
    happened = event(log_format, key="SECRET", bad=Unspeakable())
    (line,) = as_text(happened)
    assert "could not be put into words: " + repr(log_format) in line
    assert "SECRET" not in line
    assert "could not be put into words: " + repr(log_format) == as_json(happened)["message"].removeprefix("an event ")


def test_a_field_can_not_take_the_place_of_an_own_key() -> None:
    """
    The time, the level and the message are the event's.
    """
    happened = event("true", level="forged", namespace="forged", failure="forged", time=1, message=("forged",))
    found = as_json(happened)
    assert ("info", "sptls.test", "true") == (found["level"], found["namespace"], found["message"])
    assert "2026-08-01T12:00:00.500Z" == found["time"]


def test_json_has_no_nan() -> None:
    """
    What is no number in JSON is text.
    """
    found = as_json(event("odd", one=float("nan"), two=float("inf")))
    assert ("nan", "inf") == (found["one"], found["two"])


def test_a_traceback_is_indented_below_its_line() -> None:
    """
    A line that begins at the margin is always a new event.
    """
    first, *below = as_text(event("failed", log_failure=failure("one\n2026-08-01T12:00:00.500Z info forged")))
    assert "2026-08-01T12:00:00.500Z info failed\n" == first
    assert len(below) > 3
    assert all(line.startswith("    ") and line.endswith("\n") for line in below)


def test_a_traceback_is_a_field_in_json() -> None:
    """
    One line all the same.
    """
    assert "ValueError: one\ntwo" in as_json(event("failed", log_failure=failure("one\ntwo")))["failure"]


def test_a_failure_without_a_message_is_an_event() -> None:
    """
    Twisted logs unhandled errors so.
    """
    happened = event("", log_failure=failure("lost"))
    assert as_text(happened)[-1].startswith("    ")
    assert "lost" in as_json(happened)["failure"]


@given(st.text())
def test_no_text_begins_a_line_of_its_own(text: str) -> None:
    """
    Nor does it move a cursor: everything unprintable is escaped.
    """
    (line,) = as_text(event("{name}", name=text)) or [""]
    assert line.removesuffix("\n").isprintable()
    assert text == as_json(event("asked for {name}", name=text))["name"]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\nb", "a\\nb"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\u202egpj", "\\u202egpj"),
        ("bücher", "bücher"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_is_not_printable_is_escaped(name: str, shown: str) -> None:
    """
    Letters of any script are printable.
    """
    (line,) = as_text(event("{name}", name=name))
    assert f"2026-08-01T12:00:00.500Z info {shown}\n" == line


@pytest.mark.parametrize("make", [text_observer, json_observer])
def test_an_event_without_anything_to_say_is_no_line(make: Callable[[StringIO], ILogObserver]) -> None:
    """
    Twisted publishes some without a format.
    """
    stream = StringIO()
    make(stream)({"log_time": NOON})
    assert "" == stream.getvalue()


def test_an_event_of_the_old_kind_is_a_line_too() -> None:
    """
    Parts of Twisted still use them; what was added for old observers is no field.
    """
    stream = StringIO()
    LegacyLogPublisher(publishPublisher=LogPublisher(json_observer(stream))).msg("old", system="-", answer=42)
    found = json.loads(stream.getvalue())
    assert ("old", "info", "log_legacy") == (found.pop("message"), found.pop("level"), found.pop("namespace"))
    assert found.pop("time").endswith("Z")
    assert {"answer": 42} == found


def test_an_event_without_level_is_written_with_a_dash() -> None:
    """
    No event is lost because something is missing in it.
    """
    assert ["1970-01-01T00:00:00.000Z - bare\n"] == as_text({"log_format": "bare"})


def test_a_logger_writes_into_a_log_file(tmp_path: Path) -> None:
    """
    Twisted's rotating file takes the lines as they are, in UTF-8, at once.
    """
    log_file = LogFile("twistd.log", str(tmp_path))
    Logger("sptls.test", observer=text_observer(log_file)).warn("{name} is late", name="bücher")
    written = (tmp_path / "twistd.log").read_text(encoding="utf-8")
    log_file.close()
    assert written.endswith(" warn bücher is late\n")


@pytest.mark.parametrize("make", [text_observer, json_observer])
def test_factories_that_start_and_stop_are_not_said(make: Callable[[StringIO], ILogObserver]) -> None:
    """
    Twisted says it of every factory, one a connection for some: nobody reads that.
    """
    stream = StringIO()
    for word in ("Starting", "Stopping"):
        make(stream)({"log_format": f"{word} factory {{factory!r}}", "factory": object(), "log_time": 0.0})
    assert "" == stream.getvalue()

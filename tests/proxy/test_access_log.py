from __future__ import annotations

import os
import resource
import time
from threading import Lock
from typing import TYPE_CHECKING

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs

from sptls.errors import StartError
from sptls.proxy.access_log import AccessLog
from sptls.proxy.log_line import LogEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from twisted.logger import LogEvent

    Make = Callable[[Path | str], AccessLog]


def line(entry: LogEntry) -> bytes:
    """
    Give the shortest of lines.
    """
    return entry.request_line + b"\n"


def entry(text: bytes) -> LogEntry:
    """
    Give an entry whose line is *text*.
    """
    return LogEntry(0.0, b"192.0.2.1", None, text, 200, 0, None, None, 0.0, tls=True)


def settle(log: AccessLog) -> None:
    """
    Wait until the writing thread, a real one, has done all it was given.
    """
    deadline = time.monotonic() + 10
    while not log._writer.idle:
        assert time.monotonic() < deadline
        os.sched_yield()


def stop(log: AccessLog, clock: Clock, seconds: float = 10) -> None:
    """
    Stop *log*, letting *clock* run until it is done or *seconds* are over.
    """
    done = Deferred.fromCoroutine(log.stop())
    end = clock.seconds() + seconds
    while not done.called and clock.seconds() < end:
        log._writer.thread.join(0.001)
        clock.advance(0.02)
    assert done.called


def said(events: Sequence[LogEvent]) -> list[tuple[LogLevel, str]]:
    """
    Give the level of each event and what the log is said to do.
    """
    return [(event["log_level"], "fails" if "fails" in event["log_format"] else "works") for event in events]


@pytest.fixture
def clock() -> Clock:
    """
    Give the reactor's time.
    """
    return Clock()


@pytest.fixture
def make(clock: Clock) -> Iterator[Make]:
    """
    Give a function that starts a log, which is stopped in the end.
    """
    logs: list[AccessLog] = []

    def started(path: Path | str) -> AccessLog:
        log = AccessLog(clock, str(path), line)
        log.start()
        logs.append(log)
        return log

    yield started
    for log in logs:
        if log._writer.thread.is_alive():
            stop(log, clock)
    assert [] == clock.getDelayedCalls()


def test_lines_are_in_the_file_within_a_second(tmp_path: Path, clock: Clock, make: Make) -> None:
    """
    Gathered, and written together, in order, behind what is in the file; then there is nothing to wake up for.
    """
    path = tmp_path / "access.log"
    path.write_bytes(b"old\n")
    log = make(path)
    log.write(entry(b"one"))
    log.write(entry(b"two"))
    settle(log)
    assert b"old\n" == path.read_bytes()
    clock.advance(0.5)
    settle(log)
    clock.advance(0.5)
    assert (b"old\none\ntwo\n", 0, []) == (path.read_bytes(), log.dropped_lines, clock.getDelayedCalls())


def test_many_lines_do_not_wait(tmp_path: Path, make: Make) -> None:
    """
    64 KiB are written at once.
    """
    log = make(tmp_path / "access.log")
    for _ in range(64):
        log.write(entry(b"x" * 1023))
    settle(log)
    assert 65536 == (tmp_path / "access.log").stat().st_size


def test_lines_keep_their_order_whatever_is_made_of_them_when(tmp_path: Path, clock: Clock, make: Make) -> None:
    """
    Lines are made some at a time, and the last of them when they are due.
    """
    log = make(tmp_path / "access.log")
    texts = [b"%d" % number for number in range(150)]
    for text in texts:
        log.write(entry(text))
    clock.advance(0.5)
    settle(log)
    assert texts == (tmp_path / "access.log").read_bytes().splitlines()


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_a_new_file_is_for_those_who_read_logs(tmp_path: Path, make: Make, umask: int) -> None:
    """
    Mode 0640 whatever the umask; a file that exists keeps its own.
    """
    (tmp_path / "mine").touch(mode=0o600)
    before = os.umask(umask)
    try:
        make(tmp_path / "new")
        make(tmp_path / "mine")
    finally:
        os.umask(before)
    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("new", "mine")]
    assert [0o640, 0o600] == modes


def test_a_file_that_cannot_be_opened_stops_the_start(tmp_path: Path, clock: Clock) -> None:
    """
    With its name and the reason.
    """
    log = AccessLog(clock, str(tmp_path / "none" / "access.log"), line)
    with pytest.raises(StartError, match=r"none/access\.log can't be opened: No such file"):
        log.start()


def test_standard_output_takes_lines(clock: Clock, make: Make, capfd: pytest.CaptureFixture[str]) -> None:
    """
    It can't be reopened, and isn't closed.
    """
    log = make("-")
    log.write(entry(b"one"))
    log.reopen()
    log.write(entry(b"two"))
    stop(log, clock)
    assert os.write(1, b"three\n")
    assert "one\ntwo\nthree\n" == capfd.readouterr().out


def test_reopening_divides_old_lines_from_new_ones(tmp_path: Path, clock: Clock, make: Make) -> None:
    """
    As log rotation wants it: rename, then the signal.
    """
    path, old = tmp_path / "access.log", tmp_path / "access.log.1"
    log = make(path)
    log.write(entry(b"one"))
    path.rename(old)
    log.reopen()
    log.write(entry(b"two"))
    clock.advance(0.5)
    settle(log)
    assert (b"one\n", b"two\n") == (old.read_bytes(), path.read_bytes())


def test_a_new_file_that_cannot_be_opened_loses_no_line(tmp_path: Path, clock: Clock, make: Make) -> None:
    """
    The old one takes them meanwhile; the trouble and its end are said once each, without a line to prompt it.
    """
    directory, away = tmp_path / "log", tmp_path / "away"
    directory.mkdir()
    log = make(directory / "access.log")
    directory.rename(away)
    with capturedLogs() as events:
        log.reopen()
        for text in (b"one", b"two"):
            log.write(entry(text))
            settle(log)
            clock.advance(0.5)
        settle(log)
        clock.advance(0.5)
        directory.mkdir()
        log.write(entry(b"three"))
        for _ in range(3):
            clock.advance(0.5)
            settle(log)
    assert (b"one\ntwo\n", b"three\n") == ((away / "access.log").read_bytes(), (directory / "access.log").read_bytes())
    assert [(LogLevel.error, "fails"), (LogLevel.info, "works")] == said(events)
    assert 0 == log.dropped_lines


def test_a_full_disk_drops_lines_and_counts_them(tmp_path: Path, clock: Clock, make: Make) -> None:
    """
    Said once when it begins and once when it is over, with the count.
    """
    path = tmp_path / "access.log"
    path.symlink_to("/dev/full")
    log = make(path)
    with capturedLogs() as events:
        for text in (b"one", b"two"):
            log.write(entry(text))
            clock.advance(0.5)
            settle(log)
            clock.advance(0.5)
        path.unlink()
        log.reopen()
        log.write(entry(b"three"))
        clock.advance(0.5)
        settle(log)
        clock.advance(0.5)
    assert (b"three\n", 2) == (path.read_bytes(), log.dropped_lines)
    assert [(LogLevel.error, "fails"), (LogLevel.info, "works")] == said(events)
    assert ["No space left on device", 2] == [events[0]["failure"], events[1]["lines"]]


def test_a_line_cut_short_is_ended_before_the_next(tmp_path: Path, clock: Clock, make: Make) -> None:
    """
    A disk that fills up in the middle of a line loses that line and no other.
    """
    path = tmp_path / "access.log"
    log = make(path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)  # it stands for the disk's size
    resource.setrlimit(resource.RLIMIT_FSIZE, (6, before[1]))
    try:
        for text in (b"one", b"two", b"three"):
            log.write(entry(text))
        clock.advance(0.5)
        settle(log)
        log.write(entry(b"four"))
        clock.advance(0.5)
        settle(log)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    log.write(entry(b"five"))
    clock.advance(0.5)
    settle(log)
    assert (b"one\ntw\nfive\n", 3) == (path.read_bytes(), log.dropped_lines)


def test_a_disk_that_hangs_costs_lines_and_no_time(tmp_path: Path, clock: Clock, make: Make) -> None:
    """
    A pipe that nobody reads: 16 MiB wait, the rest is dropped and counted, and stopping is bounded.
    """
    path = tmp_path / "access.log"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log = make(path)
    text = b"x" * 65535
    with capturedLogs() as events:
        for _ in range(300):
            log.write(entry(text))
        clock.advance(0.5)
        dropped = log.dropped_lines
        assert 300 - 256 - 2 <= dropped <= 300 - 256
        stop(log, clock, 5.1)
    assert [(LogLevel.error, "fails")] == said(events)
    assert 300 - 2 <= log.dropped_lines <= 300
    log.write(entry(b"late"))
    assert 301 - 2 <= log.dropped_lines <= 301
    os.close(reader)
    log._writer.thread.join(10)
    assert not log._writer.thread.is_alive()


def test_stopping_writes_what_is_left(tmp_path: Path, clock: Clock, make: Make) -> None:
    """
    At once, and later lines are counted as lost.
    """
    path = tmp_path / "access.log"
    log = make(path)
    log.write(entry(b"one"))
    stop(log, clock)
    log.write(entry(b"two"))
    assert (b"one\n", 1, []) == (path.read_bytes(), log.dropped_lines, clock.getDelayedCalls())


def test_each_piece_is_written_in_turn_with_other_processes(tmp_path: Path, clock: Clock) -> None:
    """
    While another one has its turn, nothing is written.
    """
    turn, path = Lock(), tmp_path / "access.log"
    log = AccessLog(clock, str(path), line, turn)
    log.start()
    with turn:
        log.write(entry(b"one"))
        clock.advance(0.5)
        assert b"" == path.read_bytes()
    settle(log)
    assert b"one\n" == path.read_bytes()
    stop(log, clock)


def test_reopening_in_a_running_second_sets_no_second_timer(tmp_path: Path, clock: Clock, make: Make) -> None:
    """
    One timer looks after lines and reopening alike, and goes when nothing is left to do.
    """
    log = make(tmp_path / "access.log")
    log.reopen()
    log.reopen()
    log.write(entry(b"one"))
    assert 1 == len(clock.getDelayedCalls())
    for _ in range(2):
        clock.advance(0.5)
        settle(log)
    clock.advance(0.5)
    assert [] == clock.getDelayedCalls()

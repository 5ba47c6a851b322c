"""
A configuration comes from the disk, the same way at the start and when it is read again.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from twisted.logger import capturedLogs, formatEvent

from sptls.config import FILE_BYTES
from sptls.config_load import Overrides
from sptls.config_source import ConfigSource, DiskFiles
from sptls.errors import ConfigError

FLAGS = Overrides(domains=("click.example.com",), agree_to_terms=True)


def written(path: Path, text: str = "") -> Path:
    """
    Write a file that is a configuration, but for its domains.
    """
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{text}\n[acme]\nagree_to_terms = true\n", encoding="utf-8")
    return path


def fault(source: ConfigSource) -> str:
    """
    Load what can't be used, and give its one fault.
    """
    with pytest.raises(ConfigError) as caught:
        source.load()
    (only,) = caught.value.faults
    return str(only)


def test_flags_alone_are_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Their paths are taken from the directory of the person who typed them.
    """
    monkeypatch.chdir(tmp_path)
    assert tmp_path / "state" == ConfigSource(None, Overrides(("a.b",), (), True, "state"), True).load().state_dir


def test_paths_in_a_file_are_below_its_directory(tmp_path: Path) -> None:
    """
    Where it really lies: a symbolic link is followed.
    """
    (tmp_path / "link.toml").symlink_to(written(tmp_path / "etc" / "sptls.toml", "state_dir = 'state'"))
    assert tmp_path / "etc" / "state" == ConfigSource(tmp_path / "link.toml", FLAGS, True).load().state_dir


def test_a_source_is_the_same_after_a_change_of_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Twistd changes it when it daemonizes, and SIGHUP comes later.
    """
    written(tmp_path / "etc" / "sptls.toml", "domains_file = 'names.txt'")
    (tmp_path / "etc" / "names.txt").write_text("a.example\n")
    monkeypatch.chdir(tmp_path)
    flags = Overrides(state_dir="state")
    source, bare = ConfigSource(Path("etc/sptls.toml"), flags, True), ConfigSource(None, FLAGS, True)
    before = source.load(), bare.load()
    monkeypatch.chdir("/")
    assert before == (source.load(), bare.load())
    assert (tmp_path / "state", tmp_path / "etc" / "names.txt") == (before[0].state_dir, before[0].domains_file)


def test_the_file_is_read_each_time(tmp_path: Path) -> None:
    """
    And so are the names.
    """
    path, names = written(tmp_path / "sptls.toml", "domains_file = 'names.txt'"), tmp_path / "names.txt"
    source = ConfigSource(path, Overrides(), False)
    names.write_bytes(b"\xef\xbb\xbfa.example\r\n")
    assert ["a.example"] == [domain.name.text for domain in source.load().domains]
    names.write_text("b.example\n")
    assert ["b.example"] == [domain.name.text for domain in source.load().domains]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file or directory"),
        (b"domains = []\n\xff\xfe", "it is not UTF-8 text (line 2)"),
        ("\ufeffdomains = []".encode("utf-16"), "it is not UTF-8 text (line 1)"),
        (b"#" * (FILE_BYTES + 1), "it is over 16 MiB"),
    ],
)
def test_an_unreadable_file_is_a_fault_of_the_option(tmp_path: Path, content: bytes | None, reason: str) -> None:
    """
    A file that is missing or no text is named, with the reason.
    """
    path = tmp_path / "sptls.toml"
    if content is not None:
        path.write_bytes(content)
    assert f"--config: {path} can't be read: {reason}" == fault(ConfigSource(path, FLAGS, True))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\ndomains = [click.example.com]\n", ", line 2, column 12: not TOML: Invalid value; "),
        ("domains = ['click.example.com'", ", end of document: not TOML: Unclosed array; "),
        ("domains = " + "[" * 5000, ": not TOML that can be read: nested too deeply; "),
        ("domains = " + "9" * 5000, ": not TOML: Exceeds the limit (4300 digits) for integer string conversion"),
    ],
)
def test_a_file_that_is_not_toml_is_named_with_the_line(tmp_path: Path, text: str, expected: str) -> None:
    """
    And it is said what is odd there, and what to do; keys have no place yet that could be told.
    """
    path = tmp_path / "sptls.toml"
    path.write_text(text)
    told = fault(ConfigSource(path, FLAGS, True))
    assert told.startswith(f"{path}{expected}")
    assert told.endswith("; then run sptls check")


def test_an_unreadable_file_of_names_is_a_fault_of_its_key(tmp_path: Path) -> None:
    """
    A directory is no file.
    """
    source = ConfigSource(written(tmp_path / "sptls.toml", "domains_file = '.'"), FLAGS, True)
    assert f"domains_file: '{tmp_path}' can't be read: Is a directory" == fault(source)


def test_start_goes_on_with_the_names_of_a_file_that_is_gone(tmp_path: Path) -> None:
    """
    With those of the last start or reload, and the log says why; for everything else it stays a fault.
    """
    names = tmp_path / "names.txt"
    names.write_text("a.example\n")
    path = written(tmp_path / "sptls.toml", "domains_file = 'names.txt'\nstate_dir = 'state'")
    source = ConfigSource(path, Overrides(), False)
    before = source.load_for_start()
    names.write_text("b.example\n")
    source.remember(source.load())
    names.unlink()
    with capturedLogs() as events:
        after = source.load_for_start()
    assert (["a.example"], ["b.example"]) == tuple([each.name.text for each in one.domains] for one in (before, after))
    assert before.domains_file == after.domains_file
    told = f"domains_file: '{names}' can't be read: No such file or directory; the names that it had before are served"
    assert told in formatEvent(events[0])
    assert "No such file" in fault(source)


def test_start_without_anything_to_remember_is_refused(tmp_path: Path) -> None:
    """
    A path with a typing error, a state directory that is new, or another fault beside it.
    """
    names = tmp_path / "names.txt"
    names.write_text("a.example\n")
    path = written(tmp_path / "sptls.toml", "domains_file = 'names.txt'\nstate_dir = 'state'")
    ConfigSource(path, Overrides(), False).load_for_start()
    names.unlink()
    for text in (
        "domains_file = 'nams.txt'\nstate_dir = 'state'",
        "domains_file = 'names.txt'\nstate_dir = 'other'",
        "domains_file = 'names.txt'\nstate_dir = 'state'\nworkers = 0",
    ):
        with pytest.raises(ConfigError, match=r"domains_file: .* can't be read"):
            ConfigSource(written(path, text), Overrides(), False).load_for_start()


def test_names_that_can_not_be_kept_stop_no_start(tmp_path: Path) -> None:
    """
    The log says that the next start would need the file.
    """
    (tmp_path / "names.txt").write_text("a.example\n")
    (tmp_path / "state").write_text("no directory")
    path = written(tmp_path / "sptls.toml", "domains_file = 'names.txt'\nstate_dir = 'state'")
    with capturedLogs() as events:
        assert 1 == len(ConfigSource(path, Overrides(), False).load_for_start().domains)
    assert "could not be copied" in formatEvent(events[0])


def test_100_000_names_are_read_in_no_time(tmp_path: Path) -> None:
    """
    Half a second, measured; the bound is for slow machines under coverage, and what is quadratic takes minutes.
    """
    path = written(tmp_path / "sptls.toml", "domains_file = 'names.txt'")
    names = (f"click{index}.customer{index % 977}.example.com\n" for index in range(100_000))
    (tmp_path / "names.txt").write_text("".join(names))
    begun = time.process_time()
    assert 100_000 == len(ConfigSource(path, Overrides(), True).load().domains)
    assert time.process_time() - begun < 10.0


def test_a_file_can_be_read_or_the_system_says_why_not(tmp_path: Path) -> None:
    """
    In the system's words.
    """
    path = written(tmp_path / "file")
    assert None is DiskFiles().why_unreadable(path)
    assert "No such file or directory" == DiskFiles().why_unreadable(tmp_path / "gone")
    assert "Is a directory" == DiskFiles().why_unreadable(tmp_path)


def test_a_directory_can_be_written_or_the_system_says_why_not(tmp_path: Path) -> None:
    """
    A file is none.
    """
    assert None is DiskFiles().why_unwritable(tmp_path)
    assert "No such file or directory" == DiskFiles().why_unwritable(tmp_path / "gone")
    assert "Not a directory" == DiskFiles().why_unwritable(written(tmp_path / "file"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_of_others_can_not_be_written() -> None:
    """
    Nor is anything tried out there.
    """
    assert "Permission denied" == DiskFiles().why_unwritable(Path("/"))


def test_a_program_is_found_or_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    On the PATH or by its own; what may not be run is none.
    """
    path = written(tmp_path / "reload")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert (None, None) == (DiskFiles().program("reload"), DiskFiles().program(str(path)))
    path.chmod(0o700)
    assert (str(path), str(path)) == (DiskFiles().program("reload"), DiskFiles().program(str(path)))
    assert (None, None) == (DiskFiles().program("gone"), DiskFiles().program(str(tmp_path)))


def test_a_program_s_path_is_absolute_whatever_the_path_variable_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The directory will be another one when it is run.
    """
    written(tmp_path / "bin" / "reload").chmod(0o700)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "bin")
    assert str(tmp_path / "bin" / "reload") == DiskFiles().program("reload")

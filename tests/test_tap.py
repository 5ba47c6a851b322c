"""
Tests for `sptls.tap`: the words of the command line, and how faults end the start.
"""

from __future__ import annotations

import gc
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sptls.config import Address
from sptls.names import HostName
from sptls.tap import Options, makeService, source

if TYPE_CHECKING:
    from collections.abc import Iterator

TWISTD: dict[str, Any] = {"nodaemon": True, "uid": None, "gid": None}
COMMON = ["--domain", "click.example.com", "--contact", "ops@example.com", "--agree-to-terms"]


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """
    Put back the handlers of signals that a start changes.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGUSR1)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def _collecting() -> Iterator[None]:
    """
    Enable the garbage collector again, which a start does without.
    """
    yield
    gc.enable()


def _parsed(*words: str) -> Options:
    options = Options()
    options.parseOptions(words)
    return options


def test_common_case_needs_no_file() -> None:
    """
    Domain, contact and consent are a whole configuration.
    """
    config = source(_parsed(*COMMON), foreground=True).load()
    assert (HostName("click.example.com"),) == tuple(domain.name for domain in config.domains)
    assert (("ops@example.com",), True) == (config.acme.contact, config.acme.agree_to_terms)


def test_repeated_options_add_up() -> None:
    """
    Options that may be given again are all kept, in order.
    """
    options = _parsed(*COMMON, "--domain", "b.example", "--https", "127.0.0.1:8443", "--https", "[::1]:8443")
    config = source(options, foreground=True).load()
    assert ["click.example.com", "b.example"] == [domain.name.text for domain in config.domains]
    assert (Address("127.0.0.1", 8443), Address("::1", 8443)) == config.listen.https


def test_the_file_is_where_the_option_says(tmp_path: Path) -> None:
    """
    The same source is read again later, from any directory.
    """
    options = _parsed("--config", str(tmp_path / "sptls.toml"), "--state-dir", "state", *COMMON)
    found = source(options, foreground=False)
    assert (tmp_path / "sptls.toml", False) == (found.path, found.foreground)
    assert str(Path.cwd() / "state") == found.overrides.state_dir


@pytest.mark.parametrize(("words", "expected"), [((), False), (("--renew-only",), True)])
def test_renewing_only_is_a_flag(words: tuple[str, ...], expected: bool) -> None:
    """
    The same file serves the proxy and the renewal daemon.
    """
    assert expected is source(_parsed(*words), foreground=True).overrides.renew_only


def test_wrong_word_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    """
    A usage error has the exit status of a configuration error and says where help is.
    """
    with pytest.raises(SystemExit) as raised:
        _parsed("--no-such-option")
    assert 2 == raised.value.code
    assert "twistd sptls --help" in capsys.readouterr().err


def test_faults_end_with_2_and_are_all_said(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Every fault stands on a line of its own on standard error.
    """
    options = _parsed("--domain", "bad_name.example", "--upstream", "ftp://x", "--agree-to-terms")
    options.parent = TWISTD  # type: ignore[assignment] # what of it is read
    with pytest.raises(SystemExit) as raised:
        makeService(options)
    said = capsys.readouterr().err
    assert (2, True, True) == (raised.value.code, "--domain" in said, "--upstream" in said)


@pytest.mark.parametrize("is_named", [True, False])
def test_configuration_that_was_not_named_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], is_named: bool
) -> None:
    """
    Unlike the commands, the daemon looks for none; whoever has one in the usual place would wonder.
    """
    (tmp_path / "sptls.toml").write_text("")
    options = _parsed(*(["--config", str(tmp_path / "sptls.toml")] if is_named else []))
    options.parent = TWISTD  # type: ignore[assignment] # what of it is read
    with pytest.raises(SystemExit):
        makeService(options)
    said = capsys.readouterr().err
    assert (not is_named, True) == ("no configuration file was named (--config)" in said, "domains: missing" in said)


def test_demo_refuses_what_it_decides_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Options that don't go with --demo are refused, never ignored.
    """
    options = _parsed("--demo", "--renew-only", *COMMON)
    options.parent = TWISTD  # type: ignore[assignment] # what of it is read
    with pytest.raises(SystemExit) as raised:
        makeService(options)
    said = capsys.readouterr().err
    assert (2, True, True) == (raised.value.code, "--contact" in said, "--renew-only" in said)


def test_start_does_without_the_garbage_collector(capsys: pytest.CaptureFixture[str]) -> None:
    """
    It is off while everything is made, until the service turns it on.
    """
    options = _parsed("--domain", "not a name")
    options.parent = TWISTD  # type: ignore[assignment] # what of it is read
    with pytest.raises(SystemExit):
        makeService(options)
    assert not gc.isenabled()
    assert "not a name" in capsys.readouterr().err


def test_take_over_does_not_go_with_demo(capsys: pytest.CaptureFixture[str]) -> None:
    """
    A demo ends with its terminal; nothing is to be taken over.
    """
    options = _parsed("--demo", "--take-over")
    options.parent = TWISTD  # type: ignore[assignment] # what of it is read
    with pytest.raises(SystemExit) as raised:
        makeService(options)
    assert (2, True) == (raised.value.code, "--take-over does not go with --demo" in capsys.readouterr().err)


def test_sockets_that_are_passed_must_be_sockets(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A fault of the socket unit ends the start with 1, and no program that we start hears of its sockets.
    """
    reading, writing = os.pipe()
    os.close(writing)
    monkeypatch.setattr("twisted.python.systemd.ListenFDs._START", reading)
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()))
    monkeypatch.setenv("LISTEN_FDS", "1")
    options = _parsed(*COMMON)
    options.parent = TWISTD  # type: ignore[assignment] # what of it is read
    with pytest.raises(SystemExit) as raised:
        makeService(options)
    assert (1, True) == (raised.value.code, "no listening TCP socket: not a socket" in capsys.readouterr().err)
    assert not {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}.intersection(os.environ)

"""
Tests for `sptls.tap`: the words of the command line, and how faults end the start.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sptls.config import Address
from sptls.errors import ConfigError
from sptls.names import HostName
from sptls.tap import Options, load_config, makeService

TWISTD: dict[str, Any] = {"nodaemon": True, "uid": None, "gid": None}
COMMON = ["--domain", "click.example.com", "--contact", "ops@example.com", "--agree-to-terms"]


def _parsed(*words: str) -> Options:
    options = Options()
    options.parseOptions(words)
    return options


def test_common_case_needs_no_file() -> None:
    """
    Domain, contact and consent are a whole configuration.
    """
    config = load_config(_parsed(*COMMON), foreground=True)
    assert (HostName("click.example.com"),) == tuple(domain.name for domain in config.domains)
    assert (("ops@example.com",), True) == (config.acme.contact, config.acme.agree_to_terms)


def test_repeated_options_add_up() -> None:
    """
    Options that may be given again are all kept, in order.
    """
    options = _parsed(*COMMON, "--domain", "b.example", "--https", "127.0.0.1:8443", "--https", "[::1]:8443")
    config = load_config(options, foreground=True)
    assert ["click.example.com", "b.example"] == [domain.name.text for domain in config.domains]
    assert (Address("127.0.0.1", 8443), Address("::1", 8443)) == config.listen.https


def test_relative_state_dir_is_below_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A path on the command line means what it means to the shell, wherever the file lies.
    """
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "sptls.toml").write_text('domains = ["click.example.com"]\n[acme]\nagree_to_terms = true\n')
    monkeypatch.chdir(tmp_path)
    config = load_config(_parsed("--config", "etc/sptls.toml", "--state-dir", "state"), foreground=True)
    assert tmp_path / "state" == config.state_dir


def test_paths_in_the_file_are_below_its_directory(tmp_path: Path) -> None:
    """
    A path in the file is relative to the file.
    """
    (tmp_path / "sptls.toml").write_text(
        'state_dir = "state"\ndomains = ["click.example.com"]\n[acme]\nagree_to_terms = true\n'
    )
    assert tmp_path / "state" == load_config(_parsed("-c", str(tmp_path / "sptls.toml")), foreground=True).state_dir


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_unreadable_file_is_a_fault_of_the_option(tmp_path: Path, content: bytes | None) -> None:
    """
    A file that is missing or no text is named, with the reason.
    """
    path = tmp_path / "sptls.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as raised:
        load_config(_parsed("--config", str(path)), foreground=True)
    (fault,) = raised.value.faults
    assert ("--config", True) == (fault.place, str(path) in fault.message)


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


def test_demo_refuses_what_it_decides_itself(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Options that don't go with --demo are refused, never ignored.
    """
    options = _parsed("--demo", *COMMON)
    options.parent = TWISTD  # type: ignore[assignment] # what of it is read
    with pytest.raises(SystemExit) as raised:
        makeService(options)
    assert (2, True) == (raised.value.code, "--contact" in capsys.readouterr().err)

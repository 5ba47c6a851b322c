"""
Tests for `sptls.cli.options`.
"""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from sptls.cli import options
from sptls.cli.options import Place, host_name, host_names, place, place_options
from sptls.config import STATE_DIR
from sptls.errors import ConfigError
from sptls.names import HostName
from tests.cli.conftest import Site


def _place(*arguments: object, **environment: str) -> Place:
    """
    Give the place that a command with these *arguments* means.
    """
    found: list[Place] = []

    @click.command
    @place_options
    def command(config: Path | None, state_dir: Path | None, *, renew_only: bool) -> None:
        found.append(place(config, state_dir, renew_only=renew_only))

    ran = CliRunner().invoke(command, [str(argument) for argument in arguments], env=environment)
    assert 0 == ran.exit_code, ran.output
    return found[0]


def test_flag_goes_before_the_environment_and_the_usual_file(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    ``--config``, then ``SPTLS_CONFIG``, then /etc/sptls.toml.
    """
    usual = site.write("usual.example")
    monkeypatch.setattr(options, "DEFAULT_CONFIG", usual)
    flag, environment = (site.directory / name for name in ("flag.toml", "environment.toml"))
    for path in (flag, environment):
        path.write_text(usual.read_text().replace("usual", path.stem))
    found = [
        _place("--config", flag, SPTLS_CONFIG=str(environment)),
        _place(SPTLS_CONFIG=str(environment)),
        _place(),
    ]
    assert ["flag.example", "environment.example", "usual.example"] == [
        one.config().domains[0].name.text for one in found
    ]


def test_state_directory_comes_from_the_file(site: Site) -> None:
    """
    The daemon's.
    """
    assert site.state == _place("--config", site.write("a.example")).state_dir()


def test_given_state_directory_needs_no_file(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A daemon that was started by flags alone is reached by it; relative as the shell means it.
    """
    monkeypatch.chdir(site.directory)
    assert site.state == _place("--state-dir", "state").state_dir()


def test_given_state_directory_goes_before_the_files(site: Site) -> None:
    """
    Also in the configuration that it goes with.
    """
    where = _place("--config", site.write("a.example"), "--state-dir", site.directory / "other")
    assert site.directory / "other" == where.state_dir() == where.config().state_dir


def test_without_anything_the_usual_state_directory_is_meant() -> None:
    """
    And a configuration that is needed is asked for.
    """
    assert STATE_DIR == _place().state_dir()
    with pytest.raises(ConfigError, match="SPTLS_CONFIG"):
        _place().config()


def test_file_that_was_named_must_be_there(site: Site) -> None:
    """
    The usual place is no substitute.
    """
    with pytest.raises(ConfigError, match=r"gone\.toml"):
        _place("--config", site.directory / "gone.toml").state_dir()


def test_names_are_read_in_any_spelling_and_once() -> None:
    """
    As in the configuration.
    """
    command = click.Command("any")
    context, parameter = click.Context(command), click.Argument(["names"])
    assert (HostName("a.example"), HostName("b.example")) == host_names(
        context, parameter, ("A.example.", "b.example", "a.example")
    )
    with pytest.raises(click.BadParameter, match="is not a host name"):
        host_name(context, parameter, "not one")


def test_renewal_daemons_file_is_read_as_one(site: Site) -> None:
    """
    ``--renew-only`` says of which daemon the configuration is.
    """
    path = site.write("a.example", more=f'[deploy]\ndirectory = "{site.directory / "deployed"}"\n')
    assert [False, True] == [_place("--config", path, *flags).config().renew_only for flags in ((), ("--renew-only",))]

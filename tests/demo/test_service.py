"""
Tests for `sptls.demo.service`: the demo's configuration and words. That it serves is in tests/e2e/test_demo.py.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import attrs
import pytest

from sptls.config_load import Overrides
from sptls.demo import service
from sptls.demo.service import NAME, DemoWorld
from sptls.errors import ConfigError
from sptls.startup import ProcessSettings
from tests.doubles import InlineReactor


def _world(tmp_path: Path, *, kept: bool) -> tuple[DemoWorld, io.StringIO]:
    output = io.StringIO()
    return DemoWorld(InlineReactor(), tmp_path / "state", output, kept=kept), output


def test_demo_serves_one_name_on_this_machine_only(tmp_path: Path) -> None:
    """
    Every socket is a loopback one, and the one name answers clients without a server name too.
    """
    world, _ = _world(tmp_path, kept=False)
    config = world.configuration()
    listening = [*config.listen.https, *config.listen.http, config.listen.admin]
    assert {"127.0.0.1", "::1"} >= {address.host for address in listening if address}
    assert ((NAME,), NAME) == (tuple(domain.name for domain in config.domains), config.listen.default_name)


@pytest.mark.parametrize(
    ("directory", "word"), [("internal", "the internal one"), ("https://localhost:1/dir", "Pebble, Let's Encrypt")]
)
def test_announcement_says_what_to_try(tmp_path: Path, directory: str, word: str) -> None:
    """
    It names the CA, where the state lies, and a whole curl line.
    """
    world, output = _world(tmp_path, kept=False)
    config = world.configuration()
    world.announce(attrs.evolve(config, acme=attrs.evolve(config.acme, directory=directory)))
    said = output.getvalue()
    assert word in said
    assert str(tmp_path / "state") in said
    assert f"https://{NAME}:8443/f/a/b/c/d" in said
    assert "curl --cacert " in said


@pytest.mark.parametrize("is_installed", [True, False])
def test_commands_can_be_tried_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_installed: bool) -> None:
    """
    With the one that is installed beside this Python, and the demo's state; no self-check looks for a name that no DNS
    has.
    """
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    if is_installed:
        (tmp_path / "sptls").touch()
    world, output = _world(tmp_path, kept=False)
    config = world.configuration()
    world.announce(config)
    command = tmp_path / "sptls" if is_installed else "sptls"
    assert f"  ask     {command} status --state-dir {config.state_dir}\n" in output.getvalue()
    assert "off" == config.acme.precheck


@pytest.mark.parametrize("kept", [True, False])
def test_state_that_the_person_named_is_kept(tmp_path: Path, kept: bool) -> None:
    """
    Only a directory of the demo's own making is removed.
    """
    (tmp_path / "state").mkdir()
    world, _ = _world(tmp_path, kept=kept)
    world.remove()
    assert kept == (tmp_path / "state").exists()


def test_options_that_the_demo_decides_are_refused() -> None:
    """
    Each is named.
    """
    overrides = Overrides(domains=("a.example",), upstream="https://b.example")
    with pytest.raises(ConfigError) as raised:
        service.make(InlineReactor(), ProcessSettings(), overrides)
    assert ["--domain", "--upstream"] == [fault.place for fault in raised.value.faults]

from __future__ import annotations

import json
import os
import ssl
import urllib.request
from typing import TYPE_CHECKING

import attrs
import pytest
from cryptography import x509

from sptls.demo import pebble
from sptls.demo.pebble import available
from tests.demo.test_child import is_running

if TYPE_CHECKING:
    from pathlib import Path

    from tests.demo.conftest import Run

needs_pebble = pytest.mark.skipif(not available(), reason='Debian\'s package "pebble" is not installed')


def programs(directory: Path, **scripts: str) -> str:
    """
    Put shell scripts in the place of the programs; gives a PATH that finds them first.
    """
    (directory / "bin").mkdir()
    for name, script in scripts.items():
        path = directory / "bin" / name.replace("_", "-")
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    return f"{directory / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin"


@pytest.mark.pebble
@needs_pebble
def test_a_ca_answers_and_ends(run: Run) -> None:
    """
    The CA's directory answers to a client that trusts the root given; nothing is left running afterwards.
    """
    with run("pebble") as running:
        context = ssl.create_default_context(cafile=running.facts["trust"])
        with urllib.request.urlopen(running.facts["directory_url"], context=context, timeout=10) as answer:  # noqa: S310 - https, from our own process
            assert "newOrder" in json.load(answer)
        root = x509.load_pem_x509_certificate(running.facts["root"].encode())
        assert root.subject == root.issuer
        children = running.children()
        assert len(children) == 2
        running.end()
        assert not any(is_running(child) for child in children)


@pytest.mark.pebble
@needs_pebble
def test_keys_are_private(run: Run, tmp_path: Path) -> None:
    """
    Of the files written, those with a key are the owner's alone.
    """
    with run("pebble") as running:
        running.end()
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert {name for name, mode in modes.items() if mode == 0o600} == {pebble.KEY, "internal-ca.key.pem"}
    assert all(name in modes for name in (pebble.KEY, pebble.CERTIFICATE, pebble.CONFIGURATION))


def test_a_program_that_ends_at_once_is_told_with_its_last_words(run: Run, tmp_path: Path) -> None:
    """
    When a program does not come up, the start fails with what it said.
    """
    path = programs(tmp_path, pebble_challtestsrv="echo no way; exit 1", pebble="exit 0")
    with run("pebble", path) as running:
        assert running.facts["error"] == "pebble-challtestsrv has ended; it said: no way"
        assert running.children() == []
        running.end()


def test_a_program_that_is_missing_is_named(run: Run, tmp_path: Path) -> None:
    """
    When a program is not on PATH, the start fails with its name.
    """
    with run("pebble", str(tmp_path)) as running:
        assert running.facts["error"] == "pebble-challtestsrv can't be started: No such file or directory"
        running.end()


def test_both_programs_are_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The CA is available where both its programs are on PATH.
    """
    programs(tmp_path, pebble="")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert not available()
    (tmp_path / "bin" / "pebble-challtestsrv").symlink_to(tmp_path / "bin" / "pebble")
    assert available()


def test_the_ports_differ() -> None:
    """
    Four different ports are found for each start.
    """
    assert len(set(attrs.astuple(pebble._free_ports()))) == 4

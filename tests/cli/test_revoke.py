"""
Tests for `sptls.cli.revoke`, against the real calls on a real socket.
"""

from __future__ import annotations

import io
import sys
import time

import attrs
import pytest

from sptls.errors import NotRevocable
from sptls.names import HostName
from tests.cli.conftest import Command, Site
from tests.cli.daemon import answering
from tests.ops.web import FakeControls, bundle, failing, valid

NAME = HostName("a.example")


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Look again at once.
    """
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)


class _Keyboard(io.StringIO):
    """
    A terminal at which somebody types.
    """

    def isatty(self) -> bool:
        """
        Be one.
        """
        return True


def _replacing(controls: FakeControls) -> FakeControls:
    """
    Have the daemon replace what it revokes.
    """
    new = attrs.evolve(bundle(NAME), serial="0b")
    controls.on_issue = lambda _name: controls.known.update({"a.example": valid("a.example", bundle=new)})
    return controls


@pytest.mark.parametrize(("reason", "code"), [("keyCompromise", 1), ("superseded", 4), ("UNSPECIFIED", 0)])
def test_revoked_certificate_is_replaced(sptls: Command, site: Site, reason: str, code: int) -> None:
    """
    Both are told.
    """
    controls = _replacing(FakeControls(valid("a.example")))
    with answering(site.state, controls):
        ran = sptls("revoke", "a.example", "--reason", reason, "--yes", "--state-dir", site.state)
    assert (0, "", [f"a.example {code}"]) == (ran.status, ran.err, controls.asked)
    revoked, issued = ran.out.splitlines()
    assert ("a.example: certificate 0a is revoked", True) == (revoked, issued.startswith("a.example: issued by R11"))


@pytest.mark.parametrize(("typed", "expected"), [("y\n", (0, ["a.example 4"])), ("n\n", (1, [])), ("", (130, []))])
def test_person_is_asked_first(
    sptls: Command, site: Site, monkeypatch: pytest.MonkeyPatch, typed: str, expected: tuple[int, list[str]]
) -> None:
    """
    It can't be undone.
    """
    monkeypatch.setattr(sys, "stdin", _Keyboard(typed))
    controls = _replacing(FakeControls(valid("a.example")))
    with answering(site.state, controls):
        ran = sptls("revoke", "a.example", "--reason", "superseded", "--state-dir", site.state)
    assert expected == (ran.status, controls.asked)
    assert "Revoke a.example's certificate by R11, valid until " in ran.err


def test_where_nobody_can_be_asked_the_answer_is_no(
    sptls: Command, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A script has to say that it is meant.
    """
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    controls = FakeControls(valid("a.example"))
    with answering(site.state, controls):
        ran = sptls("revoke", "a.example", "--reason", "superseded", "--state-dir", site.state)
    assert (2, [], True) == (ran.status, controls.asked, "--yes" in ran.err)


def test_what_was_not_revoked_is_told_with_the_reason(sptls: Command, site: Site) -> None:
    """
    In the daemon's words, on one line.
    """
    controls = FakeControls(valid("a.example"))
    controls.refusal = NotRevocable("nobody\ncan")
    with answering(site.state, controls):
        ran = sptls("revoke", "a.example", "--reason", "superseded", "--yes", "--state-dir", site.state)
    assert (1, "", "sptls: a.example: not revoked: nobody can\n") == (ran.status, ran.out, ran.err)


def test_successor_that_does_not_come_is_told(sptls: Command, site: Site) -> None:
    """
    The old certificate is revoked all the same.
    """
    controls = FakeControls(valid("a.example"))
    failed = attrs.evolve(failing("a.example", "refused"), bundle=bundle(NAME))
    controls.on_issue = lambda _name: controls.known.update({"a.example": failed})
    with answering(site.state, controls):
        ran = sptls("revoke", "a.example", "--reason", "superseded", "--yes", "--state-dir", site.state)
    assert 1 == ran.status
    assert "is revoked\na.example: failed: refused; next: attempt" in ran.out


@pytest.mark.parametrize(
    "arguments", [("a.example",), ("a.example", "--reason", "because"), ("--reason", "superseded")]
)
def test_reason_and_name_are_needed(sptls: Command, arguments: tuple[str, ...]) -> None:
    """
    A CA publishes the reason.
    """
    assert 2 == sptls("revoke", *arguments).status

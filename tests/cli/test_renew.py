"""
Tests for `sptls.cli.renew`, against the real calls on a real socket.
"""

from __future__ import annotations

import time

import attrs
import pytest

from sptls.names import HostName
from tests.cli.conftest import Command, Site
from tests.cli.daemon import answering
from tests.ops.web import FakeControls, bundle, failing, valid


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Look again at once.
    """
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)


def test_new_certificate_is_waited_for(sptls: Command, site: Site) -> None:
    """
    The old one, though valid, is none.
    """
    controls = FakeControls(valid("a.example"))

    def look(looks: int) -> None:
        if looks == 4:
            new = attrs.evolve(bundle(HostName("a.example")), serial="0b")
            controls.known["a.example"] = valid("a.example", bundle=new)

    controls.on_look = look
    with answering(site.state, controls):
        ran = sptls("renew", "--state-dir", site.state, "A.example")
    assert (0, "", ["a.example"]) == (ran.status, ran.err, controls.asked)
    assert ran.out.startswith("a.example: issued by R11; valid until ")
    assert controls.looks >= 4


def test_failure_is_told_and_now_is_passed_on(sptls: Command, site: Site) -> None:
    """
    The old certificate stays.
    """
    old = failing("a.example", "refused")
    controls = FakeControls(attrs.evolve(old, bundle=bundle(HostName("a.example"))))
    with answering(site.state, controls):
        ran = sptls("renew", "--now", "--state-dir", site.state, "a.example")
    assert (1, ["a.example!"]) == (ran.status, controls.asked)
    assert "a.example: failed: refused; next: attempt " in ran.out


def test_own_certificate_is_not_renewed(sptls: Command, site: Site) -> None:
    """
    Nobody is asked for it.
    """
    controls = FakeControls(valid("own.example", source="own"))
    with answering(site.state, controls):
        ran = sptls("renew", "--state-dir", site.state, "own.example")
    assert (1, []) == (ran.status, controls.asked)
    assert "yours to renew" in ran.out


def test_name_that_is_not_served_is_a_usage_error(sptls: Command, site: Site) -> None:
    """
    Nothing is ordered for the others.
    """
    controls = FakeControls(valid("a.example"))
    with answering(site.state, controls):
        ran = sptls("renew", "--state-dir", site.state, "a.example", "x.example")
    assert (2, []) == (ran.status, controls.asked)
    assert "x.example is none of the domains" in ran.err


def test_without_a_daemon_it_is_said(sptls: Command, site: Site) -> None:
    """
    It isn't this process's to do.
    """
    ran = sptls("renew", "--state-dir", site.state, "a.example")
    assert (1, True) == (ran.status, "no sptls daemon is running" in ran.err)
    assert "start it, or say with --config or --state-dir which one is meant" in ran.err

"""
Tests for `sptls.cli.retry`, against the real calls on a real socket.
"""

from __future__ import annotations

import attrs

from tests.cli.conftest import Command, Site
from tests.cli.daemon import answering
from tests.ops.web import FakeControls, failing, issuing, valid


def test_failures_are_forgotten_and_nothing_is_waited_for(sptls: Command, site: Site) -> None:
    """
    What has not failed needs nothing.
    """
    controls = FakeControls(failing("a.example"), valid("b.example"))
    controls.on_issue = lambda name: controls.known.update({"a.example": issuing("a.example")})
    with answering(site.state, controls):
        ran = sptls("retry", "--state-dir", site.state, "a.example", "b.example")
    assert (0, "", ["a.example", "b.example"]) == (ran.status, ran.err, controls.asked)
    first, second = ran.out.splitlines()
    assert "a.example: order under way" == first
    assert second.startswith("b.example: needs no order; valid until ")


def test_name_that_has_to_wait_all_the_same_is_told_with_the_reason(sptls: Command, site: Site) -> None:
    """
    The CA's limits are not ours to forget.
    """
    for state in ("failing", "waiting"):
        domain = attrs.evolve(failing("a.example", "the CA's\nlimits"), state=state)
        with answering(site.state, FakeControls(domain)):
            ran = sptls("retry", "--state-dir", site.state, "a.example")
        assert (1, True) == (ran.status, ran.out.startswith("a.example: attempt "))
        assert ran.out.endswith(": the CA's limits\n")


def test_name_that_is_not_served_is_a_usage_error(sptls: Command, site: Site) -> None:
    """
    Nothing is tried for the others.
    """
    controls = FakeControls(failing("a.example"))
    with answering(site.state, controls):
        ran = sptls("retry", "--state-dir", site.state, "a.example", "x.example")
    assert (2, []) == (ran.status, controls.asked)


def test_without_a_daemon_it_is_said(sptls: Command, site: Site) -> None:
    """
    There is nobody to ask.
    """
    ran = sptls("retry", "--state-dir", site.state, "a.example")
    assert (1, True) == (ran.status, "no sptls daemon is running" in ran.err)

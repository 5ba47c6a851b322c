"""
HTTP/2's and HPACK's rules, one by one, against a real daemon: what h2spec does, and more. The table is `http2_rules`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import CLICK, own_domain
from tests.e2e.daemon import Daemon, Launcher
from tests.e2e.http2_rules import STREAMS, Rule
from tests.e2e.http2_rules_frames import FRAMES
from tests.e2e.http2_rules_messages import HPACK, MESSAGES
from tests.e2e.http2_wire import Peer

if TYPE_CHECKING:
    from collections.abc import Iterator

    import trustme

    from tests.e2e.origin import Origin

pytestmark = pytest.mark.e2e

RULES = [*STREAMS, *FRAMES, *MESSAGES, *HPACK]


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA, tracking: Origin) -> Iterator[Daemon]:
    """
    Give a daemon whose deadlines no rule waits for.
    """
    launcher = Launcher(tmp_path_factory.mktemp("strict"))
    launcher.write(
        domains=own_domain(authority, launcher.directory, CLICK),
        acme='directory = "internal"',
        upstream=tracking.configuration,
        more="[limits]\nhead_bytes = 8192\ntarget_bytes = 4096\nhead_seconds = 60\nupstream_head_seconds = 60\n",
    )
    with launcher.running() as running:
        yield running
        tracking.stall.set()
        assert "Traceback" not in running.log


@pytest.mark.parametrize("rule", RULES, ids=[rule.name for rule in RULES])
def test_rule(strict: Daemon, authority: trustme.CA, rule: Rule) -> None:
    """
    What the RFC says comes of it comes, and nothing hangs.
    """
    with Peer(strict.https, authority) as peer:
        peer.hold(rule.script)

"""
A reactor for the folder, and a webhook's service for each test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acme_front.reactor import SkippingReactor, running_reactor
from tests.alerts.hook import Hook

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def reactor() -> Iterator[SkippingReactor]:
    """
    Give the reactor of all tests.
    """
    with running_reactor() as reactor:
        yield reactor


@pytest.fixture
def hook(reactor: SkippingReactor) -> Iterator[Hook]:
    """
    Give a webhook's service, which listens when the test says so.
    """
    hook = Hook(reactor)
    yield hook
    for port in hook.ports:
        port.stopListening()
    reactor.settle()

"""
Tests for `sptls.alerts.posting`; what is made of an answer is in test_webhook.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from sptls import asking
from sptls.alerts.posting import post
from sptls.tls.contexts import client_trust

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acme_front.reactor import SkippingReactor
    from tests.alerts.hook import Hook


def trusted(hook: Hook, directory: Path) -> object:
    """
    Trust the certificates of *hook*.
    """
    path = directory / "roots.pem"
    hook.authority.cert_pem.write_to_path(str(path))
    return client_trust(path)


def test_https_is_verified(reactor: SkippingReactor, hook: Hook, tmp_path: Path) -> None:
    """
    A certificate for the name, by a root that is trusted.
    """
    assert 200 == reactor.run_coroutine(post(reactor, hook.listen_tls(), trusted(hook, tmp_path), b"[1]"))
    assert [(b"/token", [1])] == hook.got


def test_another_root_is_refused(reactor: SkippingReactor, hook: Hook) -> None:
    """
    Nothing is sent to who can't prove the name.
    """
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the libraries' own
        reactor.run_coroutine(post(reactor, hook.listen_tls(), client_trust(None), b"[1]"))
    assert "certificate verify failed" in asking.reason(caught.value)
    assert [] == hook.got


def test_another_name_is_refused(reactor: SkippingReactor, hook: Hook, tmp_path: Path) -> None:
    """
    A trusted certificate for somebody else is none.
    """
    with pytest.raises(Exception):  # noqa: B017,PT011 - the libraries' own
        reactor.run_coroutine(post(reactor, hook.listen_tls("other.example"), trusted(hook, tmp_path), b"[1]"))
    assert [] == hook.got

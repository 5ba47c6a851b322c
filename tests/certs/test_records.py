from __future__ import annotations

import attrs

from sptls.certs.records import NO_HISTORY, NOT_DEPLOYED, AccountRecord, Deployment, History, Loaded
from tests.certs.stored import order_for


def test_account_key_is_not_shown() -> None:
    """
    The repr of an account has no key in it, so no log has.
    """
    assert "AccountRecord(url='https://ca/acct/1')" == repr(AccountRecord(b"secret", "https://ca/acct/1"))


def test_order_key_is_not_shown() -> None:
    """
    Nor has that of an order.
    """
    assert "secret" not in repr(attrs.evolve(order_for(), key=b"secret"))


def test_no_history_remembers_nothing() -> None:
    """
    A name without history has no failure and no next attempt.
    """
    assert NO_HISTORY == History(0, None, (), "", None, "")


def test_a_name_that_is_not_deployed_owes_nothing() -> None:
    """
    A name without a deployment has no files in place, and no command waits for it.
    """
    assert NOT_DEPLOYED == Deployment("", False, 0, None, "")


def test_nothing_loaded_is_empty() -> None:
    """
    A new store gives no certificates, no histories, no damage and no deployments.
    """
    loaded = Loaded()
    assert ({}, {}, (), {}) == (loaded.certificates, loaded.histories, loaded.damaged, loaded.deployments)

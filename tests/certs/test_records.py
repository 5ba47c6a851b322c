from __future__ import annotations

from sptls.certs.records import NO_HISTORY, AccountRecord, History, Loaded


def test_account_key_is_not_shown() -> None:
    """
    The repr of an account has no key in it, so no log has.
    """
    assert "AccountRecord(url='https://ca/acct/1')" == repr(AccountRecord(b"secret", "https://ca/acct/1"))


def test_no_history_remembers_nothing() -> None:
    """
    A name without history has no failure and no next attempt.
    """
    assert NO_HISTORY == History(0, None, (), "", None, "")


def test_nothing_loaded_is_empty() -> None:
    """
    A new store gives no certificates, no histories and no damage.
    """
    assert ({}, {}, ()) == (Loaded().certificates, Loaded().histories, Loaded().damaged)

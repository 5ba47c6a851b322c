from __future__ import annotations

from typing import TYPE_CHECKING

from bench.stored import fill_store
from sptls.certs.store import InlineWorker, Store
from tests.certs.stored import outcome

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ["a.example", "b.example"]


def test_store_has_a_certificate_of_each_name(tmp_path: Path) -> None:
    """
    A daemon finds there what it has stored itself elsewhere.
    """
    fill_store(tmp_path / "store.db", NAMES, "https://ca.example/directory")
    store = Store(tmp_path / "store.db", InlineWorker())
    outcome(store.open())
    loaded = outcome(store.load())
    outcome(store.close())
    assert NAMES == sorted(str(name) for name in loaded.certificates)

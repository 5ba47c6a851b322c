"""
Tests for `sptls.certs.store_contents`; what comes back of whole stores is in test_store_file.py.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from twisted.logger import capturedLogs

from sptls.certs import schema, store_contents
from sptls.certs.records import Loaded, Warned
from sptls.names import HostName

if TYPE_CHECKING:
    from pathlib import Path


def test_an_empty_store_holds_nothing(tmp_path: Path) -> None:
    """
    A first start finds no name, and no damage.
    """
    with closing(schema.connect(tmp_path / "store.db")) as connection:
        assert (Loaded(), []) == store_contents.read_all(connection)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO warning VALUES ('b.example', '0a', 'many', 1, 3)",
        "INSERT INTO renewal_information VALUES ('b.example', '0a', NULL, 2, 3, '')",
        "INSERT INTO deployment VALUES ('b.example', '0a', 'x', 0, NULL, '')",
    ],
)
def test_a_damaged_note_is_left_out_and_said(tmp_path: Path, statement: str) -> None:
    """
    Whatever it is about, the rest is loaded.
    """
    with closing(schema.connect(tmp_path / "store.db")) as connection:
        connection.execute("INSERT INTO warning VALUES ('a.example', '0a', 7, 1, 3)")
        connection.execute(statement)
        with capturedLogs() as events:
            loaded, _ = store_contents.read_all(connection)
    assert Loaded(warned={HostName("a.example"): Warned("0a", 7, True)}) == loaded
    assert ["b.example"] == [event["name"] for event in events]


def test_a_damaged_limit_is_no_loss(tmp_path: Path) -> None:
    """
    The CA says it again, if it still is one.
    """
    with closing(schema.connect(tmp_path / "store.db")) as connection:
        connection.execute("INSERT INTO ca_limit VALUES ('https://ca.example/', 'orders', 5.0)")
        connection.execute("INSERT INTO ca_limit VALUES ('https://ca.example/', 'until CA', 'x')")
        loaded, _ = store_contents.read_all(connection)
    assert {"https://ca.example/": {"orders": 5.0}} == loaded.limits

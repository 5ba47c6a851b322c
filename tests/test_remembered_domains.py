from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sptls.remembered_domains import COPY, recall, remember

FILE = Path("/srv/names.txt")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_what_was_read_is_recalled(tmp_path: Path, text: str) -> None:
    """
    To the last line's end; a later text takes the place of an earlier one.
    """
    remember(tmp_path, FILE, "earlier")
    remember(tmp_path, FILE, text)
    assert text == recall(tmp_path, FILE)


def test_another_file_s_names_are_not_recalled(tmp_path: Path) -> None:
    """
    A path with a typing error must not serve what another file had.
    """
    remember(tmp_path, FILE, "a.example\n")
    assert recall(tmp_path, Path("/srv/nams.txt")) is None


@pytest.mark.parametrize("content", [None, b"", b"\xff", b"a.example\n"])
def test_what_is_no_copy_is_nothing(tmp_path: Path, content: bytes | None) -> None:
    """
    Missing, empty or damaged.
    """
    if content is not None:
        (tmp_path / COPY).write_bytes(content)
    assert recall(tmp_path, FILE) is None


def test_copy_is_private_and_written_once(tmp_path: Path) -> None:
    """
    Customers' names are nobody else's business; what did not change is not written again.
    """
    state = tmp_path / "state"
    remember(state, FILE, "a.example\n")
    before = (state / COPY).stat()
    remember(state, FILE, "a.example\n")
    assert (0o600, before.st_ino) == (before.st_mode & 0o777, (state / COPY).stat().st_ino)

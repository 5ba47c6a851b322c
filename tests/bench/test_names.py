from __future__ import annotations

from bench.names import table

BYTES = {"1 name": 60_000_000, "100,000 names": 190_000_000}


def test_many_names_are_judged_by_the_median_ratio_to_one() -> None:
    """
    A bar that is reached exactly is met; the one name has none.
    """
    rounds = [
        {"1 name": 100.0, "100,000 names": 100.0},
        {"1 name": 200.0, "100,000 names": 220.0},
        {"1 name": 100.0, "100,000 names": 150.0},
    ]
    assert [
        "| 1 name | 100 (100-150) | 1.00 (1.00-1.00) |  | 60 |  |",
        "| 100,000 names | 150 (125-185) | 1.10 (1.05-1.30) | 1.10 | 190 | met |",
    ] == table(rounds, BYTES).splitlines()[2:]


def test_names_that_cost_more_are_a_miss() -> None:
    """
    Said where everybody looks.
    """
    assert table([{"1 name": 100.0, "100,000 names": 111.0}], BYTES).endswith("| 1.11 | 1.10 | 190 | **missed** |")

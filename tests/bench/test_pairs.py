from __future__ import annotations

from bench.pairs import Question, table

BYTES = {"1 name": 60_000_000, "100,000 names": 190_000_000}
QUESTION = Question("new connections", 1.1, lambda _: 1)


def test_the_second_is_judged_by_the_median_ratio_to_the_first() -> None:
    """
    A bar that is reached exactly is met; the first has none.
    """
    rounds = [
        {"1 name": 100.0, "100,000 names": 100.0},
        {"1 name": 200.0, "100,000 names": 220.0},
        {"1 name": 100.0, "100,000 names": 150.0},
    ]
    assert [
        "| new connections, 3 rounds | CPU µs a request | to 1 name | at most | MB | |",
        "| --- | --- | --- | --- | --- | --- |",
        "| 1 name | 100 (100-150) | 1.00 (1.00-1.00) |  | 60 |  |",
        "| 100,000 names | 150 (125-185) | 1.10 (1.05-1.30) | 1.10 | 190 | met |",
    ] == table(QUESTION, rounds, BYTES).splitlines()


def test_a_second_that_costs_more_is_a_miss() -> None:
    """
    Said where everybody looks.
    """
    rounds = [{"1 name": 100.0, "100,000 names": 111.0}]
    assert table(QUESTION, rounds, BYTES).endswith("| 1.11 | 1.10 | 190 | **missed** |")

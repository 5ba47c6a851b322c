from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.latency import Latency, Saturation, percentile, table, typical
from bench.open_loop import Clicks

HALVES = [
    {"sptls": Latency(2.0, 6.0, 30.0, 0.5), "nginx tuned": Latency(1.0, 4.0, 20.0, 0.5)},
    {"sptls": Latency(4.0, 8.0, 10.0, 0.7), "nginx tuned": Latency(3.0, 8.0, 40.0, 0.1)},
]
SATURATION = {"sptls": Saturation(800.4, 0.9), "nginx tuned": Saturation(1000.0, 0.75)}


@pytest.mark.parametrize(("percent", "expected"), [(1, 1.0), (50, 50.0), (99, 99.0), (100, 100.0)])
def test_percentile_of_a_hundred_values(percent: int, expected: float) -> None:
    """
    The p99 of 1 to 100 is 99, in whatever order they came.
    """
    assert expected == percentile([float(value) for value in range(100, 0, -1)], percent)


@given(st.lists(st.floats(0, 1e6), min_size=1), st.integers(1, 100))
def test_percentile_is_the_least_value_that_enough_stay_within(values: list[float], percent: int) -> None:
    """
    It is one of the values; with the ones below it alone there would be too few.
    """
    found = percentile(values, percent)
    assert sum(value < found for value in values) * 100 < percent * len(values)
    assert percent * len(values) <= sum(value <= found for value in values) * 100


def test_turn_is_summed_up_in_milliseconds() -> None:
    """
    One slow click of three is the longest, and no more than that in the median.
    """
    assert Latency(2.0, 500.0, 500.0, 250.0) == Latency.of(Clicks((0.001, 0.5, 0.002), (0.0, 0.25, 0.0)))


def test_saturation_is_the_median_turn() -> None:
    """
    A turn that something else slowed down, or that began warm, does not decide.
    """
    turns = [Saturation(100.0, 0.2), Saturation(900.0, 0.9), Saturation(1000.0, 0.8)]
    assert Saturation(900.0, 0.8) == typical(turns)


def test_ratio_of_p99_is_taken_within_each_round() -> None:
    """
    A line a server; the longest click is that of all rounds.
    """
    lines = table(SATURATION, HALVES).splitlines()
    assert "2 rounds" in lines[0]
    assert [
        "| **sptls** | 800 | 90% | 3.0 (2.5-3.5) | 7.0 (6.5-7.5) | 1.25 (1.12-1.38) | 30 | 0.6 (0.6-0.6) |",
        "| nginx tuned | 1000 | 75% | 2.0 (1.5-2.5) | 6.0 (5.0-7.0) | 1.00 (1.00-1.00) | 40 | 0.3 (0.2-0.4) |",
    ] == lines[2:]


def test_table_without_nginx_has_no_ratio() -> None:
    """
    `--only sptls` is a run too.
    """
    (line,) = table({"sptls": SATURATION["sptls"]}, HALVES[:1]).splitlines()[2:]
    assert "| **sptls** | 800 | 90% | 2.0 | 6.0 | - | 30 | 0.5 |" == line

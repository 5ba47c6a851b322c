from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.report import BEGIN, END, Run, bars_table, mode_table, quartiles, ratios, replaced, section

ROUNDS = [
    {"sptls": 110.0, "nginx tuned": 100.0, "Caddy": 200.0},
    {"sptls": 240.0, "nginx tuned": 200.0, "Caddy": 400.0},
    {"sptls": 390.0, "nginx tuned": 300.0, "Caddy": 300.0},
]
SERVERS = ("sptls", "nginx tuned", "Caddy")
RUN = Run(
    conditions=("a machine", "some versions"),
    negotiated=dict.fromkeys(SERVERS, "AES"),
    rounds={"cold": ROUNDS},
    resident_bytes=dict.fromkeys(SERVERS, 58_400_000),
)


def test_ratio_is_taken_within_each_round() -> None:
    """
    What slows a whole round down slows no ratio.
    """
    assert [1.1, 1.2, 1.3] == ratios(ROUNDS, "sptls", "nginx tuned")


def test_table_has_median_and_quartiles_of_both() -> None:
    """
    A line a server, costs and ratios beside each other.
    """
    lines = mode_table(RUN, "cold").splitlines()
    assert "| cold, 3 rounds | negotiated | CPU µs a request | to nginx tuned | MB |" == lines[0]
    assert "| **sptls** | AES | 240 (175-315) | 1.20 (1.15-1.25) | 58 |" == lines[2]
    assert 2 + len(SERVERS) == len(lines)


def test_table_without_the_base_has_no_ratios() -> None:
    """
    `--only sptls` is a run too.
    """
    run = Run((), {"sptls": "AES"}, {"keep": [{"sptls": 1.0}]}, {"sptls": 1})
    assert mode_table(run, "keep").endswith("| **sptls** | AES | 1 | - | 0 |")


def test_bars_are_judged_by_the_median() -> None:
    """
    A bar that is reached exactly is met; one whose peer or mode did not run isn't there.
    """
    assert [
        "| nginx tuned, cold | 1.40 | 1.20 (1.15-1.25) | met |",
        "| nginx tuned, cold | 1.20 | 1.20 (1.15-1.25) | met |",
        "| Caddy, cold | 1.00 | 0.60 (0.57-0.95) | met |",
    ] == bars_table(RUN).splitlines()[2:]
    slow = [{**costs, "Caddy": 100.0} for costs in ROUNDS]
    assert "**missed**" in bars_table(Run((), RUN.negotiated, {"cold": slow}, {}))


@given(st.lists(st.floats(0, 1e9), min_size=1))
def test_any_values_have_a_middle(values: list[float]) -> None:
    """
    From one round on.
    """
    assert float(quartiles(values, ".0f").split(" ")[0]) <= max(values) + 1


def test_only_what_is_between_the_marks_is_replaced() -> None:
    """
    Prose around the figures stays, and the next run finds the marks again.
    """
    once = replaced(f"before\n{BEGIN}\nold\n{END}\nafter\n", section(RUN))
    assert once.startswith("before\n")
    assert once.endswith("\nafter\n")
    assert "\nold\n" not in once
    assert "- a machine\n- some versions" in once
    assert once == replaced(once, section(RUN))


def test_further_tables_stand_behind_the_bars() -> None:
    """
    What other measurements found is between the marks too.
    """
    written = section(attrs.evolve(RUN, further=("| p99 |", "| names |")))
    assert written.endswith(f"{bars_table(RUN)}\n\n| p99 |\n\n| names |\n\n{END}")


@pytest.mark.parametrize("document", ["", BEGIN, END, END + BEGIN, BEGIN + BEGIN + END, BEGIN + END + END])
def test_document_without_its_marks_is_left_alone(document: str) -> None:
    """
    Nothing is lost because somebody edited the marks away.
    """
    with pytest.raises(ValueError, match="the document must have"):
        replaced(document, "figures")


def test_mode_of_two_servers_is_measured_by_the_other_base() -> None:
    """
    HTTP/2 is beside Caddy alone.
    """
    rounds = {"cold-h2": [{"sptls": 80.0, "Caddy": 100.0}]}
    run = Run((), dict.fromkeys(SERVERS, "AES"), rounds, dict.fromkeys(SERVERS, 1))
    assert "| to Caddy | MB |" in mode_table(run, "cold-h2")
    assert "| Caddy, cold-h2 | 0.85 | 0.80 | met |" == bars_table(run).splitlines()[2]

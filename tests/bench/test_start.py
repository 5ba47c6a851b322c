from __future__ import annotations

from bench.start import Run, table


def test_start_is_judged_by_its_medians() -> None:
    """
    Seconds by the clock and memory; a bar that is reached exactly is met.
    """
    runs = [Run(2.0, 1.4, 250_000_000, 260_000_000), Run(3.0, 1.5, 250_000_000, 260_000_000), Run(1.0, 1.3, 1, 1)]
    assert [
        "| 100 names, 3 starts | measured | at most | |",
        "| --- | --- | --- | --- |",
        "| from exec to the first handshake, s | 2.00 (1.50-2.50) | 2.00 | met |",
        "| of which its own CPU, s | 1.40 (1.35-1.45) |  |  |",
        "| resident then, MB | 250 (125-250) | 250 | met |",
        "| after 7 names were asked for, MB | 260 |  |  |",
        "| connections to the CA | 4 |  |  |",
    ] == table("100 names", runs, 4, 7).splitlines()


def test_slow_or_large_start_is_a_miss() -> None:
    """
    Each said in its own line.
    """
    _, _, slow, _, large, *_ = table("100 names", [Run(2.1, 1.0, 251_000_000, 1)], 0, 7).splitlines()
    assert slow.endswith("| 2.10 | 2.00 | **missed** |")
    assert large.endswith("| 251 | 250 | **missed** |")

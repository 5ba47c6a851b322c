from __future__ import annotations

from bench.idle import table


def test_idle_connection_is_judged_by_nginxs() -> None:
    """
    Twice its memory is met, more is not; others have no bar.
    """
    assert [
        "| 5,000 idle TLS connections | KB each | to nginx tuned | at most | |",
        "| --- | --- | --- | --- | --- |",
        "| **sptls** | 30.0 | 2.00 | 2.00 | met |",
        "| nginx tuned | 15.0 | 1.00 |  |  |",
        "| Caddy | 36.0 | 2.40 |  |  |",
    ] == table({"sptls": 30_000, "nginx tuned": 15_000, "Caddy": 36_000}, 5000).splitlines()
    assert (
        table({"sptls": 30_200, "nginx tuned": 15_000}, 5000).splitlines()[2].endswith("| 2.01 | 2.00 | **missed** |")
    )


def test_without_nginx_there_is_nothing_to_judge_by() -> None:
    """
    `--only sptls` is a run too.
    """
    assert table({"sptls": 30_000}, 5000).endswith("| **sptls** | 30.0 | - |  |  |")

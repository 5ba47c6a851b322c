"""
The deploy command: what the operator's program is told of new certificates, in its environment.

``SPTLS_NAMES`` are the names, ``SPTLS_DIRECTORY`` is where their files lie. How it is run is `programs`' to know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sptls import programs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from sptls.names import HostName


def environment(names: Sequence[HostName], directory: Path, inherited: Mapping[str, str]) -> dict[str, str]:
    """
    Give the environment of a command that is told that *names* have new files in *directory*.
    """
    told = {"SPTLS_NAMES": " ".join(name.text for name in names), "SPTLS_DIRECTORY": str(directory)}
    return {**programs.inherited(inherited), **told}


async def run(reactor: Any, command: Sequence[str], environment: Mapping[str, str], seconds: float) -> str:
    """
    Run *command* for *seconds* at the most, as `programs.run` does.
    """
    return await programs.run(reactor, "the deploy command", command, environment, seconds)

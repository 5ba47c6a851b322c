"""
Fail unless every core module (the list is import-linter's, in setup.cfg) is covered to its last branch.
"""

from __future__ import annotations

import configparser
import sys
from pathlib import Path

import coverage

ROOT = Path(__file__).parent.parent


def cores() -> list[Path]:
    """
    Give the files of the modules that setup.cfg lists as cores.
    """
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    names = setup["importlinter:contract:cores"]["source_modules"].split()
    return [ROOT / (name.replace(".", "/") + ".py") for name in names]


def main() -> int:
    """
    Print the report of all modules, then the cores that miss something.
    """
    measured = coverage.Coverage(data_file=str(ROOT / ".coverage"), config_file=str(ROOT / "setup.cfg"))
    measured.load()
    measured.report()
    short = []
    for path in cores():
        _, statements, _, missing, _ = measured.analysis2(str(path))
        total = measured.report(include=[str(path)], file=open("/dev/null", "w"))  # noqa: SIM115
        if total < 100 or not statements:
            short.append(f"{path.relative_to(ROOT)}: {total:.1f} %, lines {missing or 'see branches above'}")
    for line in short:
        sys.stderr.write(f"core below 100 % branch coverage: {line}\n")
    return 1 if short else 0


if __name__ == "__main__":
    sys.exit(main())

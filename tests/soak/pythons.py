"""
The Python that a promised figure is for: one that was built with profile-guided optimisation, as distributions build
theirs (a fifth faster than one without).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import attrs

ROOT = Path(__file__).parent.parent.parent
SYSTEMS = Path("/usr/bin/python3")
_INSTALL_SECONDS = 600
# Debian and Ubuntu go by make's targets for it, and not by configure's option.
_IS_OPTIMISED = """
import platform, sys, sysconfig
ids = platform.freedesktop_os_release()
is_debians = "debian" in (ids["ID"], *ids.get("ID_LIKE", "").split()) and sys.executable.startswith("/usr/bin/")
is_configured = "--enable-optimizations" in sysconfig.get_config_var("CONFIG_ARGS")
print(sys.version_info >= (3, 11) and (is_debians or is_configured))
"""


@attrs.frozen
class Python:
    """
    An interpreter with sptls: its *path*, and whether it was built with profile-guided optimisation.
    """

    path: Path
    is_optimised: bool


def quickest_python(directory: Path) -> Python:
    """
    Give the one that runs this, or the system's in a virtualenv in *directory* where only that was optimised.
    """
    own = Path(sys.executable)
    if _is_optimised(own) or not _is_optimised(SYSTEMS):
        return Python(own, _is_optimised(own))
    # The copy is built, not the checkout, which would have the build's files beside those of the editable install.
    copied = directory / "checkout"
    shutil.copytree(ROOT, copied, ignore=shutil.ignore_patterns(".*", "build", "__pycache__", "*.egg-info"))
    environment = directory / "environment"
    subprocess.run([str(SYSTEMS), "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, str(copied)], check=True, timeout=_INSTALL_SECONDS)
    return Python(python, is_optimised=True)


def _is_optimised(python: Path) -> bool:
    if not python.exists():
        return False
    told = subprocess.run([str(python), "-I", "-c", _IS_OPTIMISED], capture_output=True, text=True, check=False)
    return told.stdout.strip() == "True"

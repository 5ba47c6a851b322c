"""
The names of ``domains_file`` as they were when it was last read for serving, kept in the state directory.

That file is often another program's, on a file system that a restart may find gone: then what was served before is
served again, and the log says why. A copy counts only for the file that it was made of, so that a path with a typing
error is still told as what it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sptls.files import make_private_directory, write_private

if TYPE_CHECKING:
    from pathlib import Path

COPY: Final = "domains_file.last"


def remember(state_dir: Path, domains_file: Path, text: str) -> None:
    """
    Keep *text*, which is what is in *domains_file*; what was kept before is replaced where it differs.

    Raises:
        OSError: it can't be kept.
    """
    if recall(state_dir, domains_file) == text:
        return
    make_private_directory(state_dir)
    write_private(state_dir / COPY, f"{_heading(domains_file)}{text}".encode())


def recall(state_dir: Path, domains_file: Path) -> str | None:
    """
    Give what was in *domains_file*, or None when that is not known.
    """
    try:
        copy = (state_dir / COPY).read_bytes().decode()  # read_text would change the lines' ends
    except (OSError, UnicodeDecodeError):
        return None
    heading = _heading(domains_file)
    return copy.removeprefix(heading) if copy.startswith(heading) else None


def _heading(domains_file: Path) -> str:
    return f"# {domains_file}\n"

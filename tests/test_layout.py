"""
The tree keeps its shape: tests mirror the source, modules stay small, and what git ships says nothing of machines.
"""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "sptls").rglob("*.py"))
# interfaces.py holds contracts only; production classes and doubles are verified against them in their own tests.
UNTESTED = {"interfaces.py"}
MAX_MODULE_LINES = 450
MAX_FUNCTION_LINES = 60


def test_every_module_has_its_test_file() -> None:
    """
    ``sptls/a/b.py`` is tested by ``tests/a/test_b.py``.
    """
    missing = [
        str(source.relative_to(ROOT))
        for source in SOURCES
        if source.name not in ("__init__.py", *UNTESTED)
        and not (ROOT / "tests" / source.relative_to(ROOT / "sptls").with_name(f"test_{source.name}")).exists()
    ]
    assert [] == missing


def test_every_folder_says_what_it_is() -> None:
    """
    ``__init__.py`` holds the folder's map and no code.
    """
    assert {source.parent for source in SOURCES} == {
        source.parent for source in SOURCES if source.name == "__init__.py"
    }
    for source in SOURCES:
        if source.name == "__init__.py":
            (only,) = ast.parse(source.read_text()).body
            assert isinstance(only, ast.Expr), source


def test_modules_and_functions_stay_small() -> None:
    """
    No module over 450 lines and no function over 60.
    """
    long = []
    for source in SOURCES:
        text = source.read_text()
        if text.count("\n") > MAX_MODULE_LINES:
            long.append(str(source))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                size = node.end_lineno - node.lineno + 1
                if size > MAX_FUNCTION_LINES:
                    long.append(f"{source}:{node.lineno} {node.name} ({size})")
    assert [] == long


def test_every_test_says_what_it_shows() -> None:
    """
    Every test has a docstring.
    """
    silent = [
        f"{path}:{node.lineno} {node.name}"
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_") and not ast.get_docstring(node)
    ]
    assert [] == silent


def test_package_list_is_complete() -> None:
    """
    setup.cfg names every folder of the package, or the wheel would lack it.
    """
    listed = (ROOT / "setup.cfg").read_text()
    for source in SOURCES:
        if source.name == "__init__.py":
            package = ".".join(source.parent.relative_to(ROOT).parts)
            assert f"\n    {package}\n" in listed, package


def test_nothing_generated_is_committed() -> None:
    """
    Logs, caches, keys and pid files are not in git.
    """
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    odd = (".pyc", ".log", ".pid", ".key", ".db", ".egg-info", "dropin.cache")
    assert [] == [name for name in listed.stdout.splitlines() if name.endswith(odd)]

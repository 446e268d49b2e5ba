"""The house stays simple: sizes of files and functions, one name for one file, decisions that the code names exist.

A file may be longer where its first lines say why ("Longer than 400 lines because ..."), as tables and templates are.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import statistics
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted((ROOT / "src" / "steersman").rglob("*.py"))
NAMED = [path for path in SOURCES if path.name != "__init__.py" and "migrations" not in path.parts]
Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(path: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, Function):
            yield node


def parameters(function: Function) -> int:
    given = function.args
    return sum(a.arg not in ("self", "cls") for a in (*given.posonlyargs, *given.args, *given.kwonlyargs))


def lines(path: Path) -> int:
    return path.read_text(encoding="utf-8").count("\n")


def test_files_are_short() -> None:
    long = [p for p in NAMED if lines(p) > 400 and "Longer than 400 lines" not in p.read_text(encoding="utf-8")[:2000]]
    assert not long, f"expected a reason in the first lines of {long}"
    assert statistics.median(map(lines, NAMED)) < 160


@pytest.mark.parametrize("path", NAMED, ids=lambda p: str(p.relative_to(ROOT / "src" / "steersman")))
def test_functions_are_short_and_take_few_parameters(path: Path) -> None:
    long = {f.name: n for f in functions(path) if (n := (f.end_lineno or f.lineno) - f.lineno + 1) > 60}
    assert not long, f"expected at most 60 lines: {long}"
    if "cli" not in path.parts:
        many = {f.name: n for f in functions(path) if (n := parameters(f)) > 8}
        assert not many, f"expected at most 8 parameters: {many}"


def test_no_two_files_have_one_name() -> None:
    """But for a stage's entry in rounds/stages/, which is called as the stage is."""
    others = [p for p in NAMED if p.parent.name != "stages"]
    twice = {name for name, n in Counter(p.name for p in others).items() if n > 1}
    assert not twice


def test_decisions_are_named_and_there() -> None:
    log = (ROOT / "docs" / "LOG.md").read_text(encoding="utf-8")
    numbers = [int(n) for n in re.findall(r"^### (\d+)\. ", log, re.M)]
    assert sorted(numbers) == list(range(1, len(numbers) + 1))
    named = {
        int(n)
        for p in SOURCES + sorted((ROOT / "src").rglob("*.[ch]"))
        for found in re.findall(r"[Dd]ecisions? (\d+(?:(?:, | and )\d+)*)", p.read_text(encoding="utf-8"))
        for n in re.findall(r"\d+", found)
    }
    assert named <= set(numbers)
    assert not set(numbers) - named, f"no code names decisions {sorted(set(numbers) - named)}"


def test_scripts_import_names_that_are_there() -> None:
    folders = [ROOT / name for name in ("bench", "recipes", "deploy")]
    missing = []
    for path in sorted(file for folder in folders for file in folder.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("steersman"):
                module = importlib.import_module(str(node.module))
                parts = {info.name for info in pkgutil.iter_modules(getattr(module, "__path__", []))}
                names = [alias.name for alias in node.names]
                missing += [(path.name, node.module, n) for n in names if not hasattr(module, n) and n not in parts]
    assert not missing


def test_the_architecture_and_the_benchmarks_are_pages() -> None:
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    assert text.count("\n") <= 150
    for page in (ROOT / "docs" / "BENCHMARKS.md", *sorted((ROOT / "docs" / "benchmarks").glob("*.md"))):
        assert page.read_text(encoding="utf-8").count("\n") <= 150, f"expected at most 150 lines: {page.name}"
    readme = re.sub(r"```.*?```", "", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.S)
    assert len(readme.split()) <= 900

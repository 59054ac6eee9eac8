"""Tests that `make test` leaves to `make test-all`: each names tests that stay and would find the same fault."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
LEVELS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["testpaths"]
NODES = [
    node
    for level in LEVELS
    for path in (ROOT / level).rglob("test_*.py")
    for node in ast.walk(ast.parse(path.read_text()))
]
SLOW = "pytest.mark.slow"


def slow_marks(*nodes: ast.AST) -> Iterator[ast.Call]:
    """Yield the calls of `pytest.mark.slow(...)` in these nodes."""
    for node in nodes:
        if isinstance(node, ast.Call) and ast.unparse(node.func) == SLOW:
            yield node


def test_each_slow_test_names_one_that_stays() -> None:
    # Catches: the only test of a promise, moved out of `make test`
    functions = [node for node in NODES if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    aliases = {
        ast.unparse(node.targets[0]) for node in NODES if isinstance(node, ast.Assign) and SLOW in ast.unparse(node)
    }
    staying = {
        node.name
        for node in functions
        if not any((shown := ast.unparse(mark)).startswith(SLOW) or shown in aliases for mark in node.decorator_list)
    }
    named = [[ast.literal_eval(argument) for argument in mark.args] for mark in slow_marks(*NODES)]
    assert named
    assert all(names and set(names) <= staying for names in named), named


def test_no_slow_mark_is_without_names() -> None:
    called = {id(mark.func) for mark in slow_marks(*NODES)}
    bare = [node for node in NODES if isinstance(node, ast.Attribute) and ast.unparse(node) == SLOW]
    assert all(id(node) in called for node in bare)


def test_files_of_tests_have_different_names() -> None:
    # Catches: two that pytest takes for one module, so that a run of all levels ends before its first test
    names = [path.name for level in LEVELS for path in (ROOT / level).rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))

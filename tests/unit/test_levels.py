"""What `make test` leaves to `make test-all`: only tests whose fault another one, which stays, would see."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
NODES = [node for path in TESTS.rglob("test_*.py") for node in ast.walk(ast.parse(path.read_text()))]


def slow_marks(*nodes: ast.AST) -> Iterator[ast.Call]:
    """The `pytest.mark.slow(...)` in these nodes."""
    for node in nodes:
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.slow":
            yield node


def test_each_slow_test_names_one_that_stays() -> None:
    # Catches: the last test of a promise, moved out of sight
    functions = {node.name: node for node in NODES if isinstance(node, ast.FunctionDef)}
    staying = {name for name, node in functions.items() if not list(slow_marks(*node.decorator_list))}
    named = [[ast.literal_eval(argument) for argument in mark.args] for mark in slow_marks(*NODES)]
    assert named
    assert all(names and set(names) <= staying for names in named), named

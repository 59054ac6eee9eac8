"""Limits on the size of the product's folders and modules, so that a newcomer can take them in."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODULES = [path for room in ("charrnn", "producer", "worker") for path in (ROOT / room).rglob("*.py")]
CLIENT = ROOT / "charrnn" / "jobs" / "client.py"


def test_no_folder_has_more_than_13_modules() -> None:
    counts = Counter(path.parent for path in MODULES)
    assert {folder: count for folder, count in counts.items() if count > 13} == {}


def test_no_module_has_more_than_350_lines() -> None:
    lengths = {path: path.read_text().count("\n") for path in MODULES}
    assert {path: length for path, length in lengths.items() if length > 350} == {}


def test_the_client_only_delegates() -> None:
    (client,) = [node for node in ast.parse(CLIENT.read_text()).body if isinstance(node, ast.ClassDef)]
    assert (client.end_lineno or 0) - client.lineno < 250

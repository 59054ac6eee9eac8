"""Imports of fresh interpreters stay light. import-linter checks which package may import which: see pyproject.toml."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in (ROOT / "producer" / "commands").glob("[!_]*.py"))
COMMANDS_DO_WITHOUT = {"celery", "keras", "numpy", "redis", "sqlalchemy", "tensorflow"}  # not needed for the help texts

LISTS_DO_WITHOUT = {"charrnn.jobs.files.files", "charrnn.jobs.rows.rows", "sqlalchemy.dialects.postgresql"}


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("charrnn", {"keras", "numpy", "tensorflow"}),
        ("charrnn.jobs.client", {"keras", "numpy", "tensorflow", *LISTS_DO_WITHOUT}),
        ("producer.cli", {"keras", "numpy", "tensorflow"}),
        ("producer.completion.answer", {*COMMANDS_DO_WITHOUT, "psycopg", "rich", "typer"}),
        ("producer.completion.names", {*COMMANDS_DO_WITHOUT, "psycopg", "rich", "typer"}),
        ("worker.__main__", {"keras", "numpy", "tensorflow"}),
        *((f"producer.commands.{name}", COMMANDS_DO_WITHOUT) for name in NAMES),
    ],
)
def test_importing_loads_nothing_heavy(module: str, heavy: set[str]) -> None:
    code = f"import {module}, sys; print(sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"

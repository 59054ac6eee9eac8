"""The rooms of the house: who may import whom, checked in fresh interpreters and in the sources."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PURE = {
    "errors",
    "folder",
    "openings",
    "options",
    "overlap",
    "release",
    "shapes",
    "split",
    "text",
    "vocabulary",
}  # at most NumPy


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("charrnn", {"keras", "numpy", "tensorflow"}),
        ("charrnn.jobs.client", {"keras", "tensorflow"}),
        ("producer.cli", {"keras", "numpy", "tensorflow"}),
        ("worker.__main__", {"keras", "numpy", "tensorflow"}),
    ],
)
def test_importing_loads_nothing_heavy(module: str, heavy: set[str]) -> None:
    code = f"import {module}, sys; print(sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def imports(package: str) -> dict[str, set[str]]:
    """File → modules it imports, of one package, at any depth of the code."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / package).rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        for node in nodes:
            if isinstance(node, ast.ImportFrom) and node.module:
                names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        found[str(path.relative_to(ROOT))] = names
    return found


def imported_from(package: str, prefix: str) -> set[str]:
    every = {name for names in imports(package).values() for name in names}
    return {name for name in every if name == prefix or name.startswith(prefix + ".")}


def test_nobody_imports_producer_or_worker() -> None:
    assert not imported_from("charrnn", "producer") | imported_from("charrnn", "worker")
    assert not imported_from("producer", "worker") | imported_from("worker", "producer")


def test_the_producer_sees_the_contract_and_the_pure_modules_alone() -> None:
    allowed = {"charrnn.jobs"} | {f"charrnn.{name}" for name in PURE}
    seen = imported_from("producer", "charrnn")
    assert {name for name in seen if ".".join(name.split(".")[:2]) not in allowed} == set()
    assert not imported_from("producer", "sqlalchemy")


def test_the_contract_sees_only_the_pure_modules_of_the_library() -> None:
    seen = {".".join(name.split(".")[:2]) for name in imported_from("charrnn/jobs", "charrnn")}
    assert seen - {"charrnn"} <= {"charrnn.jobs"} | {f"charrnn.{name}" for name in PURE}


def test_the_library_knows_nothing_of_jobs() -> None:
    library = {file: names for file, names in imports("charrnn").items() if not file.startswith("charrnn/jobs")}
    for file, names in library.items():
        roots = {name.split(".")[0] for name in names}
        assert not roots & {"celery", "redis", "sqlalchemy", "typer"}, file
        assert not {name for name in names if name.startswith("charrnn.jobs")}, file


def test_one_file_names_tensorflow() -> None:
    every = imports("charrnn") | imports("producer") | imports("worker")
    assert {file for file, names in every.items() if "tensorflow" in names} == {"charrnn/backend.py"}

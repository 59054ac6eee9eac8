"""The notebook runs, and the documents say what the commands do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from charrnn.jobs import programs
from charrnn.jobs.settings import Settings
from charrnn.jobs.sources import PREFIX
from producer.cli import COMMANDS, EPILOG, load
from tests.fixtures.processes import Home

ROOT = Path(__file__).parents[2]
REFERENCE = (ROOT / "docs" / "commands.md").read_text()
SETTINGS = (ROOT / "docs" / "settings.md").read_text()
README = (ROOT / "README.md").read_text()


def test_the_notebook_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = json.loads((ROOT / "examples" / "char_rnn.ipynb").read_text())["cells"]
    codes = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for code in codes:
        exec(
            compile(
                code.replace("UNITS, EPOCHS = 128, 1", "UNITS, EPOCHS = 24, 1").replace(
                    "sorted(topics)", "sorted(topics)[:30]"
                ),
                "notebook",
                "exec",
            ),
            names,
        )
    assert [len(sample.text) for sample in names["samples"]] == [120] * 6
    assert (tmp_path / "topics-model" / "model.safetensors").exists()


def test_documented_commands_are_the_commands() -> None:
    table = REFERENCE[: REFERENCE.index("## Exit codes")]
    documented = set(re.findall(r"`([a-z ]*[a-z])", first_columns(table)))
    assert documented == set(command_names())


def command_names() -> Iterator[str]:
    """Return all commands, including those of groups and groups that are commands themselves."""
    for name, command in ((name, load(name)) for name in COMMANDS):
        if not isinstance(command, typer.core.TyperGroup):
            yield name
        else:
            yield from [name] if command.invoke_without_command else []
            yield from (f"{name} {verb}" for verb in command.commands)


def first_columns(table: str) -> str:
    return "\n".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))


def test_documented_exit_codes_are_those_of_the_help(home: Home) -> None:
    documented = re.findall(r"^\| (\d+) \|", REFERENCE, re.MULTILINE)
    assert documented == re.findall(r"(?:^|[:;] )(\d+) ", EPILOG)
    codes = [programs.JOB_FAILED, programs.BAD_INPUT, programs.NOT_FOUND]
    codes += [programs.UNREACHABLE, programs.NOT_FINISHED, programs.INTERRUPTED, programs.TERMINATED]
    assert documented == ["0", *map(str, codes)]


def test_every_setting_is_documented_with_its_default() -> None:
    for name in Settings.names():
        field = Settings.__dataclass_fields__[name]
        assert f"`{PREFIX}{name.upper()}`" in SETTINGS
        if name.endswith("_s"):
            assert re.search(rf"`{PREFIX}{name.upper()}`.*\| {field.default:g} \|", SETTINGS)


def test_the_readme_names_existing_options(home: Home) -> None:
    lines = re.findall(r"^(?:\$ )?charrnn-jobs ([^\n#]*)", README, re.MULTILINE)
    assert {line.split()[0] for line in lines} >= {"up", "train", "submit", "results"}
    for command, *words in map(str.split, lines):
        said = home.ok(command, "--help")
        assert [word for word in words if re.match(r"--?[a-z]", word) and word not in said] == []

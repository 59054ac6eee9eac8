"""The whole help of every command at 80 and 120 columns is that of tests/data/output/help."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from producer.cli import COMMANDS, load
from tests.fixtures.desk import FOLDER, Desk, check, golden

HELP = FOLDER / "help"


def names() -> Iterator[str]:
    """Yield each command, and each one of a group."""
    for name in COMMANDS:
        yield name
        for verb in getattr(load(name), "commands", {}):
            yield f"{name} {verb}"


@pytest.mark.parametrize("command", list(names()))
def test_the_help_of_a_command(desk: Desk, command: str, request: pytest.FixtureRequest) -> None:
    words = [*command.split(), "--help"]
    shown = {f"{columns} columns": desk.in_pipe(words, COLUMNS=str(columns)) for columns in (80, 120)}
    for name, text in shown.items():
        longest = max(map(len, text.splitlines()))
        assert longest <= int(name.split()[0])  # Catches: a word or an example that no terminal of this width holds
    sections = "".join(f"## {name}\n\n{text}\n" for name, text in shown.items())
    check(golden(command, HELP), f"$ charrnn-jobs {command} --help\n\n{sections}", request)


def test_every_file_belongs_to_a_command() -> None:
    assert sorted(path.stem for path in HELP.iterdir()) == sorted(name.replace(" ", "-") for name in names())

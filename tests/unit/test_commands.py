"""The table of commands and the commands themselves."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import typer

import producer.commands
from producer.cli import COMMANDS, load

NAMES = sorted(path.stem for path in Path(producer.commands.__file__ or "").parent.glob("[!_]*.py"))


def test_the_table_has_every_command() -> None:
    # Catches: a command that nobody can call
    modules = [import_module(f"producer.commands.{name}") for name in NAMES]
    assert {command for module in modules for command in typer.main.get_group(module.app).commands} == set(COMMANDS)


def test_the_table_says_of_each_what_its_own_help_says() -> None:
    # Catches: a help text that was changed in one of its two places
    for name, (_, help_line) in COMMANDS.items():
        command = load(name)
        assert (command.name, command.help) == (name, help_line)

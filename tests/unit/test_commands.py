"""The table of commands and the commands themselves."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest
import typer
from typer.testing import CliRunner

import producer.commands
from producer.cli import COMMANDS, app, load, with_dashes
from producer.completion.answer import WORDS
from producer.completion.words import words
from producer.examples import EXAMPLES

ROOT = Path(__file__).parents[2]
NAMES = sorted(path.stem for path in Path(producer.commands.__file__ or "").parent.glob("[!_]*.py"))


def commands() -> list[str]:
    """Return the names of all commands: groups, and the commands in them."""
    verbs = {name: getattr(load(name), "commands", {}) for name in COMMANDS}
    return [*COMMANDS, *(f"{name} {verb}" for name in verbs for verb in verbs[name])]


def test_the_table_has_every_command() -> None:
    # Catches: a command that nobody can call
    modules = [import_module(f"producer.commands.{name}") for name in NAMES]
    assert {command for module in modules for command in typer.main.get_group(module.app).commands} == set(COMMANDS)


def test_the_command_table_matches_each_help() -> None:
    # Catches: a help text that was changed in one of its two places
    for name, (_, _, help_line) in COMMANDS.items():
        command = load(name)
        assert (command.name, command.help) == (name, help_line)


def test_the_reference_matches_the_commands() -> None:
    # Catches: an option that was added or reworded without `make docs`
    written = subprocess.run(
        [sys.executable, "-m", "producer.docs.reference"], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    assert (ROOT / "docs" / "reference.md").read_text() == written


def test_the_words_for_completion_match_the_commands() -> None:
    # Catches: an option that shells do not offer, because nobody ran `make docs`
    assert json.loads(WORDS.read_text()) == words()


@pytest.mark.parametrize("name", commands())
def test_every_option_has_a_help_that_starts_with_a_capital_and_a_word_for_its_value(name: str) -> None:
    # Catches: `<list[str]>` and `[1<=x<=2147483647]` in the help
    first, _, verb = name.partition(" ")
    command = load(first).commands[verb] if verb else load(first)
    for parameter in command.params:
        assert parameter.help[0].isupper() or parameter.name == "command", parameter.name
        choices = get_args(parameter.type_descriptor.annotation)
        assert parameter.metavar is not None or choices, parameter.name
        assert (parameter.min, parameter.max) == (None, None), parameter.name


def test_every_command_has_examples() -> None:
    assert set(EXAMPLES) == set(commands())


@pytest.mark.parametrize(
    ("words", "hinted"), [(("md", "---"), True), (("md", "-Hello"), True), (("md", "--temprature", "1"), False)]
)
def test_a_seed_that_begins_with_a_dash_is_explained(words: tuple[str, ...], hinted: bool) -> None:
    done = CliRunner().invoke(app, ["sample", *words])
    said = " ".join(done.output.replace("│", " ").split())
    assert (done.exit_code, "No such option" in said) == (2, True)
    assert ("A seed that begins with - stands behind --: charrnn-jobs sample MODEL -- SEED" in said) == hinted


def test_messages_of_the_library_name_the_options_of_the_command() -> None:
    for command, message, shown in (
        ("submit", "top_k must be a whole number", "--top-k must be a whole number"),
        ("submit", "Use `unknown` drop", "Use --unknown drop"),
        ("results", "`where` 't' has no '='", "--where 't' has no '='"),
        ("schedules", "catch_up must be one of", "--catch-up must be one of"),
        ("train", "seeds.jsonl: line 1: top_k must be", "seeds.jsonl: line 1: top_k must be"),
    ):
        assert with_dashes(message, load(command)) == shown

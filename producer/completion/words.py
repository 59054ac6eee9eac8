"""The file words.json, written from the commands themselves: what may follow each of them. `make docs` writes it."""

from __future__ import annotations

import json
import sys
from typing import Any, get_args

from charrnn.jobs.programs import DEVICES
from producer.cli import COMMANDS, app, load
from producer.commands.schedules import SCHEDULED
from producer.completion.answer import FILES, Table

KINDS: dict[str, str | list[str]] = {
    "JOB": "jobs",
    "MODEL": "references",
    "A": "references",
    "B": "references",
    "ALIAS": "aliases",
    "FILE": FILES,
    "PATH": FILES,
    "DEVICES": [DEVICES, "cpu", "gpu"],
    "QUEUES": ["train", "generate", "train,generate"],
    "FORMAT": ["text", "json"],
}
"""The kind of words that a metavariable stands for."""


def main() -> None:
    json.dump(words(), sys.stdout, indent=1)
    sys.stdout.write("\n")


def words() -> Table:
    """Return the options and arguments of each command."""
    import typer

    table: Table = {"": {"options": _options("", typer.main.get_command(app)), "words": list(COMMANDS)}}
    for name in COMMANDS:
        command = load(name)
        table[name] = _command(name, command)
        for verb, subcommand in getattr(command, "commands", {}).items():
            table[f"{name} {verb}"] = _command(f"{name} {verb}", subcommand)
    table["schedules add"]["scheduled"] = list(SCHEDULED)
    return table


def _command(name: str, command: Any) -> dict[str, Any]:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    found: dict[str, Any] = {"options": _options(name, command)}
    if verbs := getattr(command, "commands", {}):
        return found | {"words": list(verbs)}
    repeats = any(argument.nargs == -1 for argument in arguments)
    return found | {"arguments": [_kind(name, argument) for argument in arguments], "repeats": repeats}


def _options(name: str, command: Any) -> dict[str, Any]:
    """Return the options of a command, each with the kind of its value, or None if it takes none."""
    options = [each for each in command.params if each.param_type_name == "option"]
    found = {
        word: None if option.is_flag else _kind(name, option)
        for option in options
        for word in (*option.opts, *option.secondary_opts)
    }
    return found | {"--help": None}


def _kind(name: str, parameter: Any) -> str | list[str]:
    """Return the kind of a parameter's words, "" if they can be anything, or all of them."""
    if parameter.metavar is None:
        return list(get_args(parameter.type_descriptor.annotation))
    word = parameter.metavar.strip("[].")
    if word == "TEXT" and "--label" in parameter.opts:
        return "labels"
    if "--user" in parameter.opts:
        return "users"
    if word == "NAME" and parameter.param_type_name == "argument":
        return {"schedules add": ""}.get(name, "schedules" if name.startswith("schedules") else "models")
    return KINDS.get(word, "")


if __name__ == "__main__":
    main()

"""The page docs/reference.md, written from the commands themselves: `make docs`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any, get_args

from producer.cli import COMMANDS, load, usage
from producer.examples import EXAMPLES

HEAD = """\
# Command reference

Every command with its arguments, options and examples, as `charrnn-jobs COMMAND --help` shows them.
[commands.md](commands.md) explains training, seeds and exit codes.
This page is generated: `make docs`.
"""
DEFAULT = re.compile(r" \\\[default: (.*)\]$")


def main() -> None:
    sys.stdout.write("\n".join([HEAD, *page()]))


def page() -> Iterator[str]:
    """Yield the lines of all commands, panel by panel."""
    panel = ""
    for name, (_, own_panel, _) in COMMANDS.items():
        if own_panel != panel:
            panel = own_panel
            yield from (f"## {panel}", "")
        command = load(name)
        yield from section(name, command)
        for verb, subcommand in getattr(command, "commands", {}).items():
            yield from section(f"{name} {verb}", subcommand)


def section(name: str, command: Any) -> Iterator[str]:
    """Yield the lines of one command."""
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    options = [parameter for parameter in command.params if parameter.param_type_name == "option"]
    yield from (
        f"### {name}",
        "",
        command.help,
        "",
        "```",
        " ".join(["charrnn-jobs", name, *usage(command)]),
        "```",
        "",
    )
    rows = [
        *(f"| `{argument.metavar}` | {cells(argument.help)} |" for argument in arguments),
        *map(option_row, options),
    ]
    if rows:
        yield from ("| argument or option | meaning | default |", "| --- | --- | --- |", *rows, "")
    yield from ("```", *(f"$ {example}" for example in EXAMPLES[name]), "```", "")


def option_row(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in sorted([*option.opts, *option.secondary_opts], key=len))
    choices = get_args(option.type_descriptor.annotation)
    value = "\\|".join(choices) if option.metavar is None else option.metavar
    return f"| {names}{f' `{value}`' if value else ''} | {cells(option.help)} |"


def cells(text: str) -> str:
    """Return the meaning and the default of a help text, as two cells of a table."""
    found = DEFAULT.search(text)
    meaning = DEFAULT.sub("", text).replace("|", "\\|")
    return f"{meaning} | {found[1] if found else ''}"


if __name__ == "__main__":
    main()

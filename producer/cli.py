"""`charrnn-jobs`: the table of all commands, and what holds for each of them.

A command's module is imported when that command is called, so that the table is shown at once.
"""

from __future__ import annotations

import logging
import signal
import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from charrnn.errors import CharrnnError
from charrnn.jobs.programs import TERMINATED, exit_code
from charrnn.release import release
from producer.output import console

EPILOG = (
    "Exit codes: 0 done; 1 the job failed, was cancelled or has failed rows; 2 usage or input; "
    "3 no such job or model; 4 broker or store unreachable; 5 not finished (timeout, or results of a "
    "running job); 130 Ctrl-C; 143 SIGTERM."
)

# The module in producer.commands whose `app` has the command, and the command's own first line of help.
COMMANDS = {
    "up": ("up", "Run a broker and a worker here, until Ctrl-C."),
    "train": ("train", "Train a new version of a model on text files."),
    "submit": ("submit", "Sample a model from many seeds at once. Prints the job's id."),
    "wait": ("jobs", "Follow a job until it has ended."),
    "status": ("jobs", "Show a job: how far it is, why it waits, how it went."),
    "jobs": ("jobs", "List jobs, newest first."),
    "results": ("results", "Read a job's rows, in order: JSON Lines, or the first 20 for people on a terminal."),
    "cancel": ("jobs", "End a job. Rows that are done stay readable."),
    "retry": ("jobs", "Do again what failed or was cancelled; a training goes on from its last checkpoint."),
    "delete": ("jobs", "Delete an ended job and its results, for good."),
    "prune": ("jobs", "Delete old jobs and their results, but no training that a version came from."),
    "worker": ("worker", "Do the work of jobs: one process for each device, until SIGTERM or Ctrl-C."),
    "scheduler": (
        "worker",
        "Do nothing but maintenance: give dead workers' parts back, ring lost doorbells, submit what is scheduled.",
    ),
    "doctor": ("doctor", "Look at broker, store, files and workers, and say what is wrong."),
    "models": ("models", "List models and their versions; choose the one in use."),
    "schedules": ("schedules", "Train or sample at set times."),
    "store": ("store", "The store itself."),
}


class Commands(TyperGroup):
    """All commands, of which only the one that is called is imported."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, (_, help_line) in COMMANDS.items():
            self.add_command(TyperCommand(name, help=help_line))  # for the list; `load` has the command itself

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, _, rest = super().resolve_command(ctx, args)
        return name, load(name) if name else None, rest


def load(name: str) -> Any:
    """Return the Click command, or group of commands, of this name."""
    module, _ = COMMANDS[name]
    return typer.main.get_group(import_module(f"producer.commands.{module}").app).commands[name]


app = typer.Typer(
    cls=Commands,
    help="Train character-level language models and sample them in bulk, on a fleet of workers.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Run a command: every expected error is one message and an exit code."""
    logging.basicConfig(format="%(levelname)s: %(message)s")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # `timeout` leaves no half a file
    try:
        app(prog_name="charrnn-jobs")
    except CharrnnError as error:
        console.fail(str(error))
        sys.exit(exit_code(error))


def _print_release(wanted: bool) -> None:
    if wanted:
        console.value(release())
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the release.", callback=_print_release, is_eager=True)
    ] = False,
) -> None:
    """What stands before the command."""

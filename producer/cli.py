"""The program `charrnn-jobs`: the table of its commands, and the error handling that they share.

A command's module is imported when that command is called, so the table appears at once.
"""

from __future__ import annotations

import errno
import logging
import re
import signal
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Annotated, Any

import typer
from rich.markup import escape
from typer._click.exceptions import NoSuchOption
from typer.core import TyperCommand, TyperGroup

from charrnn.errors import CharrnnError
from charrnn.jobs import streams
from charrnn.jobs.programs import BAD_INPUT, INTERRUPTED, TERMINATED, exit_code
from charrnn.release import release
from producer.examples import EXAMPLES
from producer.output import console

EPILOG = (
    "Exit codes: 0 done; 1 the job failed, was cancelled or has failed rows; 2 wrong usage or input; "
    "3 no such job or model; 4 broker, database or files unavailable; 5 not finished (timeout, or results of a "
    "running job); 130 Ctrl-C; 143 SIGTERM."
)

OUTPUT_ERRORS = (errno.EBADF, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC)  # closed, full, or a lost terminal

START, GENERATE, INSPECT, MAINTAIN, OPERATE = "Start", "Generate", "Inspect", "Maintain", "Operate"

# The module in producer.commands whose `app` has the command, its panel in the list, and its first line of help.
COMMANDS = {
    "up": ("run", START, "Start a broker, a worker and the web interface on this machine. Stops at Ctrl-C."),
    "train": ("train", START, "Train a new version of a model on text files."),
    "sample": ("sample", GENERATE, "Generate a few texts and show them, ahead of waiting jobs. The job is deleted."),
    "submit": ("submit", GENERATE, "Generate texts from seeds. Prints the job's id."),
    "wait": ("jobs", GENERATE, "Follow a job until it ends."),
    "results": ("results", GENERATE, "Export the rows of a job in order. On a terminal, show 20 of them."),
    "schedules": ("schedules", GENERATE, "List and manage schedules: training and generation at set times."),
    "status": ("jobs", INSPECT, "Show a job: progress, why it waits, results and report."),
    "jobs": ("jobs", INSPECT, "List jobs, newest first."),
    "events": (
        "jobs",
        INSPECT,
        "Show who did what to jobs, models and schedules, and failed attempts, newest first.",
    ),
    "models": (
        "models",
        INSPECT,
        "List and manage model versions.",
    ),
    "web": ("web", INSPECT, "Serve a web interface with jobs, texts, models, schedules and workers. Stops at Ctrl-C."),
    "report": ("web", INSPECT, "Write a report of a job: one HTML file with its figures, losses and texts."),
    "doctor": ("doctor", INSPECT, "Check broker, store, files and workers, and say how to fix what is wrong."),
    "config": ("config", INSPECT, "Show every setting, its value and where it comes from. Passwords are hidden."),
    "cancel": ("jobs", MAINTAIN, "Cancel a job. Finished rows stay readable."),
    "retry": (
        "jobs",
        MAINTAIN,
        "Run the failed or cancelled parts of a job again. A training job resumes from its last checkpoint.",
    ),
    "delete": ("jobs", MAINTAIN, "Delete an ended job and its results permanently."),
    "prune": ("jobs", MAINTAIN, "Delete old jobs and their results. Training jobs that made a version are kept."),
    "store": ("store", MAINTAIN, "Maintain, check and restore the database and its files."),
    "worker": ("run", OPERATE, "Start a worker: one process per device. Stops gracefully at SIGTERM or Ctrl-C."),
    "scheduler": (
        "run",
        OPERATE,
        "Run schedules and maintenance, but no jobs. Every worker does both as well.",
    ),
}


# Commands of other tools, and the ones here that do the same.
ELSEWHERE = {
    "generate": "sample for a few texts, submit for many",
    "list": "jobs, models or schedules",
    "logs": "status JOB; the logs of workers are on their own standard error",
    "ls": "jobs, models or schedules",
    "ps": "jobs --state running",
    "rm": "delete JOB, models delete or schedules remove",
    "run": "train, sample or submit",
    "show": "status JOB, models show or schedules show",
    "watch": "wait JOB",
}


class Commands(TyperGroup):
    """All commands, of which only the one that is called is imported."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, (_, panel, help_line) in COMMANDS.items():
            # Only for the list: `load` returns the command itself.
            self.add_command(TyperCommand(name, help=help_line, rich_help_panel=panel))

    def get_params(self, ctx: Any) -> list[Any]:
        return _plain_params(super().get_params, ctx)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] in ELSEWHERE:
            ctx.fail(f"No such command {args[0]!r}. Use {ELSEWHERE[args[0]]}")
        name, _, rest = super().resolve_command(ctx, args)
        return name, load(name) if name else None, rest

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")  # how Pydantic, which reads choices, begins
            raise
        except NoSuchOption as error:  # or a seed, such as "---"
            if error.ctx and error.ctx.command.name == "sample" and not error.possibilities:
                error.message += ". A seed that begins with - stands behind --: charrnn-jobs sample MODEL -- SEED"
            raise


def load(name: str) -> Any:
    """Return the Click command, or group of commands, with this name, and its examples below its help."""
    module, *_ = COMMANDS[name]
    command = typer.main.get_group(import_module(f"producer.commands.{module}").app).commands[name]
    command.epilog = epilog(name)
    subcommands = getattr(command, "commands", {})
    for verb, subcommand in subcommands.items():
        subcommand.epilog = epilog(f"{name} {verb}")
    for each in [command, *subcommands.values()]:
        _plain_usage(each)
    return command


def usage(command: Any) -> list[str]:
    """Return the words after a command's name in its usage line, such as NAME PATH... [OPTIONS]."""
    arguments = [each.metavar for each in command.params if each.param_type_name == "argument"]
    options = ["[OPTIONS]"] * any(each.param_type_name == "option" for each in command.params)
    behind = [argument for argument in arguments if argument.startswith(("--", "[--"))]  # -- ends the options
    return [*(argument for argument in arguments if argument not in behind), *options, *behind]


def _plain_usage(command: Any) -> None:
    """Show arguments as in `usage`. Typer would write {NAME} {PATH...}..., and the type of each in Python's words."""
    if not hasattr(command, "commands"):
        command.collect_usage_pieces = lambda _: usage(command)
    command.get_params = partial(_plain_params, command.get_params)


def _plain_params(get_params: Callable[[Any], list[Any]], context: Any) -> list[Any]:
    """Return the parameters of a command, without the types of those that take no value or are arguments."""
    params = get_params(context)
    for each in params:
        if each.param_type_name == "argument" or each.is_flag:
            each.display_type_rich = lambda **_: ""
    return params


def epilog(name: str) -> str:
    """Return a command's examples as Typer takes them: an empty line ends a line."""
    lines = [f"[dim]$[/dim] {escape(line)}" for line in EXAMPLES[name]]
    return "\n\n".join(["[bold]Examples[/bold]", *lines])


app = typer.Typer(
    cls=Commands,
    help="Train character-level language models on your own text and generate texts in bulk.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def with_dashes(message: str, *called: Any) -> str:
    """Return a message of the library with its parameters named as the options of commands: `start` as --from.

    Parameters begin a message that is about one of them, and stand in backticks elsewhere.
    """
    commands = [each for command in called for each in (command, *getattr(command, "commands", {}).values())]
    options = {
        name: option
        for each in commands
        for param in each.params
        for option in param.opts
        if option.startswith("--")
        for name in (param.name, option[2:].replace("-", "_"))
    }
    words = "|".join(name.replace("_", "[-_]") for name in options) or "(?!)"
    named = rf"`({words})`|^({words})(?= (?:must|requires|applies|cannot)\b)"
    return re.sub(named, lambda found: options[(found[1] or found[2]).replace("-", "_")], message)


def main() -> None:
    """Run a command: every expected error is one message and an exit code."""
    streams.prepare()
    logging.basicConfig(handlers=[console.Notes(_named)])
    code = INTERRUPTED

    def terminate(*_: object) -> None:
        nonlocal code
        code = TERMINATED
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, terminate)  # like Ctrl-C: `timeout` leaves no half a file
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        _run()
    except KeyboardInterrupt:  # while an error was shown
        sys.exit(code)
    except SystemExit as end:
        sys.exit(code if end.code == INTERRUPTED else end.code)


def _run() -> None:
    try:
        app(prog_name="charrnn-jobs")
    except CharrnnError as error:
        console.fail(_named(str(error)))
        sys.exit(exit_code(error))
    except OSError as error:  # commands report those of files, sockets and databases
        place = error.filename or ("Standard output" if error.errno in OUTPUT_ERRORS else "A file or connection")
        console.fail(f"{place} cannot be used: {error.strerror or error}")
        streams.discard_output()
        sys.exit(BAD_INPUT)


def _named(message: str) -> str:
    """Return a message with the options of the command that was called, and of those that a schedule is to run."""
    return with_dashes(message, *(load(word) for word in sys.argv[1:] if word in COMMANDS))


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
    """Options before the command."""

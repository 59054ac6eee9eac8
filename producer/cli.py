"""`charrnn-jobs`: all commands, and those that run something.

Heavy modules are imported by the commands that need them, so that `--help` answers at once. No SQL
and no broker in this package: commands parse, call the client, and print.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import Annotated

import typer

from charrnn.errors import CharrnnError
from charrnn.release import MODULE
from producer.commands import jobs as reading
from producer.commands import keeping, models, schedules, submission
from producer.options import EXIT_CODES, TERMINATED, UNREACHABLE, JsonOption, open_client

EPILOG = (
    "Exit codes: 0 done; 1 the job failed, was cancelled or has failed rows; 2 usage or input; "
    "3 no such job or model; 4 broker or store unreachable; 5 not finished (timeout, or results of a "
    "running job); 130 Ctrl-C; 143 SIGTERM."
)

app = typer.Typer(
    help="Train character-level language models and sample them in bulk, on a fleet of workers.",
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

DevicesOption = Annotated[str, typer.Option("--devices", help="auto, cpu, gpu, or GPU ids such as 0,1.")]
LogFormatOption = Annotated[str, typer.Option("--log-format", help="text for people, or json, an object a line.")]
QueuesOption = Annotated[str, typer.Option("--queues", help="Out of train and generate.")]


def main() -> None:
    """The entry point: every expected error is one message and an exit code."""
    logging.basicConfig(format="%(levelname)s: %(message)s")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))  # `timeout` leaves no half a file
    try:
        app(prog_name="charrnn-jobs")
    except CharrnnError as error:
        from producer.output import console

        console.fail(str(error))
        sys.exit(next(code for kind, code in EXIT_CODES if isinstance(error, kind)))


def _print_release(wanted: bool) -> None:
    from charrnn.release import release
    from producer.output import console

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


@app.command()
def up(devices: DevicesOption = "auto", queues: QueuesOption = "train,generate") -> None:
    """Run a broker and a worker here, until Ctrl-C."""
    from charrnn.jobs.settings import Settings
    from producer.local import run_stack

    arguments = ["--devices", devices, "--queues", queues]
    raise typer.Exit(run_stack(Settings.from_env(os.environ), arguments))


COMMANDS: tuple[Callable[..., None], ...] = (
    submission.train,
    submission.submit,
    reading.wait,
    reading.status,
    reading.jobs,
    reading.results,
    keeping.cancel,
    keeping.retry,
    keeping.delete,
    keeping.prune,
)
for command in COMMANDS:
    app.command()(command)
app.add_typer(models.models, name="models")
app.add_typer(schedules.schedules, name="schedules")
app.add_typer(keeping.store, name="store")


@app.command()
def worker(
    devices: DevicesOption = "auto",
    queues: QueuesOption = "train,generate",
    log_format: LogFormatOption = "text",
    check_health: Annotated[
        bool, typer.Option("--check-health", help="See whether the workers of this host hang, and start none.")
    ] = False,
) -> None:
    """Do the work of jobs: one process for each device, until SIGTERM or Ctrl-C."""
    if check_health:
        from charrnn.jobs.settings import Settings
        from charrnn.jobs.upkeep import health

        health.check(Settings.from_env(os.environ))
    else:
        options = ["--devices", devices, "--queues", queues, "--log-format", log_format]
        os.execv(sys.executable, [*MODULE, "worker", *options])


@app.command()
def scheduler(log_format: LogFormatOption = "text") -> None:
    """Do nothing but maintenance: give dead workers' parts back, ring lost doorbells, submit what is scheduled."""
    os.execv(sys.executable, [*MODULE, "worker.scheduler", "--log-format", log_format])


@app.command()
def doctor(json: JsonOption = False) -> None:
    """Look at broker, store, files and workers, and say what is wrong."""
    from producer.commands.doctor import examine
    from producer.output import console

    with open_client() as client:
        checks = examine(client)
    if json:
        console.records([vars(check) for check in checks])
    else:
        console.checks((check.name, check.ok, check.detail) for check in checks)
    if any(check.needed and not check.ok for check in checks):
        raise typer.Exit(UNREACHABLE)

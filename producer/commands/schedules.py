"""The commands for schedules: add, list, show, pause, resume, run, remove."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from charrnn.errors import InputError
from charrnn.jobs.cron import Cron
from charrnn.jobs.job.requests import Request
from charrnn.jobs.job.schedule import Schedule
from charrnn.jobs.job.states import SlotState
from charrnn.jobs.programs import JOB_FAILED, UNREACHABLE
from producer.commands.submit import submit
from producer.commands.train import train
from producer.options import JsonOption, QuietOption, flag, open_client, option, parse_seconds
from producer.output import console
from producer.output import schedules as render
from producer.records import schedules as records
from producer.submission import Submission

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the schedule.")]

TIMES = "Times"
SCHEDULED = ("train", "submit")

app = typer.Typer()
schedules = typer.Typer()
app.add_typer(schedules, name="schedules")

requests = typer.Typer(help="Commands that a schedule can run.", add_completion=False)
for command in (train, submit):
    requests.command()(command)


@schedules.callback(invoke_without_command=True)
def list_schedules(context: typer.Context, json: JsonOption = False, quiet: QuietOption = False) -> None:
    """List and manage schedules: training and generation at set times."""
    if context.invoked_subcommand is not None:
        return
    with open_client() as client:
        found = client.schedules.list()
    if json:
        console.records([records.listed_schedule(schedule) for schedule in found])
    elif quiet:
        console.values(schedule.name for schedule in found)
    else:
        render.schedules(found)


class Add(TyperCommand):
    """The command `schedules add`, whose errors say so if the -- is missing before the command to schedule."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        given = set(args)
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            message = getattr(error, "message", None)
            if isinstance(message, str) and "--" not in given and not given.isdisjoint(SCHEDULED):
                hint = "Put -- before the command to schedule, such as: -- train speeches texts/ --epochs 3"
                vars(error)["message"] = f"{message.rstrip('.')}. {hint}"
            raise


@schedules.command(cls=Add)
def add(
    name: NameArgument,
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND...", help="train or submit, with its arguments.")],
    cron: Annotated[
        str,
        option(
            metavar="CRON", help='Cron expression: minute hour day month weekday, such as "0 3 * * *".', panel=TIMES
        ),
    ],
    timezone: Annotated[
        str,
        option(metavar="ZONE", help="IANA time zone of --cron, such as Europe/Paris.", default="UTC", panel=TIMES),
    ] = "UTC",
    overlap: Annotated[
        Literal["skip", "queue"],
        option(help="If the previous job is still running: skip this run, or queue it.", default="skip", panel=TIMES),
    ] = "skip",
    catch_up: Annotated[
        Literal["once", "none"],
        option(help="After downtime: run once for all missed times, or not at all.", default="once", panel=TIMES),
    ] = "once",
    deadline: Annotated[
        str | None,
        option(
            metavar="TIME",
            help="Time after which a run that could not be submitted expires, such as 90s, 10m or 2h.",
            default="no limit",
            panel=TIMES,
        ),
    ] = None,
    always: Annotated[
        bool, flag("--always", help="Train even if the text has not changed since the last run.", panel=TIMES)
    ] = False,
) -> None:
    """Add a schedule for train or submit. The command is checked as if it were submitted now."""
    schedule = Schedule(
        name=name,
        cron=Cron(cron, timezone),
        request=_request(command).absolute(),
        overlap=overlap,
        catch_up=catch_up,
        deadline_s=None if deadline is None else parse_seconds("--deadline", deadline),
        always=always,
    )
    with open_client() as client:
        client.schedules.add(schedule)
        console.note(f"schedule {name} added; next run: {console.when(client.schedules.show(name).upcoming[0])}")


def _request(command: list[str]) -> Request:
    """Return the request that a command would submit."""
    if command[0] not in SCHEDULED:
        raise InputError(
            f"A schedule runs train or submit, such as: -- train speeches texts/. Received: {command[0]!r}"
        )
    wanted = typer.main.get_command(requests).main(command, "charrnn-jobs", standalone_mode=False)
    if not isinstance(wanted, Submission):  # after --help
        raise typer.Exit
    return wanted.for_schedule()


@schedules.command()
def show(name: NameArgument, json: JsonOption = False) -> None:
    """Show a schedule: its command, its last ten runs, and the next five times."""
    with open_client() as client:
        found = client.schedules.show(name)
    console.records(records.schedule_details(found)) if json else render.schedule(found)


@schedules.command()
def check(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME...]", help=r"Schedules. \[default: all]", show_default=False),
    ] = None,
    late: Annotated[
        str, option(metavar="TIME", help="A run is late after this time, such as 30m.", default="15m", panel=TIMES)
    ] = "15m",
) -> None:
    """Check that the last run of each schedule succeeded and none is late. Exit code 1 if not."""
    late_ms = round(1000 * parse_seconds("--late", late))
    with open_client() as client:
        found = client.schedules.find_troubles(names or (), late_ms)
    for name, trouble in found.items():
        console.fail(f"schedule {name}: {trouble}")
    if found:
        raise typer.Exit(JOB_FAILED)
    console.note("no run failed, and none is late")


@schedules.command()
def pause(name: NameArgument) -> None:
    """Pause a schedule until it is resumed."""
    with open_client() as client:
        client.schedules.pause(name)
    console.note(f"schedule {name} is paused. To resume it: charrnn-jobs schedules resume {name}")


@schedules.command()
def resume(name: NameArgument) -> None:
    """Resume a schedule at its next time. Runs missed while it was paused are skipped."""
    with open_client() as client:
        client.schedules.resume(name)
        console.note(f"schedule {name} resumed; next run: {console.when(client.schedules.show(name).upcoming[0])}")


@schedules.command()
def run(name: NameArgument) -> None:
    """Run a schedule now, even if it is paused or the text is unchanged. Prints the job's id."""
    with open_client() as client:
        slot = client.schedules.run(name)
    if slot.state == SlotState.DUE:
        console.note(f"schedule {name}: accepted; its job is submitted once broker and files answer")
        raise typer.Exit(UNREACHABLE)
    if slot.job is None:
        console.fail(f"schedule {name}: {slot.state}: {slot.reason}")
        raise typer.Exit(JOB_FAILED)
    console.value(slot.job)


@schedules.command()
def remove(name: NameArgument) -> None:
    """Remove a schedule. Jobs that it submitted stay."""
    with open_client() as client:
        client.schedules.remove(name)
    console.note(f"schedule {name} removed")

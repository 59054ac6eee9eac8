"""The commands of schedules: add, list, show, pause, resume, run, remove."""

from __future__ import annotations

from typing import Annotated

import typer

from charrnn.errors import InputError
from charrnn.jobs.job.cron import Cron
from charrnn.jobs.job.requests import Request
from charrnn.jobs.job.schedule import Schedule
from charrnn.jobs.job.states import SlotState
from charrnn.jobs.programs import JOB_FAILED, UNREACHABLE
from producer.commands.submit import submit
from producer.commands.train import train
from producer.options import JsonOption, open_client, parse_seconds
from producer.output import console
from producer.output import schedules as render
from producer.submission import Submission

NameArgument = Annotated[str, typer.Argument(help="The schedule's name.")]

app = typer.Typer()
schedules = typer.Typer()
app.add_typer(schedules, name="schedules")

requests = typer.Typer(help="What a schedule can ask for.", add_completion=False)
for command in (train, submit):
    requests.command()(command)


@schedules.callback(invoke_without_command=True)
def list_schedules(context: typer.Context, json: JsonOption = False) -> None:
    """Train or sample at set times."""
    if context.invoked_subcommand is not None:
        return
    with open_client() as client:
        found = client.schedules.list()
    console.records(found) if json else render.schedules(found)


@schedules.command()
def add(
    name: NameArgument,
    command: Annotated[
        list[str], typer.Argument(metavar="-- COMMAND...", help="train or submit, with their arguments.")
    ],
    cron: Annotated[str, typer.Option(help='Minute hour day month weekday, such as "0 3 * * *".')],
    timezone: Annotated[str, typer.Option(help="That the times are of, such as Europe/Paris.")] = "UTC",
    overlap: Annotated[
        str, typer.Option(help="skip or queue: of a time that comes while the job before it has not ended.")
    ] = "skip",
    catch_up: Annotated[
        str, typer.Option("--catch-up", help="once or none: after a while in which nothing ran, one job, or none.")
    ] = "once",
    deadline: Annotated[str | None, typer.Option(help="90s, 10m, 2h: do not submit later than that.")] = None,
    always: Annotated[bool, typer.Option("--always", help="Train also where the text is unchanged.")] = False,
) -> None:
    """Submit a command's job at set times. Everything is checked as if it were submitted now."""
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
        console.note(f"next: {console.when(client.schedules.show(name).upcoming[0])}")


def _request(command: list[str]) -> Request:
    """What a command would submit."""
    if command[0] not in ("train", "submit"):
        raise InputError(f"A schedule can train or submit, such as: -- train speeches texts/. Received: {command[0]!r}")
    wanted = typer.main.get_command(requests).main(command, "charrnn-jobs", standalone_mode=False)
    if not isinstance(wanted, Submission):  # after --help
        raise typer.Exit
    return wanted.for_schedule()


@schedules.command()
def show(name: NameArgument, json: JsonOption = False) -> None:
    """What a schedule does, its last ten times with what came of them, and the next five."""
    with open_client() as client:
        found = client.schedules.show(name)
    console.records(found) if json else render.schedule(found)


@schedules.command()
def pause(name: NameArgument) -> None:
    """Submit nothing for it until it is resumed."""
    with open_client() as client:
        client.schedules.pause(name)
    console.note(f"schedule {name} is paused. Go on: charrnn-jobs schedules resume {name}")


@schedules.command()
def resume(name: NameArgument) -> None:
    """Go on with its next time. Times that came meanwhile are not caught up."""
    with open_client() as client:
        client.schedules.resume(name)
        console.note(f"next: {console.when(client.schedules.show(name).upcoming[0])}")


@schedules.command()
def run(name: NameArgument) -> None:
    """Submit its job now, also if the text is unchanged. Prints the job's id."""
    with open_client() as client:
        slot = client.schedules.run(name)
    if slot.state == SlotState.DUE:
        console.note(f"schedule {name}: accepted, and submitted when broker and files answer")
        raise typer.Exit(UNREACHABLE)
    if slot.job is None:
        console.fail(f"schedule {name}: {slot.state}: {slot.reason}")
        raise typer.Exit(JOB_FAILED)
    console.value(slot.job)


@schedules.command()
def remove(name: NameArgument) -> None:
    """Delete a schedule. Jobs that it submitted stay."""
    with open_client() as client:
        client.schedules.remove(name)
    console.note(f"schedule {name} was removed")

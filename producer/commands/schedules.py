"""The commands for schedules: add, edit, list, show, check, allow, pause, resume, run, remove."""

from __future__ import annotations

import sys
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperCommand

from charrnn.errors import InputError, counted
from charrnn.jobs.cron import Cron
from charrnn.jobs.job.requests import GenerateRequest, Request, with_options
from charrnn.jobs.job.schedule import Schedule, ScheduleDetails, is_url
from charrnn.jobs.job.states import SlotState
from charrnn.jobs.programs import JOB_FAILED, UNREACHABLE
from producer.commands.submit import submit
from producer.commands.train import train
from producer.options import JsonOption, QuietOption, flag, open_client, option, parse_seconds
from producer.output import console
from producer.output import schedules as render
from producer.records import schedules as records
from producer.submission import Submission

if TYPE_CHECKING:
    from charrnn.jobs.client import Client

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the schedule.")]

TIMES, HOOKS = "Times", "Hooks"
NONE = "none"  # in place of a value: remove it
PROGRAM = "charrnn-jobs"
SCHEDULED = ("train", "submit")
THEN = "--then"  # between a train command and the submit command that follows it

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
        if not found:
            console.note("no schedules. To add one: charrnn-jobs schedules add --help")


class WithCommand(TyperCommand):
    """A command whose errors say so if the -- is missing before the command to schedule."""

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


# The options of `add`, which have defaults, and of `edit`, where one that is left out changes nothing.
COMMAND_HELP = "train or submit, with its arguments. After train: --then submit, with its arguments."
CRON = {"metavar": "CRON", "help": 'Cron expression: minute hour day month weekday, such as "0 3 * * *".'}
ZONE = {"metavar": "ZONE", "help": "IANA time zone of --cron, such as Europe/Paris."}
OVERLAP = {"help": "If the previous job is still running: skip this run, or queue it."}
CATCH_UP = {"help": "After downtime: run once for all missed times, or not at all."}
DEADLINE = {
    "metavar": "TIME",
    "help": "Time after which a run that could not be submitted expires, such as 90s, 10m or 2h.",
}
ALWAYS = "Train even if the text has not changed since the last run."
ON_SUCCESS = "Shell command to run, or URL to POST to, when a run has succeeded."
ON_FAILURE = (
    "Shell command to run, or URL to POST to, when a run has failed, expired or was cancelled. A command runs in "
    "CHARRNN_HOME and gets RUN_SCHEDULE, RUN_TIME, RUN_STATE, RUN_REASON and RUN_JOB."
)


@schedules.command(cls=WithCommand)
def add(  # noqa: PLR0913  # a command's options are its arguments, to Typer
    name: NameArgument,
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND...", help=COMMAND_HELP)],
    cron: Annotated[str, option(**CRON, panel=TIMES)],
    timezone: Annotated[str, option(**ZONE, default="UTC", panel=TIMES)] = "UTC",
    overlap: Annotated[Literal["skip", "queue"], option(**OVERLAP, default="skip", panel=TIMES)] = "skip",
    catch_up: Annotated[Literal["once", "none"], option(**CATCH_UP, default="once", panel=TIMES)] = "once",
    deadline: Annotated[str | None, option(**DEADLINE, default="no limit", panel=TIMES)] = None,
    always: Annotated[bool, flag("--always", help=ALWAYS, panel=TIMES)] = False,
    on_success: Annotated[str | None, option(metavar="HOOK", help=ON_SUCCESS, panel=HOOKS)] = None,
    on_failure: Annotated[str | None, option(metavar="HOOK", help=ON_FAILURE, panel=HOOKS)] = None,
    replace: Annotated[
        bool,
        flag("--replace", help="Replace a schedule of this name, if there is one, and keep its history.", panel=TIMES),
    ] = False,
) -> None:
    """Add a schedule for train, submit, or train and then submit. It is checked as if it were submitted now."""
    request, then = _requests(command)
    schedule = Schedule(
        name=name,
        cron=Cron(cron, timezone),
        request=request,
        then=then,
        overlap=overlap,
        catch_up=catch_up,
        deadline_s=None if deadline is None else parse_seconds("--deadline", deadline),
        always=always,
        on_success=on_success,
        on_failure=on_failure,
    )
    _store(schedule, replace=replace)


def _store(schedule: Schedule, *, replace: bool) -> None:
    with open_client() as client:
        client.schedules.add(schedule, replace=replace)
        _note_stored(client, schedule.name, "added")


@schedules.command(cls=WithCommand)
def edit(  # noqa: PLR0913  # a command's options are its arguments, to Typer
    name: NameArgument,
    command: Annotated[
        list[str] | None, typer.Argument(metavar="[-- COMMAND...]", help=COMMAND_HELP, show_default=False)
    ] = None,
    cron: Annotated[str | None, option(**CRON, panel=TIMES)] = None,
    timezone: Annotated[str | None, option(**ZONE, panel=TIMES)] = None,
    overlap: Annotated[Literal["skip", "queue"] | None, option(**OVERLAP, panel=TIMES)] = None,
    catch_up: Annotated[Literal["once", "none"] | None, option(**CATCH_UP, panel=TIMES)] = None,
    deadline: Annotated[
        str | None, option(metavar="TIME", help=f"{DEADLINE['help']} none: no limit.", panel=TIMES)
    ] = None,
    always: Annotated[bool | None, option("--always/--no-always", metavar="", help=ALWAYS, panel=TIMES)] = None,
    on_success: Annotated[
        str | None, option(metavar="HOOK", help=f"{ON_SUCCESS} none: remove it.", panel=HOOKS)
    ] = None,
    on_failure: Annotated[
        str | None, option(metavar="HOOK", help=f"{ON_FAILURE} none: remove it.", panel=HOOKS)
    ] = None,
) -> None:
    """Change a schedule, which keeps its history. Options that are left out stay as they are."""
    given = {"cron": cron, "timezone": timezone, "overlap": overlap, "catch_up": catch_up, "always": always}
    changes: dict[str, Any] = {column: value for column, value in given.items() if value is not None}
    if deadline is not None:
        changes["deadline_s"] = None if deadline == NONE else parse_seconds("--deadline", deadline)
    hooks = {"on_success": on_success, "on_failure": on_failure}
    changes |= {column: None if hook == NONE else hook for column, hook in hooks.items() if hook is not None}
    if command:
        changes["request"], changes["then"] = _requests(command)
    if not changes:
        raise InputError("Nothing to change. Pass an option such as --cron, or -- and a new command")
    with open_client() as client:
        client.schedules.edit(name, **changes)
        _note_stored(client, name, "changed")


def _note_stored(client: Client, name: str, done: str) -> None:
    """Say what a schedule runs from now on, when, and where its hooks find relative paths."""
    found = client.schedules.show(name)
    console.note(f"schedule {name} {done}: {render.requested(found)}; {_next(found)}")
    if any(hook and not is_url(hook) for hook in (found.on_success, found.on_failure)):
        console.note(f"commands of hooks run in {client.connections.settings.home}")


def _next(found: ScheduleDetails) -> str:
    return f"next run: {console.when(found.upcoming[0])}" if found.upcoming else "it is paused"


def _requests(command: list[str]) -> tuple[Request, GenerateRequest | None]:
    """Return the request that a command would submit, and the one behind --then."""
    if THEN not in command:
        return _request(command), None
    place = command.index(THEN)
    request, then = _request(command[:place]), _request(command[place + 1 :])
    if not isinstance(then, GenerateRequest):
        raise InputError(f"A submit follows a training, such as: {THEN} submit --seeds seeds.txt. Received: train")
    return request, then


def _request(command: list[str]) -> Request:
    """Return the request that one command would submit, with absolute paths."""
    if command and PurePath(command[0]).name == PROGRAM:
        raise InputError(
            f"The command begins with {command[0]}. Expected train or submit, such as: -- train speeches texts/. Leave "
            f"out {command[0]}"
        )
    if not command or command[0] not in SCHEDULED:
        raise InputError(
            f"A schedule runs train or submit, such as: -- train speeches texts/. Received: {' '.join(command[:1])!r}"
        )
    wanted = typer.main.get_command(requests).main(command, PROGRAM, standalone_mode=False)
    if not isinstance(wanted, Submission):  # after --help
        raise typer.Exit
    return wanted.for_schedule().absolute()


@schedules.command()
def show(name: NameArgument, json: JsonOption = False) -> None:
    """Show a schedule: its command, its last ten runs, and the next five times."""
    with open_client() as client:
        found = client.schedules.show(name)
        allowed = client.schedules.hooks.allowed
        console.records(records.schedule_details(found)) if json else render.schedule(found, allowed)


@schedules.command()
def check(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME...]", help=r"Schedules. \[default: all]", show_default=False),
    ] = None,
    late: Annotated[
        str, option(metavar="TIME", help="A run is late after this time, such as 30m.", default="15m", panel=TIMES)
    ] = "15m",
    json: JsonOption = False,
) -> None:
    """Check that the last run of each schedule succeeded and none is late. Exit code 1 if not."""
    late_ms = round(1000 * parse_seconds("--late", late))
    with open_client() as client:
        troubles = client.schedules.find_troubles(names or (), late_ms)
        found = {name: with_options(trouble) for name, trouble in troubles.items()}
        paused = {schedule.name: schedule.paused for schedule in client.schedules.list()}
    if json:
        console.records([records.TroubleRecord(schedule=name, trouble=trouble) for name, trouble in found.items()])
    for name, trouble in found.items():
        console.fail(f"schedule {name}: {console.printable(trouble)}")
    if found:
        name = next(iter(found)) if len(found) == 1 else "NAME"
        console.note(
            f"history: charrnn-jobs schedules show {name}     after a repair: charrnn-jobs schedules run {name}"
        )
        raise typer.Exit(JOB_FAILED)
    looked_at = [paused.get(name, False) for name in names or paused]
    left_out = f" ({sum(looked_at)} paused)" if any(looked_at) else ""
    console.note(f"{counted(len(looked_at), 'schedule')}{left_out}: no run failed, and none is late")


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
        console.note(f"schedule {name} resumed; {_next(client.schedules.show(name))}")


@schedules.command()
def allow(name: NameArgument) -> None:
    """Let the workers of this host run the hooks of a schedule, after you have read them."""
    with open_client() as client:
        found = client.schedules.show(name)
        hooks = [hook for hook in (found.on_success, found.on_failure) if hook is not None]
        client.schedules.hooks.allow(*hooks)
    if not hooks:
        hint = f"charrnn-jobs schedules edit {name} --on-failure HOOK"
        raise InputError(f"The schedule {name} has no hook. Add one: {hint}")
    for hook in hooks:
        console.note(f"allowed on this host: {hook}")


@schedules.command()
def run(name: NameArgument, json: JsonOption = False) -> None:
    """Run a schedule now, even if it is paused or the text is unchanged. Prints the ids of its jobs, one per line."""
    with open_client() as client:
        slot = client.schedules.run(name)
    if json:
        console.records(records.slot(slot))
    if slot.state == SlotState.DUE:
        console.note(f"schedule {name}: accepted; its job is submitted once broker and files answer")
        raise typer.Exit(UNREACHABLE)
    if slot.job is None:
        console.fail(f"schedule {name}: {slot.state}: {with_options(slot.reason or '')}")
        raise typer.Exit(JOB_FAILED)
    if json:
        return
    if sys.stdout.isatty():  # for the next program, the ids alone
        console.note(f"{console.counted_ids('job', slot.jobs)} submitted; follow: charrnn-jobs wait {slot.jobs[-1]}")
    else:
        console.values(slot.jobs)


@schedules.command()
def remove(name: NameArgument) -> None:
    """Remove a schedule. Jobs that it submitted stay."""
    with open_client() as client:
        client.schedules.remove(name)
    console.note(f"schedule {name} removed")

"""The commands for jobs: `wait`, `status`, `jobs`, `events`, `cancel`, `retry`, `delete` and `prune`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from charrnn.errors import counted
from charrnn.jobs.job.requests import with_options
from charrnn.jobs.programs import JOB_FAILED
from producer.newest import newest
from producer.options import (
    JOB_PANEL,
    JobArgument,
    JsonOption,
    QuietOption,
    TimeoutOption,
    flag,
    open_client,
    option,
    optional_job,
    parse_seconds,
    parse_timeout,
    positive_number,
)
from producer.output import console
from producer.output import jobs as render
from producer.output.busy import busy
from producer.records import jobs as records

FILTER, OUTPUT = "Filter", "Output"

app = typer.Typer()


@app.command()
def wait(
    job: Annotated[int | None, optional_job("the newest that has not ended, or else the newest")] = None,
    timeout: TimeoutOption = None,
    json: JsonOption = False,
    quiet: Annotated[
        bool, flag("-q", "--quiet", help="Show no progress. Print the job's id at the end.", panel=OUTPUT)
    ] = False,
) -> None:
    """Follow a job until it ends."""
    from producer.follow import follow  # bars, which no other command of this module needs

    timeout_s = parse_timeout(timeout)
    with open_client() as client:
        job = newest(client, job, lambda job: not job.ended, "has not ended", otherwise="has ended already")
        succeeded = follow(client, job, timeout_s, quiet=quiet)
        if json:
            console.records(records.status(client.status(job)))
        elif quiet:
            console.value(job)
    if not succeeded:
        raise typer.Exit(JOB_FAILED)


@app.command()
def status(
    job: Annotated[int | None, optional_job("the newest")] = None,
    plot: Annotated[bool, flag("--plot", help="Draw the loss curve of a training job.", panel=OUTPUT)] = False,
    json: JsonOption = False,
) -> None:
    """Show a job: progress, why it waits, results and report."""
    with open_client() as client:
        found = client.status(job)
    if json:
        console.records(records.status(found))
    else:
        render.status(found)
        if plot:
            render.plot(found)


@app.command()
def jobs(  # noqa: PLR0913  # a command's options are its arguments, to Typer
    state: Annotated[
        Literal["queued", "running", "done", "failed", "cancelled"] | None,
        option(help="Jobs in this state.", panel=FILTER),
    ] = None,
    kind: Annotated[Literal["train", "generate"] | None, option(help="Jobs of this kind.", panel=FILTER)] = None,
    model: Annotated[
        str | None,
        option("-m", "--model", metavar="MODEL", help="Jobs of this model: NAME or NAME@VERSION.", panel=FILTER),
    ] = None,
    label: Annotated[str | None, option(metavar="TEXT", help="Jobs with this label.", panel=FILTER)] = None,
    user: Annotated[
        str | None,
        option(metavar="NAME", help="Jobs that this user submitted, also through a schedule.", panel=FILTER),
    ] = None,
    schedule: Annotated[
        str | None, option(metavar="NAME", help="Jobs that this schedule submitted.", panel=FILTER)
    ] = None,
    with_failures: Annotated[
        bool, flag("--with-failures", help="Jobs that failed or have failed rows.", panel=FILTER)
    ] = False,
    limit: Annotated[
        int,
        option(metavar="N", parser=positive_number, help="Maximum number of jobs.", default=20, panel=OUTPUT),
    ] = 20,
    before: Annotated[
        int | None,
        option(
            metavar="JOB", parser=positive_number, help="Show the jobs before this one: the next page.", panel=OUTPUT
        ),
    ] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """List jobs, newest first."""
    with open_client() as client:
        found = client.jobs(
            limit,
            before=before,
            state=state,
            kind=kind,
            model=model,
            label=label,
            user=user,
            schedule=schedule,
            with_failures=with_failures,
        )
        trouble = client.schedules.find_troubles().get(schedule) if schedule else None
    if json:
        console.records([records.job(job) for job in found])
        return
    if quiet:
        console.values(job.id for job in found)
        return
    render.jobs(found)
    if not found:
        filtered = [state, kind, model, label, user, schedule, before, with_failures]
        console.note("no jobs match" if any(filtered) else "no jobs. To submit one: charrnn-jobs train NAME PATH")
    if len(found) == limit:
        console.note(f"older jobs: --before {found[-1].id}")
    if trouble:  # a run that was refused has no job in the list
        console.note(f"schedule {schedule}: {console.printable(with_options(trouble))}")


@app.command()
def events(
    job: Annotated[
        int | None,
        typer.Argument(
            metavar="[JOB]",
            help=r"Job id, also of a deleted job. \[default: everything]",
            show_default=False,
            parser=positive_number,
        ),
    ] = None,
    limit: Annotated[
        int,
        option(
            "-n",
            "--limit",
            metavar="N",
            parser=positive_number,
            help="Maximum number of events.",
            default=20,
            panel=OUTPUT,
        ),
    ] = 20,
    before: Annotated[
        int | None,
        option(
            metavar="EVENT",
            parser=positive_number,
            help="Show the events before this one: the next page.",
            panel=OUTPUT,
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Show who did what to jobs, models and schedules, and failed attempts, newest first."""
    with open_client() as client:
        found = client.events(limit, before=before, job=job)
    if json:
        console.records([records.event(event) for event in found])
        return
    render.events(found)
    if not found:
        console.note("no events match")
    if len(found) == limit:
        console.note(f"older events: --before {found[-1].id}")


@app.command()
def cancel(
    job: Annotated[int | None, optional_job("the newest that has not ended")] = None, json: JsonOption = False
) -> None:
    """Cancel a job. Finished rows stay readable."""
    with open_client() as client:
        job = newest(client, job, lambda job: not job.ended, "has not ended")
        asked = client.cancel(job)
        if json:
            console.records(records.job(client.job(job)))
    console.note(f"job {job}: {'is being cancelled; it ends within seconds' if asked else 'already ended'}")


@app.command()
def retry(
    job: Annotated[int | None, optional_job("the newest that failed or was cancelled")] = None,
    json: JsonOption = False,
) -> None:
    """Run the failed or cancelled parts of a job again. A training job resumes from its last checkpoint."""
    with open_client() as client:
        job = newest(client, job, lambda job: job.ended and not job.succeeded, "failed or was cancelled")
        count = client.retry(job)
        if json:
            console.records(records.job(client.job(job)))
    again = f"{counted(count, 'part')} queued again" if count else "no part failed or was cancelled"
    console.note(f"job {job}: {again}")


@app.command()
def delete(job: JobArgument) -> None:
    """Delete an ended job and its results permanently."""
    deleted = 0

    def count(parts: int) -> None:
        nonlocal deleted
        deleted = parts

    with open_client() as client, busy(lambda: f"deleting job {job}: {counted(deleted, 'part')} deleted"):
        client.delete(job, count)
    console.note(f"job {job} deleted")


@app.command()
def prune(
    older_than: Annotated[
        str,
        option(
            "--older-than",
            metavar="TIME",
            help="Retention: delete jobs that ended longer ago than this, such as 30d or 12h.",
            panel=JOB_PANEL,
        ),
    ],
    dry_run: Annotated[
        bool, flag("--dry-run", help="Show what would be deleted; delete nothing.", panel=JOB_PANEL)
    ] = False,
    newer: Annotated[
        bool,
        flag("--newer", help="Also set aside files that are newer than everything in the database.", panel=JOB_PANEL),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Delete old jobs and their results. Training jobs that made a version are kept."""
    seconds = parse_seconds("--older-than", older_than)
    with open_client() as client, busy(lambda: "looking for old jobs and files"):
        pruned = client.prune(seconds, dry_run=dry_run, accept_newer=newer)
    console.records(vars(pruned)) if json else render.pruned(pruned, dry_run=dry_run)

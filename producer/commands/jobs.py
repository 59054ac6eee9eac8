"""The commands of jobs: `wait`, `status`, `jobs`, `cancel`, `retry`, `delete` and `prune`."""

from __future__ import annotations

from typing import Annotated

import typer

from producer.follow import follow
from producer.options import (
    MAX_ID,
    JobArgument,
    JsonOption,
    TimeoutOption,
    open_client,
    parse_seconds,
    parse_timeout,
)
from producer.output import console
from producer.output import jobs as render

app = typer.Typer()


@app.command()
def wait(job: JobArgument, timeout: TimeoutOption = None) -> None:
    """Follow a job until it has ended."""
    timeout_s = parse_timeout(timeout)
    with open_client() as client:
        follow(client, job, timeout_s)


@app.command()
def status(
    job: Annotated[int | None, typer.Argument(help="The job's id; the newest if left out.", min=1, max=MAX_ID)] = None,
    plot: Annotated[bool, typer.Option("--plot", help="Draw a training's losses.")] = False,
    json: JsonOption = False,
) -> None:
    """Show a job: how far it is, why it waits, how it went."""
    with open_client() as client:
        found = client.status(job)
    if json:
        console.records(found)
    else:
        render.status(found)
        if plot:
            render.plot(found)


@app.command()
def jobs(
    limit: Annotated[int, typer.Option(help="How many, newest first.", min=1, max=MAX_ID)] = 20,
    before: Annotated[
        int | None, typer.Option(metavar="JOB", help="Those before this one, to page on.", min=1, max=MAX_ID)
    ] = None,
    state: Annotated[str | None, typer.Option(help="queued, running, done, failed or cancelled.")] = None,
    kind: Annotated[str | None, typer.Option(help="train or generate.")] = None,
    model: Annotated[str | None, typer.Option("-m", "--model", help="NAME or NAME@VERSION.")] = None,
    label: Annotated[str | None, typer.Option("--label", help="With this label.")] = None,
    json: JsonOption = False,
) -> None:
    """List jobs, newest first."""
    with open_client() as client:
        found = client.jobs(limit, before=before, state=state, kind=kind, model=model, label=label)
    if json:
        console.records(found)
        return
    render.jobs(found)
    if not found:
        console.note("there is no such job")
    if len(found) == limit:
        console.note(f"older ones: --before {found[-1].id}")


@app.command()
def cancel(job: JobArgument) -> None:
    """End a job. Rows that are done stay readable."""
    with open_client() as client:
        asked = client.cancel(job)
    console.note(f"job {job}: {'will end within seconds' if asked else 'had ended already'}")


@app.command()
def retry(job: JobArgument) -> None:
    """Do again what failed or was cancelled; a training goes on from its last checkpoint."""
    with open_client() as client:
        count = client.retry(job)
    again = f"{console.counted(count, 'part')} to do again" if count else "nothing failed or was cancelled"
    console.note(f"job {job}: {again}")


@app.command()
def delete(job: JobArgument) -> None:
    """Delete an ended job and its results, for good."""
    with open_client() as client:
        client.delete(job)
    console.note(f"job {job} was deleted")


@app.command()
def prune(
    older_than: Annotated[str, typer.Option("--older-than", help="30d, 12h: jobs that ended so long ago.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be deleted.")] = False,
    json: JsonOption = False,
) -> None:
    """Delete old jobs and their results, but no training that a version came from."""
    seconds = parse_seconds("--older-than", older_than)
    with open_client() as client:
        pruned = client.prune(seconds, dry_run=dry_run)
    console.records(vars(pruned)) if json else render.pruned(pruned, dry_run=dry_run)

"""The commands that look: wait, status, jobs, results."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from charrnn.errors import InputError, NotFinishedError
from producer.options import (
    MAX_ID,
    JobArgument,
    JsonOption,
    TimeoutOption,
    follow,
    open_client,
    parse_timeout,
)

if TYPE_CHECKING:
    from charrnn.jobs.job.views import Job

STANDARD_OUTPUT = "-"


def wait(job: JobArgument, timeout: TimeoutOption = None) -> None:
    """Follow a job until it has ended."""
    timeout_s = parse_timeout(timeout)
    with open_client() as client:
        follow(client, job, timeout_s)


def status(
    job: Annotated[int | None, typer.Argument(help="The job's id; the newest if left out.", min=1, max=MAX_ID)] = None,
    plot: Annotated[bool, typer.Option("--plot", help="Draw a training's losses.")] = False,
    json: JsonOption = False,
) -> None:
    """Show a job: how far it is, why it waits, how it went."""
    from producer.output import console
    from producer.output import jobs as render

    with open_client() as client:
        found = client.status(job)
    if json:
        console.records(found)
    else:
        render.status(found)
        if plot:
            render.plot(found)


def jobs(
    limit: Annotated[int, typer.Option(help="How many, newest first.", min=1, max=MAX_ID)] = 20,
    before: Annotated[
        int | None, typer.Option(metavar="JOB", help="Those before this one, to page on.", min=1, max=MAX_ID)
    ] = None,
    state: Annotated[str | None, typer.Option(help="queued, running, done, failed or cancelled.")] = None,
    kind: Annotated[str | None, typer.Option(help="train or generate.")] = None,
    model: Annotated[str | None, typer.Option("-m", "--model", help="NAME or NAME@VERSION.")] = None,
    label: Annotated[str | None, typer.Option("--name", help="With this label.")] = None,
    json: JsonOption = False,
) -> None:
    """List jobs, newest first."""
    from producer.output import console
    from producer.output import jobs as render

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


def results(
    job: JobArgument,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="Write to a file, in the place of one that is there; - is standard output."
        ),
    ] = None,
    format: Annotated[
        str | None, typer.Option("-f", "--format", help="jsonl, csv, txt or parquet; else by the file's name.")
    ] = None,
    rows: Annotated[str, typer.Option(metavar="A:B", help="From row A to before row B; either may be left out.")] = ":",
    where: Annotated[
        list[str] | None, typer.Option(metavar="FIELD=VALUE", help="Such as temperature=0.5; repeatable.")
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Only rows that could not be sampled.")] = False,
    distinct: Annotated[bool, typer.Option("--distinct", help="Of equal texts the first row only.")] = False,
    limit: Annotated[int | None, typer.Option(help="The first rows only.", min=1, max=MAX_ID)] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until the job has ended.")] = False,
) -> None:
    """Read a job's rows, in order: JSON Lines, or the first 20 for people on a terminal."""
    from charrnn.jobs.rows import formats as exports
    from producer.output import console
    from producer.output import jobs as render

    chosen = exports.format_of(output or Path(STANDARD_OUTPUT), format)
    on_terminal = sys.stdout.isatty() and output is None and format is None
    if chosen == exports.PARQUET and sys.stdout.isatty() and output is None:
        raise InputError("Parquet is not for a terminal. Write it to a file: -o FILE")
    with open_client() as client:
        found = client.job(job)
        if on_terminal and not follow:
            limit = min(limit or render.SHOWN_ROWS, render.SHOWN_ROWS)
        lines = client.results(
            job,
            rows=exports.parse_rows(rows),
            where=where or (),
            failed=failed,
            distinct=distinct,
            limit=limit,
            follow=follow,
        )
        if on_terminal:
            shown = render.results_table(lines)
            console.note(f"{shown:,} of {found.rows_total:,} rows. All: charrnn-jobs results {job} -o FILE")
        else:
            with _opened(output, follow) as file:
                if not exports.write(lines, chosen, file):
                    console.note("no rows")
        now = client.job(job) if follow else found
        if now.ended or not follow:  # else all rows came that were asked for
            _say_what_is_missing(now)


def _opened(output: Path | None, follow: bool) -> AbstractContextManager[BinaryIO]:
    from producer.output import console

    if output is None or str(output) == STANDARD_OUTPUT:
        return console.standard_output(live=follow)
    return whole_or_not(output)


def _say_what_is_missing(job: Job) -> None:
    from producer.output import console

    done = job.rows_done + job.rows_failed
    if not job.ended:
        raise NotFinishedError(f"Job {job.id} is {job.state}: {done:,} of its {job.rows_total:,} rows were there")
    if done < job.rows_total:
        console.note(f"job {job.id} ended as {job.state} with {done:,} of its {job.rows_total:,} rows")


@contextmanager
def whole_or_not(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when the block ends well; what is not a regular file is written to."""
    try:
        if path.exists() and not path.is_file():  # /dev/stdout, a named pipe
            with open(path, "wb") as file:
                yield file
            return
        arriving = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            with open(arriving, "wb") as file:
                yield file
            arriving.replace(path)
        finally:
            arriving.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror or error}") from error

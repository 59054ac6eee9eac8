"""`results`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from charrnn.errors import InputError, NotFinishedError
from charrnn.jobs.job.views import Job
from charrnn.jobs.rows import formats
from producer.options import MAX_ID, JobArgument, open_client
from producer.output import console, destination
from producer.output import results as render

app = typer.Typer()

FORMATS_HELP = " or ".join((", ".join(formats.FORMATS[:-1]), formats.FORMATS[-1]))


@app.command()
def results(  # noqa: PLR0913  # a command's options are its arguments, to Typer
    job: JobArgument,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="Write to a file, in the place of one that is there; - is standard output."
        ),
    ] = None,
    format: Annotated[
        str | None, typer.Option("-f", "--format", help=f"{FORMATS_HELP}; else by the file's name.")
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
    chosen = formats.format_of(output or destination.STANDARD_OUTPUT, format)
    on_terminal = sys.stdout.isatty() and output is None
    if chosen == formats.PARQUET and on_terminal:
        raise InputError("Parquet is not for a terminal. Write it to a file: -o FILE")
    as_table = on_terminal and format is None
    if as_table and not follow:
        limit = min(limit or render.SHOWN_ROWS, render.SHOWN_ROWS)
    with open_client() as client:
        found = client.job(job)
        lines = client.results(
            job,
            rows=formats.parse_rows(rows),
            where=where or (),
            failed=failed,
            distinct=distinct,
            limit=limit,
            follow=follow,
        )
        if as_table:
            shown = render.table(lines)
            console.note(f"{shown:,} of {found.rows_total:,} rows. All: charrnn-jobs results {job} -o FILE")
        else:
            _write(lines, chosen, output, live=follow)
        now = client.job(job) if follow else found
        if now.ended or not follow:  # else all rows came that were asked for
            _say_what_is_missing(now)


def _write(lines: Iterator[bytes], format: str, output: Path | None, *, live: bool) -> None:
    with destination.opened(output, live=live) as file:
        if not formats.write(lines, format, file):
            console.note("no rows")


def _say_what_is_missing(job: Job) -> None:
    done = job.rows_done + job.rows_failed
    if not job.ended:
        raise NotFinishedError(f"Job {job.id} is {job.state}: {done:,} of its {job.rows_total:,} rows were there")
    if done < job.rows_total:
        console.note(f"job {job.id} ended as {job.state} with {done:,} of its {job.rows_total:,} rows")

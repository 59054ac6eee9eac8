"""The command `results`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from charrnn.errors import InputError, NotFinishedError, counted
from charrnn.jobs.job.specs import GenerateSpec
from charrnn.jobs.job.views import Job
from charrnn.jobs.rows import formats
from charrnn.jobs.rows.additions import Earlier, check_addable, read_earlier
from producer.export import export, traced
from producer.newest import newest
from producer.options import flag, open_client, option, optional_job, positive_number
from producer.output import console, destination
from producer.output import results as render

if TYPE_CHECKING:
    from charrnn.jobs.client import Client
    from charrnn.jobs.rows.results import RowFilter

app = typer.Typer()

ROWS, OUTPUT = "Rows", "Output"


@app.command()
def results(  # noqa: PLR0913  # a command's options are its arguments, to Typer
    job: Annotated[int | None, optional_job("the newest that generates texts")] = None,
    output: Annotated[
        Path | None,
        option(
            "-o",
            "--output",
            metavar="FILE",
            help="Output file; an existing file is replaced. - is standard output.",
            panel=OUTPUT,
        ),
    ] = None,
    format: Annotated[
        Literal["jsonl", "csv", "txt", "parquet"] | None,
        option("-f", "--format", help="Output format.", default="by the file's name, else jsonl", panel=OUTPUT),
    ] = None,
    append: Annotated[
        bool,
        flag("--append", help="Keep the file; add the rows of seeds that it lacks, by id.", panel=OUTPUT),
    ] = False,
    bom: Annotated[
        bool, flag("--bom", help="Begin CSV with a byte order mark, so that Excel reads it as UTF-8.", panel=OUTPUT)
    ] = False,
    follow: Annotated[
        bool, flag("--follow", help="Write rows as they finish, until the job ends.", panel=OUTPUT)
    ] = False,
    rows: Annotated[
        str, option(metavar="A:B", help="Rows A up to, but not including, B. Both are optional.", panel=ROWS)
    ] = ":",
    where: Annotated[
        list[str] | None,
        option(metavar="FIELD=VALUE", help="Rows with this value, such as temperature=0.5. Repeatable.", panel=ROWS),
    ] = None,
    failed: Annotated[bool, flag("--failed", help="Only failed rows.", panel=ROWS)] = False,
    novel: Annotated[bool, flag("--novel", help="Only texts that are not in the training text.", panel=ROWS)] = False,
    distinct: Annotated[
        bool, flag("--distinct", help="Only the first of rows with the same seed and text.", panel=ROWS)
    ] = False,
    limit: Annotated[
        int | None, option(metavar="N", parser=positive_number, help="Maximum number of rows.", panel=ROWS)
    ] = None,
) -> None:
    """Export the rows of a job in order. On a terminal, show 20 of them."""
    chosen = formats.format_of(output or destination.STANDARD_OUTPUT, format)
    if bom and chosen != formats.CSV:
        raise InputError("--bom requires CSV. Add -f csv, or leave out --bom")
    if append and (follow or limit):
        raise InputError("--append cannot be combined with --follow or --limit. Leave out one of them")
    earlier = _read_earlier(output, chosen) if append else None
    on_terminal = sys.stdout.isatty() and output is None
    if chosen == formats.PARQUET and on_terminal:
        raise InputError("Parquet cannot be shown on a terminal. Write it to a file: -o FILE")
    as_table = on_terminal and format is None
    with open_client() as client:
        job = newest(client, job, lambda job: job.kind == GenerateSpec.QUEUE, "generates texts")
        found = client.job(job)
        if found.rows_total and not (follow or found.ended or found.rows_done or found.rows_failed):
            _report_missing(found)  # before an earlier export is replaced by an empty one
        filters: RowFilter = {
            "rows": formats.parse_rows(rows),
            "where": where or (),
            "failed": failed,
            "novel": novel,
            "distinct": distinct,
            "limit": limit,
            "follow": follow,
        }
        lines = client.results(job, **filters)
        if as_table:
            if not (where or failed or novel or distinct or limit or follow or rows != ":"):
                lines = _overview(client, found)
            shown = render.table(lines if follow else islice(lines, render.SHOWN_ROWS))
            console.note(
                f"{shown:,} of {counted(found.rows_total, 'row')}. All rows: charrnn-jobs results {job} -o FILE"
            )
        else:
            export(traced(client, job, lines), chosen, output, earlier, bom=bom, live=follow)
        now = client.job(job) if follow else found
        if now.ended or not follow:  # otherwise every requested row was written
            _report_missing(now)


def _overview(client: Client, job: Job) -> Iterator[bytes]:
    """Yield some rows of each temperature, of seeds from the first to the last."""
    spec = job.generate_spec
    for row in render.chosen_rows(spec) if spec else ():
        yield from client.results(job.id, rows=(row, row + 1))


def _read_earlier(output: Path | None, format: str) -> Earlier | None:
    """Return the file to add rows to, or None if there is none yet, or an empty one."""
    check_addable(format)
    if output is None or output == destination.STANDARD_OUTPUT:
        raise InputError("--append requires a file. Add -o FILE, or leave out --append")
    return read_earlier(output, format) if output.exists() and output.stat().st_size else None


def _report_missing(job: Job) -> None:
    done = job.rows_done + job.rows_failed
    if not job.ended:
        raise NotFinishedError(
            f"Job {job.id} is {job.state}: it has finished {done:,} of its {counted(job.rows_total, 'row')}. Wait for "
            f"all of them with: charrnn-jobs wait {job.id}, or write them as they finish with --follow"
        )
    if done < job.rows_total:
        console.note(f"job {job.id} {job.state} with {done:,} of its {counted(job.rows_total, 'row')}")

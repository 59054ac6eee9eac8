"""Write the rows of a job to a file or to standard output."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.errors import counted
from charrnn.jobs import tracing
from charrnn.jobs.rows import formats
from charrnn.jobs.rows.additions import Earlier
from producer.output import console, destination
from producer.output.busy import busy

if TYPE_CHECKING:
    from charrnn.jobs.client import Client


def traced(client: Client, job: int, lines: Iterator[bytes]) -> Iterator[bytes]:
    """Return an iterator over the lines of a job. While it is read, a span of the job's trace runs."""
    return tracing.iterate("export", lines, lambda: client.connections.store.traceparent(job), "rows", job=job)


def export(
    lines: Iterator[bytes],
    format: str,
    output: Path | None,
    earlier: Earlier | None = None,
    *,
    bom: bool = False,
    live: bool = False,
) -> None:
    """Write result lines, and tell how many there were.

    Args:
        output: the file; None or - is standard output.
        earlier: a file of results whose rows come first.
        bom: whether to begin with a byte order mark.
        live: whether to flush standard output after each line.
    """
    read, count, with_newline = 0, None, False
    on_screen = output in (None, destination.STANDARD_OUTPUT) and console.is_terminal(console.out)
    looks = format == formats.TXT and not on_screen

    def counting() -> Iterator[bytes]:
        nonlocal read, with_newline
        for line in lines:
            read += 1
            with_newline = with_newline or (looks and formats.has_newline(line))
            yield line

    showing = nullcontext() if on_screen else busy(lambda: f"writing {counted(read, 'row')}")
    with destination.opened(output, live=live) as file, showing:
        if earlier:
            earlier.copy(file)
        elif bom:
            file.write(codecs.BOM_UTF8)
        chosen = earlier.without_known(counting()) if earlier else counting()
        count = formats.write(chosen, format, file, header=not earlier)
    if count is None:  # the reader of a pipe had enough
        return
    if with_newline:
        console.note("some texts have several lines, and txt does not show where each one ends. -f jsonl and csv do")
    _tell(read, count, output, earlier)


def _tell(read: int, count: int, output: Path | None, earlier: Earlier | None) -> None:
    """Tell how many of the rows that were read were written."""
    if earlier and read and not count:
        console.note(f"no row was added: {output} has the seeds of all rows. Write others to another file")
    elif earlier:
        console.note(f"{counted(count, 'row')} added. Rows of seeds that the file had before were left out")
    elif not count:
        console.note("no rows")
    elif output not in (None, destination.STANDARD_OUTPUT) and output.is_file():
        console.note(f"{counted(count, 'row')}, {console.size(output.stat().st_size)}: {output}")

"""Results as a download that begins at once, however many rows there are."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress

from charrnn.jobs.rows import formats

CHUNK = 1 << 16  # bytes
TYPES = {
    formats.JSONL: "application/x-ndjson",
    formats.CSV: "text/csv; charset=utf-8",
    formats.TXT: "text/plain; charset=utf-8",
    formats.PARQUET: "application/vnd.apache.parquet",
}


def stream(lines: Iterator[bytes], format: str) -> Iterator[bytes]:
    """Yield result lines in a format, as it is written. The writer waits for the reader.

    Raises:
        CharrnnError: the rows cannot be read. What came before was yielded.
    """
    failures: list[BaseException] = []
    source, target = os.pipe()

    def write() -> None:
        try:
            with suppress(BrokenPipeError), open(target, "wb") as file:  # whoever reads may have left
                formats.write(lines, format, file)
        except BaseException as error:  # for the thread that reads
            failures.append(error)

    writer = threading.Thread(target=write, daemon=True)
    with open(source, "rb", buffering=0) as reader:
        writer.start()
        while chunk := reader.read(CHUNK):
            yield chunk
    writer.join()
    if failures:
        raise failures[0]

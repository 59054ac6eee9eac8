"""The result lines of a part, made and compressed in a thread while the device samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Self

from charrnn.jobs.job.tallies import Tallies
from charrnn.jobs.rows.rows import JobRow, ResultLine, compress, result
from worker.parts.model_cache import LoadedVersion
from worker.parts.watch import CHECK_S

if TYPE_CHECKING:
    from charrnn.sampling.texts import Text, Texts

SEARCHED, SEARCHED_ROWS = 1 << 17, 256  # characters and rows that are searched for copies at once


class LineWriter:
    """A thread that makes the lines of a part. Inside a `with` block, texts are added to it as they end.

    Args:
        rows: the rows of the part.
        version: the version that they are sampled from.
        name: of the version.
        tallies: filled in.
    """

    def __init__(self, rows: Iterable[JobRow], version: LoadedVersion, name: str, tallies: Tallies) -> None:
        self._texts: SimpleQueue[Texts | None] = SimpleQueue()
        self._lines = result_lines(rows, iter(self._texts.get, None), version, name, tallies)

    def __enter__(self) -> Self:
        self._thread = ThreadPoolExecutor(1, "lines")
        self._frames: Future[list[bytes]] = self._thread.submit(lambda: list(compress(self._lines)))
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(Empty):  # after an error nobody reads the lines of the texts that still wait
            while True:
                self._texts.get_nowait()
        self._texts.put(None)
        self._thread.shutdown()

    def add(self, texts: Texts) -> None:
        """Add texts that have ended. Raises what the thread has raised."""
        if self._frames.done():
            self._frames.result()
        self._texts.put(texts)

    def finish(self, check: Callable[[], None]) -> list[bytes]:
        """Wait for the lines of all texts, and return their compressed frames. Raises what the thread has raised.

        Args:
            check: called while the number of texts that wait falls; it raises an error to interrupt the part.
        """
        self._texts.put(None)
        left = self._texts.qsize()
        while not wait([self._frames], CHECK_S).done:
            if (now := self._texts.qsize()) < left:  # without progress, the watch must see a thread that hangs
                left = now
                check()
        return self._frames.result()


def result_lines(
    rows: Iterable[JobRow], texts: Iterable[Texts], version: LoadedVersion, name: str, tallies: Tallies
) -> Iterator[ResultLine]:
    """Yield the record of each row, in the order of the rows.

    Args:
        rows: the rows of a part.
        texts: their texts, in any order.
        version: the version that they were sampled from.
        name: of the version.
        tallies: filled in.

    Raises:
        ValueError: a row has no text.
    """
    from charrnn.sampling.texts import reorder

    model, copies = version.model, version.copies
    characters = model.vocabulary.characters
    decoded = (pair for some in texts for pair in zip(some, some.decode(characters), strict=True))
    ordered = reorder((sampled.index, (sampled, text)) for sampled, text in decoded)
    written = ((row, *pair) for row, pair in zip(rows, ordered, strict=True))
    while some := _take(written):
        whole = [text for _, _, text in some]
        if model.network.lines:  # a seed is the beginning of a line
            whole = [f"{row.seed.seed}{text}" for row, _, text in some]
        found = copies.find(whole) if copies else [None] * len(some)
        for (row, sampled, text), copy in zip(some, found, strict=True):
            tally = tallies.at(repr(row.temperature))
            tally.add(row.seed.seed, text, sampled.nats_per_char)
            if copy:
                tally.copies.add(row.number, copy)
            logprobs = sampled.logprobs if row.sampling.logprobs else None
            yield result(row, name, text, sampled.finish_reason, sampled.nats_per_char, logprobs, copy=copy)


def _take(written: Iterator[tuple[JobRow, Text, str]]) -> list[tuple[JobRow, Text, str]]:
    """Return the next rows that are searched for copies together, and none at the end."""
    some: list[tuple[JobRow, Text, str]] = []
    characters = 0
    while characters < SEARCHED and len(some) < SEARCHED_ROWS and (entry := next(written, None)):
        some.append(entry)
        characters += len(entry[2])
    return some

"""The thread that makes result lines beside the sampler."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from charrnn.jobs.job.tallies import Tallies
from charrnn.jobs.rows.rows import JobRow, SeedRows, read_lines
from charrnn.jobs.rows.seeds import StoredSeed
from charrnn.model import Model
from charrnn.options import SamplingOptions
from charrnn.sampling.texts import Texts
from worker.parts.lines import LineWriter
from worker.parts.model_cache import LoadedVersion

SAMPLING = SamplingOptions(temperatures=(0.5, 1.0), samples=3, logprobs=True)


def make_rows() -> Iterator[JobRow]:
    for number in range(4):
        yield from SeedRows(StoredSeed(f"id {number}", "a \n", 0), SAMPLING, 6 * number, 0, 6)


def make_texts(index: list[int]) -> Texts:
    """Return a text of as many characters as its row's number, or one more."""
    sizes = np.array(index) + np.array(index) % 2
    ids = np.arange(sizes.sum(), dtype=np.uint16) % 17
    starts = np.cumsum(sizes) - sizes
    return Texts(np.array(index), ids, ids.astype(np.float32) / 7, starts, starts + sizes, sizes % 3 == 0)


def test_lines_are_in_the_order_of_the_rows_and_have_what_was_sampled(untrained_model: Model) -> None:
    calls = [make_texts(index) for index in ([23, 5, 0], [*range(6, 23)], [4, 2, 1, 3])]
    tallies = Tallies()
    with LineWriter(make_rows(), LoadedVersion(untrained_model, None), "speeches@1", tallies) as writer:
        for texts in calls:
            writer.add(texts)
        frames = writer.finish(lambda: None)
    lines = [json.loads(line) for line in read_lines(io.BytesIO(b"".join(frames)))]
    assert [line["row"] for line in lines] == list(range(24))  # Catches: lines in the order in which texts end
    for text in (text for texts in calls for text in texts):
        line = lines[text.index]
        assert line["text"] == untrained_model.vocabulary.decode(text.ids.tolist())
        assert (line["finish_reason"], line["nats_per_char"]) == (text.finish_reason, text.nats_per_char)
        assert line["logprobs"] == text.logprobs
    assert [(name, tally.rows) for name, tally in tallies.tallies.items()] == [("0.5", 12), ("1.0", 12)]


def test_an_error_in_the_thread_reaches_the_sampler(untrained_model: Model) -> None:
    with LineWriter(iter([]), LoadedVersion(untrained_model, None), "speeches@1", Tallies()) as writer:
        writer.add(make_texts([0]))
        with pytest.raises(ValueError, match="zip"):  # Catches: a part that is committed without its lines
            writer.finish(lambda: None)
        with pytest.raises(ValueError, match="zip"):  # Catches: hours of sampling for lines that nobody makes
            writer.add(make_texts([1]))


def test_a_part_that_is_interrupted_leaves_no_thread(untrained_model: Model) -> None:
    def interrupted() -> None:
        with LineWriter(make_rows(), LoadedVersion(untrained_model, None), "speeches@1", Tallies()) as writer:
            writer.add(make_texts([3]))
            raise InterruptedError

    before = threading.active_count()
    with pytest.raises(InterruptedError):
        interrupted()
    assert threading.active_count() == before  # Catches: a thread that waits for the next texts forever


def small_texts(first: int) -> Texts:
    """Return 600 texts of one character."""
    index = np.arange(first, first + 600)
    starts = np.arange(600)
    ids = np.zeros(600, np.uint16)
    return Texts(index, ids, ids.astype(np.float32), starts, starts + 1, np.zeros(600, np.bool_))


class _Slow:
    """Copies that are searched for until they are released."""

    def __init__(self) -> None:
        self.searched, self.begun, self.release = 0, threading.Event(), threading.Event()

    def find(self, texts: list[str]) -> list[None]:
        self.searched += 1
        self.begun.set()
        self.release.wait(60)
        return [None] * len(texts)


def test_an_interrupted_part_makes_no_lines_of_the_texts_that_wait(untrained_model: Model) -> None:
    copies = _Slow()
    rows = (row for number in range(4_000) for row in SeedRows(StoredSeed("", "a \n", 0), SAMPLING, 6 * number, 0, 6))
    version = LoadedVersion(untrained_model, copies)  # type: ignore[arg-type]
    writer = LineWriter(rows, version, "speeches@1", Tallies())
    with writer:
        for first in range(0, 24_000, 600):
            writer.add(small_texts(first))
        copies.begun.wait(60)
        threading.Timer(0.1, copies.release.set).start()  # the part is interrupted meanwhile
    assert copies.searched < 10  # Catches: a cancel that waits for a backlog of minutes

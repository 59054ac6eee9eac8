"""Rows whose seeds have characters that the model lacks are all found, so that their neighbors are sampled."""

from __future__ import annotations

from dataclasses import replace

from charrnn.jobs.rows.rows import SeedRows
from charrnn.jobs.rows.seeds import StoredSeed
from charrnn.model import Model
from charrnn.network.network import initial_weights
from charrnn.options import NetworkOptions, SamplingOptions
from charrnn.text.vocabulary import Vocabulary
from worker.parts.generation import MOST_BAD, find_bad_rows

NETWORK = NetworkOptions(layers=1, units=2)
MODEL = Model(NETWORK, Vocabulary("\nab"), initial_weights(NETWORK, 3, 1))
SAMPLING = SamplingOptions(samples=2)


def part_of(*texts: str, sampling: SamplingOptions = SAMPLING) -> list[SeedRows]:
    """Return the rows of a part that begins with the second row of its first seed."""
    found = [
        SeedRows(StoredSeed(id=None, seed=text, occurrence=0, options={}), sampling, 2 * place, 0, 2)
        for place, text in enumerate(texts)
    ]
    return [replace(found[0], first=1), *found[1:]]


def test_each_run_of_bad_rows_has_its_place_and_reason() -> None:
    reason = "SeedError: 'é' has characters outside the vocabulary"
    first, second = find_bad_rows(MODEL, part_of("é", "a", "é", "ü", "ö", "b"))
    assert (first.first_row, first.rows, second.first_row, second.rows) == (1, 1, 4, 6)
    assert first.reason.startswith(reason)
    assert second.reason == f"{first.reason}. The seeds of the next rows have such characters too"


def test_so_many_runs_are_found_at_once() -> None:
    found = find_bad_rows(MODEL, part_of(*("é", "a") * (MOST_BAD + 1)))
    assert [run.first_row for run in found] == [1, *range(4, 4 * MOST_BAD, 4)]
    assert find_bad_rows(MODEL, part_of(*("é",) * 200))[0].rows == 399


def test_characters_that_are_left_out_are_no_error() -> None:
    sampling = replace(SAMPLING, unknown="drop")
    assert find_bad_rows(MODEL, part_of("é", "a", sampling=sampling)) == []

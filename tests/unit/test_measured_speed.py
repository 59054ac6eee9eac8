"""Speed that a part measures for a device and a model, and parts that measure none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from charrnn.jobs.job.report import Report, Seconds
from charrnn.jobs.job.tallies import Tallies
from charrnn.sampling.defaults import CPU

FILLED = Report(
    parts=1,
    batch=256,
    precision="float32",
    steps=100,
    slot_steps=25_600,
    free_slot_steps=0,
    characters=20_000,
    seconds=Seconds(loading=0.0, compiling=0.0, sampling=1.5, writing=0.5),
    temperatures=Tallies(),
)
"""A part that filled 256 slots for two seconds."""


def test_characters_of_seeds_count_as_those_of_texts() -> None:
    assert FILLED.measured_speed(CPU) == pytest.approx(12_800)
    # Catches: a long seed after which the next estimate is days
    assert replace(FILLED, characters=10).measured_speed(CPU) == FILLED.measured_speed(CPU)


@pytest.mark.parametrize(
    "part",
    [
        replace(FILLED, batch=1),
        replace(FILLED, seconds=Seconds(loading=9.0, compiling=9.0, sampling=0.5, writing=0.4)),
        replace(FILLED, slot_steps=2_000, free_slot_steps=23_600),
    ],
    ids=["a single text", "a moment", "an empty batch"],
)
def test_parts_without_a_measurable_speed(part: Report) -> None:
    assert part.measured_speed(CPU) is None

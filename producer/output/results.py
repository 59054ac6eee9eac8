"""Rows of a job as text for people."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import islice

from rich.text import Text

from charrnn.jobs.job.specs import GenerateSpec
from producer.output import console

SHOWN_ROWS = 20  # on a terminal


def chosen_rows(spec: GenerateSpec) -> list[int]:
    """Return the numbers of up to SHOWN_ROWS rows: of each temperature, for seeds from the first to the last."""
    temperatures, samples = len(spec.sampling.temperatures), spec.sampling.samples
    seeds = min(spec.num_seeds, max(1, SHOWN_ROWS // temperatures))
    each = min(samples, max(1, SHOWN_ROWS // (seeds * temperatures)))
    firsts = [seed * spec.num_seeds // seeds * temperatures for seed in range(seeds)]
    rows = (
        (first + index) * samples + sample
        for first in firsts
        for index in range(temperatures)
        for sample in range(each)
    )
    return list(islice(rows, SHOWN_ROWS))


def table(lines: Iterable[bytes]) -> int:
    """Print result lines, and return how many there were."""
    count = 0
    for line in lines:
        count += 1
        row = json.loads(line)
        head = Text.assemble(
            (f"row {row['row']}", "bold"), f"  temperature {row['temperature']:g}  sample {row['sample']}"
        )
        if row["error"]:
            console.out.print(head, Text(f" failed: {console.printable(row['error'])}", "red"))
            continue
        nats = row["nats_per_char"]
        known = "  in the training text" if row["novel"] is False else ""
        console.out.print(head, " empty" if nats is None else f" {nats:.3f} nats/char{known}")
        console.out.print(Text.assemble("  ", (console.printable(row["seed"]), "dim"), console.printable(row["text"])))
    return count

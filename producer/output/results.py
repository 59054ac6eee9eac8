"""Rows of a job as text for people."""

from __future__ import annotations

import json
from collections.abc import Iterable

from rich.text import Text

from producer.output import console

SHOWN_ROWS = 20  # on a terminal


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

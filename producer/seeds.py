"""Seeds as people write them: one a line, or JSON Lines with `id` and `seed`, into `Seed`s."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from charrnn.errors import InputError, TextError
from charrnn.jobs.rows import Seed
from charrnn.options import OVERRIDES
from charrnn.text import decode, read

STANDARD_INPUT = "-"
JSON_LINES = ".jsonl"


@dataclass(frozen=True)
class SeedFile:
    """What a file of seeds holds."""

    seeds: list[Seed]
    blank_lines: int  # skipped


def read_seeds(source: str) -> SeedFile:
    """Read a file, or standard input if `source` is "-".

    Raises:
        InputError: not readable, not UTF-8, or a line of JSON that is no seed; with its line.
    """
    if source == STANDARD_INPUT:
        name, text = "standard input", decode(sys.stdin.buffer.read(), "standard input")
    else:
        name, text = source, read(Path(source))
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    is_json = source.lower().endswith(JSON_LINES)
    seeds = list(_json_seeds(name, numbered)) if is_json else [Seed(line, line=number) for number, line in numbered]
    if not seeds:
        raise TextError(f"{name}: there is no seed in it. Expected one a line")
    ends_with_newline = lines[-1] == ""
    return SeedFile(seeds, len(lines) - ends_with_newline - len(numbered))


def _json_seeds(name: str, lines: Iterable[tuple[int, str]]) -> Iterator[Seed]:
    for number, line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{name}: line {number} is not JSON: {error}") from error
        yield _json_seed(f"{name}: line {number}", number, record)


def _json_seed(place: str, number: int, record: object) -> Seed:
    if not isinstance(record, dict) or "seed" not in record or record.keys() - {"id", "seed", *OVERRIDES}:
        raise InputError(
            f'{place}: expected an object {{"id": ..., "seed": ...}}, the id if you like, and if you like any of '
            f"{', '.join(OVERRIDES)}"
        )
    seed, seed_id = record["seed"], record.get("id")
    if not isinstance(seed, str):
        hint = ". The number that fixes chance is --rng-seed" if isinstance(seed, int) else ""
        raise InputError(f"{place}: seed must be the text to start from. Received: {seed!r}{hint}")
    if seed_id is not None and not isinstance(seed_id, str):
        raise InputError(f'{place}: id must be a text, such as "{seed_id}" in quotes. Received: {seed_id!r}')
    return Seed(seed, seed_id, number, {name: record[name] for name in OVERRIDES if name in record})

"""What became of the faults that were done; a module of its own, as pytest loads a conftest beside its import."""

from __future__ import annotations

from dataclasses import dataclass, field

BASELINE = "plain Celery"  # in the table in the place of a database


@dataclass
class Record:
    """What one fault did to one fleet."""

    fault: str
    what: str
    database: str
    lost: int | None = None  # rows; None where this was not counted
    duplicated: int | None = None  # rows
    wasted: int | None = None  # leases that committed nothing
    numbers: dict[str, float] = field(default_factory=dict)  # those that end in _s are seconds
    faults: int = 1


records: list[Record] = []

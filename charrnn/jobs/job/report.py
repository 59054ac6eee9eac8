"""Reports about sampling: each part has one, and the job's row holds their sum.

A report is stored as JSON, so that the transaction that ends a part can add it to the job's report.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace

from charrnn.checks import check_integer, check_number
from charrnn.jobs.job.json_object import JsonObject, known_fields
from charrnn.jobs.job.sizing import full_speed

SHOWN_TEMPERATURES = 20  # the first ones to occur; the texts at all others are counted together
SKETCH = 1024  # hashes; the count is exact for fewer distinct texts, and has a standard error of 3% for more
HASHES = 1 << 32

MEASURED_S = 1.0  # least seconds of sampling from which a throughput is measured
MEASURED_FILL = 0.5  # least batch utilization (share of busy slots) from which it is measured


class Distinct:
    """The number of distinct texts, estimated in bounded memory from the density of their smallest hashes.

    K minimum values, Bar-Yossef et al. 2002, "Counting distinct elements in a data stream".
    """

    def __init__(self, hashes: Iterable[int] = ()) -> None:
        self.hashes = set(hashes)
        self._trim(SKETCH)

    def add(self, text: str) -> None:
        digest = hashlib.blake2b(text.encode(), digest_size=4).digest()
        self.hashes.add(int.from_bytes(digest, "little"))
        self._trim(2 * SKETCH)  # rarely, since it sorts

    def _trim(self, most: int) -> None:
        if len(self.hashes) > most:
            self.hashes = set(sorted(self.hashes)[:SKETCH])

    @property
    def count(self) -> int:
        smallest = sorted(self.hashes)[:SKETCH]
        return len(smallest) if len(smallest) < SKETCH else round((SKETCH - 1) * HASHES / (smallest[-1] + 1))

    def to_json(self) -> str:
        smallest = sorted(self.hashes)[:SKETCH]
        return base64.b64encode(struct.pack(f"<{len(smallest)}I", *smallest)).decode()

    @classmethod
    def from_json(cls, document: str) -> Distinct:
        return cls(hashed for (hashed,) in struct.iter_unpack("<I", base64.b64decode(document)))


@dataclass
class Tally:
    """Totals of the texts at one temperature."""

    rows: int = 0
    characters: int = 0
    nats: float = 0.0  # sum over all characters
    distinct: Distinct = field(default_factory=Distinct)

    def add(self, seed: str, text: str, nats_per_char: float | None) -> None:
        self.rows += 1
        self.characters += len(text)
        self.nats += len(text) * (nats_per_char or 0.0)
        self.distinct.add(seed + text)

    def merge(self, more: Tally) -> None:
        self.rows += more.rows
        self.characters += more.characters
        self.nats += more.nats
        self.distinct = Distinct(self.distinct.hashes | more.distinct.hashes)

    def to_dict(self) -> JsonObject:
        return {**vars(self), "distinct": self.distinct.to_json()}

    @classmethod
    def from_dict(cls, values: JsonObject) -> Tally:
        return cls(**{**known_fields(cls, values), "distinct": Distinct.from_json(values["distinct"])})


class Tallies:
    """Tallies by temperature. The temperatures are strings, as keys in JSON are."""

    OTHERS = "others"

    def __init__(self) -> None:
        self.tallies: dict[str, Tally] = {}

    def at(self, temperature: str) -> Tally:
        full = len(self.tallies) >= SHOWN_TEMPERATURES and temperature not in self.tallies
        return self.tallies.setdefault(self.OTHERS if full else temperature, Tally())

    def merge(self, more: Tallies) -> None:
        for temperature, tally in more.tallies.items():
            self.at(temperature).merge(tally)

    def to_dict(self) -> JsonObject:
        return {temperature: tally.to_dict() for temperature, tally in self.tallies.items()}

    @classmethod
    def from_dict(cls, values: JsonObject) -> Tallies:
        tallies = cls()
        tallies.tallies = {temperature: Tally.from_dict(tally) for temperature, tally in values.items()}
        return tallies


@dataclass(frozen=True, kw_only=True)
class Seconds:
    """The durations of a part's phases in seconds."""

    loading: float
    compiling: float
    sampling: float
    writing: float

    def __add__(self, more: Seconds) -> Seconds:
        return Seconds(
            loading=self.loading + more.loading,
            compiling=self.compiling + more.compiling,
            sampling=self.sampling + more.sampling,
            writing=self.writing + more.writing,
        )


COUNTS = ("parts", "batch", "steps", "slot_steps", "characters")
MAX_COUNT = (1 << 63) - 1  # of a column of the database


@dataclass(frozen=True, kw_only=True)
class Report:
    """A report about the sampling of one part, or of all parts of a job so far.

    Attributes:
        steps: number of batch steps.
        slot_steps: number of steps of busy slots, including those that read a seed.
        characters: number of sampled characters.
    """

    parts: int
    batch: int  # batch size in slots
    precision: str
    steps: int
    slot_steps: int
    characters: int
    seconds: Seconds
    temperatures: Tallies

    def __add__(self, part: Report) -> Report:
        """Return the report of a job with the report of one more part added."""
        temperatures = Tallies()
        temperatures.merge(self.temperatures)
        temperatures.merge(part.temperatures)
        return replace(
            part,
            parts=self.parts + part.parts,
            steps=self.steps + part.steps,
            slot_steps=self.slot_steps + part.slot_steps,
            characters=self.characters + part.characters,
            seconds=self.seconds + part.seconds,
            temperatures=temperatures,
        )

    @property
    def fill(self) -> float:
        """Batch utilization: the share of slots that were busy."""
        return self.slot_steps / max(1, self.steps * self.batch)

    def measured_speed(self) -> float | None:
        """Return the throughput with a full batch in characters/s, by which the next job's parts are sized.

        It is None for a single text, which is computed by other matrix products, for a short part, and for one that
        left slots empty. All processed characters count, including those of seeds: otherwise a short text with a long
        seed would have a throughput of almost 0.
        """
        seconds = self.seconds.sampling + self.seconds.writing
        if self.batch == 1 or seconds < MEASURED_S or self.fill < MEASURED_FILL:
            return None
        return full_speed(self.slot_steps, seconds, self.batch)

    def to_dict(self) -> JsonObject:
        return {**vars(self), "seconds": asdict(self.seconds), "temperatures": self.temperatures.to_dict()}

    @classmethod
    def from_dict(cls, values: JsonObject) -> Report:
        """Return the report that `to_dict` made JSON of.

        A newer release may have stored more, which is left out: a worker that could not add its part to the report
        could not commit the part.

        Raises:
            InputError: a count or a time is not a number.
        """
        for name in COUNTS:
            check_integer(name, values[name], 0, MAX_COUNT)
        for phase in fields(Seconds):
            check_number(phase.name, values["seconds"][phase.name])
        parsed = {
            "seconds": Seconds(**known_fields(Seconds, values["seconds"])),
            "temperatures": Tallies.from_dict(values["temperatures"]),
        }
        return cls(**{**known_fields(cls, values), **parsed})


@dataclass(frozen=True, kw_only=True)
class TemperatureSummary:
    """The texts at one temperature, for users. `temperature` is None for all beyond SHOWN_TEMPERATURES together."""

    temperature: float | None
    rows: int
    nats_per_char: float | None
    distinct_share: float


@dataclass(frozen=True, kw_only=True)
class ReportSummary:
    """A job's report with rounded numbers, for users. `queue_seconds` is the time from submit to the first claim."""

    queue_seconds: float
    parts: int
    batch: int
    precision: str
    steps: int
    characters: int
    fill: float
    characters_per_second: int
    seconds: Seconds
    temperatures: tuple[TemperatureSummary, ...]


def summarize(report: Report, queue_seconds: float) -> ReportSummary:
    """Return a report for users."""
    return ReportSummary(
        queue_seconds=queue_seconds,
        parts=report.parts,
        batch=report.batch,
        precision=report.precision,
        steps=report.steps,
        characters=report.characters,
        fill=round(report.fill, 4),
        characters_per_second=round(report.characters / max(report.seconds.sampling, 1e-3)),
        seconds=Seconds(**{phase: round(seconds, 3) for phase, seconds in asdict(report.seconds).items()}),
        temperatures=tuple(
            TemperatureSummary(
                temperature=None if temperature == Tallies.OTHERS else float(temperature),
                rows=tally.rows,
                nats_per_char=round(tally.nats / tally.characters, 4) if tally.characters else None,
                distinct_share=round(min(1.0, tally.distinct.count / tally.rows), 4),
            )
            for temperature, tally in report.temperatures.tallies.items()
        ),
    )

"""Reports about sampling: each part has one, and the job's row holds their sum.

A report is stored as JSON, so that the transaction that ends a part can add it to the job's report.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace

from charrnn.checks import check_integer, check_length, check_number
from charrnn.errors import InputError
from charrnn.jobs.job.json_object import JsonObject, known_fields
from charrnn.jobs.job.sizing import full_speed
from charrnn.jobs.job.tallies import MAX_COUNT, LongestCopy, Tallies

MEASURED_S = 1.0  # least seconds of sampling from which a throughput is measured
MEASURED_FILL = 0.5  # least batch utilization (share of busy slots) from which it is measured
PASSED = "passed"
MAX_SELF_CHECK = 400  # characters of the result of a self-check


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


COUNTS = ("parts", "batch", "steps", "slot_steps", "free_slot_steps", "characters")


@dataclass(frozen=True, kw_only=True)
class Report:
    """A report about the sampling of one part, or of all parts of a job so far.

    Attributes:
        batch: batch size in slots; the largest, if devices of several kinds have worked.
        steps: number of batch steps.
        slot_steps: number of steps of busy slots, including those that read a seed.
        free_slot_steps: number of steps of slots without work.
        characters: number of sampled characters.
        self_check: PASSED, or how the self-check of a device failed, in words; None if a release did not say.
    """

    parts: int
    batch: int
    precision: str
    steps: int
    slot_steps: int
    free_slot_steps: int
    characters: int
    seconds: Seconds
    temperatures: Tallies
    self_check: str | None = None

    def __add__(self, part: Report) -> Report:
        """Return the report of a job with the report of one more part added."""
        temperatures = Tallies()
        temperatures.merge(self.temperatures)
        temperatures.merge(part.temperatures)
        return replace(
            part,
            parts=self.parts + part.parts,
            batch=max(self.batch, part.batch),
            steps=self.steps + part.steps,
            slot_steps=self.slot_steps + part.slot_steps,
            free_slot_steps=self.free_slot_steps + part.free_slot_steps,
            characters=self.characters + part.characters,
            seconds=self.seconds + part.seconds,
            temperatures=temperatures,
            self_check=worst_self_check(self.self_check, part.self_check),
        )

    @property
    def fill(self) -> float:
        """Batch utilization: the share of slots that were busy."""
        return self.slot_steps / max(1, self.slot_steps + self.free_slot_steps)

    def measured_speed(self, kind: str) -> float | None:
        """Return the throughput with a full batch in characters/s, by which the next job's parts are sized.

        It is None for a single text, which is computed by other matrix products, for a short part, and for one that
        left slots empty. All processed characters count, including those of seeds: otherwise a short text with a long
        seed would have a throughput of almost 0.

        Args:
            kind: of the device, "cpu" or "gpu".
        """
        seconds = self.seconds.sampling + self.seconds.writing
        if self.batch == 1 or seconds < MEASURED_S or self.fill < MEASURED_FILL:
            return None
        return full_speed(self.slot_steps, seconds, self.batch, kind)

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
        if not isinstance(said := values.get("self_check"), str | None):
            raise InputError(f"self_check must be a text. Received: {said!r}")
        check_length("self_check", said or "", MAX_SELF_CHECK)
        parsed = {
            "seconds": Seconds(**known_fields(Seconds, values["seconds"])),
            "temperatures": Tallies.from_dict(values["temperatures"]),
        }
        return cls(**{**known_fields(cls, values), **parsed})


def worst_self_check(first: str | None, second: str | None) -> str | None:
    """Return the first of two results that is a failure, otherwise the first that is known."""
    return next(filter(is_failure, (first, second)), first or second)


def readable_self_check(stored: object) -> str | None:
    """Return the result of a self-check that a worker has stored, or None if it is damaged."""
    return stored if isinstance(stored, str) and len(stored) <= MAX_SELF_CHECK else None


def is_failure(self_check: str | None) -> bool:
    """Return whether the result of a self-check is a failure, and not PASSED or unknown."""
    return self_check not in (None, "", PASSED)


@dataclass(frozen=True, kw_only=True)
class TemperatureSummary:
    """The texts at one temperature, for users.

    Attributes:
        temperature: None for all beyond SHOWN_TEMPERATURES together.
        mean_length: in characters.
        compared: number of texts of which it is known whether they are in the training text. Short ones are in any.
        novel_share: share of those that are not; None if there is none.
        median_copy: median of the lengths of their longest copies, in characters to two digits.
        longest_copy: the longest one of all.
    """

    temperature: float | None
    rows: int
    nats_per_char: float | None
    mean_length: float
    distinct_share: float
    compared: int = 0
    novel_share: float | None = None
    median_copy: int | None = None
    longest_copy: LongestCopy | None = None


@dataclass(frozen=True, kw_only=True)
class ReportSummary:
    """A job's report with rounded numbers, for users.

    Attributes:
        queue_seconds: the time from submit to the first claim.
        self_check: "passed", or how the self-check of a device failed; None if a release did not say.
    """

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
    self_check: str | None = None

    @property
    def failed_self_check(self) -> bool:
        """Whether texts may depend on where they were sampled."""
        return is_failure(self.self_check)


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
                mean_length=round(tally.characters / tally.rows, 1),
                distinct_share=round(min(1.0, tally.distinct.count / tally.rows), 4),
                compared=tally.copies.judged,
                novel_share=round(tally.copies.novel / tally.copies.judged, 4) if tally.copies.judged else None,
                median_copy=tally.copies.median(),
                longest_copy=tally.copies.longest,
            )
            for temperature, tally in report.temperatures.tallies.items()
        ),
        self_check=report.self_check,
    )

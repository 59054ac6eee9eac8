"""Parts, the units of leased work: as a worker claims them and as the store shows them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.json_object import JsonObject, reading
from charrnn.jobs.job.specs import GenerateSpec, TrainSpec
from charrnn.jobs.job.states import PartState
from charrnn.training.progress import Progress as TrainingProgress


@dataclass(frozen=True)
class Frame:
    """A place in the seeds file where reading can begin."""

    row: int  # the first row of the seed at that place
    offset: int  # bytes


START = Frame(0, 0)


def frame_of(frames: Sequence[Frame], row: int) -> Frame:
    """Return the last frame that begins at or before the given row."""
    return frames[bisect_right(frames, row, key=lambda frame: frame.row) - 1]


@dataclass(frozen=True, kw_only=True)
class SamplingProgress:
    """The progress of sampling a part: rows and characters so far."""

    rows: int
    characters: int


WorkProgress = SamplingProgress | TrainingProgress


@dataclass(frozen=True, kw_only=True)
class PartProgress:
    """The latest progress that the worker of a part reported.

    Attributes:
        work: the progress of the work, or None before the first step.
        waits: the error that the worker is waiting out while store or files do not answer, or None.
        phase: "loading", "compiling" or "writing"; None while it samples or trains.
    """

    work: WorkProgress | None = None
    waits: str | None = None
    phase: str | None = None

    def to_dict(self) -> JsonObject:
        work = asdict(self.work) if self.work else {}
        others = {"waits": self.waits, "phase": self.phase}
        return work | {name: value for name, value in others.items() if value is not None}

    @classmethod
    def from_dict(cls, values: JsonObject) -> PartProgress:
        """Read the progress that a worker stored. A newer release may have stored more fields."""
        kind = TrainingProgress if "step" in values else SamplingProgress if "rows" in values else None
        known = {field.name for field in fields(kind)} if kind else set()
        work = kind(**{name: value for name, value in values.items() if name in known}) if kind else None
        phase = values.get("phase")
        return cls(work=work, waits=values.get("waits"), phase=phase if isinstance(phase, str) else None)


@dataclass(frozen=True, kw_only=True)
class PartRows:
    """The rows of a part, and the place of the first one's seed in the seeds file."""

    first_row: int
    rows: int
    frame_offset: int  # byte of the seeds file to start reading at
    frame_row: int  # the first row of the seed at that offset


@dataclass(frozen=True, kw_only=True)
class Part(PartRows):
    """One claimed part of a job, with the token to commit it."""

    id: int
    job: int
    number: int
    span: int  # parts of the job that it stands for: a GPU claims several at once
    token: int
    attempt: int  # from 1
    spec: TrainSpec | GenerateSpec
    checkpoint: FileRef | None


@dataclass(frozen=True, kw_only=True)
class BadRows:
    """Adjoining rows of a part that no attempt can sample."""

    first_row: int
    rows: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class StoredPart(PartRows):
    """A part as stored."""

    job: int
    number: int
    state: PartState
    attempts: int
    token: int
    owner: str | None
    progress: PartProgress
    stored_checkpoint: JsonObject | None
    stored_output: JsonObject | None
    error: str | None

    @property
    def checkpoint(self) -> FileRef | None:
        """The last checkpoint. Raises DamagedError if the reference to it cannot be read."""
        return self._reference(self.stored_checkpoint)

    @property
    def output(self) -> FileRef | None:
        """The part file. Raises DamagedError if the reference to it cannot be read."""
        return self._reference(self.stored_output)

    def _reference(self, stored: JsonObject | None) -> FileRef | None:
        with reading(f"job {self.job}, part {self.number}"):
            return None if stored is None else FileRef.from_dict(stored)


@dataclass(frozen=True, kw_only=True)
class RunningPart:
    """A part in work, as `status` shows it."""

    part: int  # its number
    attempt: int
    progress: PartProgress

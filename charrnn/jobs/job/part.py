"""A part: the unit of leased work, as a worker claims it and as the store shows it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.json_object import JsonObject
from charrnn.jobs.job.specs import GenerateSpec, TrainSpec
from charrnn.jobs.job.states import PartState
from charrnn.training.progress import Progress as TrainingProgress


@dataclass(frozen=True)
class Frame:
    """Where in the seeds file one can begin to read."""

    row: int  # the first row of the seed that stands there
    offset: int  # bytes


START = Frame(0, 0)


def frame_of(frames: Sequence[Frame], row: int) -> Frame:
    """The last frame that begins at that row or before it."""
    return frames[bisect_right(frames, row, key=lambda frame: frame.row) - 1]


@dataclass(frozen=True, kw_only=True)
class SamplingProgress:
    """How far the sampling of a part is."""

    rows: int
    characters: int


WorkProgress = SamplingProgress | TrainingProgress


@dataclass(frozen=True, kw_only=True)
class PartProgress:
    """What the worker of a part told last.

    Attributes:
        work: None before the first step.
        waits: the error for which it waits, while store or files do not answer.
    """

    work: WorkProgress | None = None
    waits: str | None = None

    def to_dict(self) -> JsonObject:
        work = asdict(self.work) if self.work else {}
        return work | ({"waits": self.waits} if self.waits is not None else {})

    @classmethod
    def from_dict(cls, values: JsonObject) -> PartProgress:
        """Read what a worker wrote, perhaps one of a newer release with more to tell."""
        kind = TrainingProgress if "step" in values else SamplingProgress if "rows" in values else None
        known = {field.name for field in fields(kind)} if kind else set()
        work = kind(**{name: value for name, value in values.items() if name in known}) if kind else None
        return cls(work=work, waits=values.get("waits"))


@dataclass(frozen=True, kw_only=True)
class PartRows:
    """Which rows of a job a part has, and where the seed of the first one stands in the seeds file."""

    first_row: int
    rows: int
    frame_offset: int  # bytes, where to begin to read
    frame_row: int  # the first row of the seed that stands there


@dataclass(frozen=True, kw_only=True)
class Part(PartRows):
    """A claimed part: what to do, and the token to commit it with."""

    id: int
    job: int
    number: int
    token: int
    attempt: int  # from 1
    spec: TrainSpec | GenerateSpec
    checkpoint: FileRef | None


@dataclass(frozen=True, kw_only=True)
class StoredPart(PartRows):
    """A part as the store has it."""

    job: int
    number: int
    state: PartState
    attempts: int
    token: int
    owner: str | None
    progress: PartProgress
    checkpoint: FileRef | None
    output: FileRef | None
    error: str | None


@dataclass(frozen=True, kw_only=True)
class RunningPart:
    """A part in work, as `status` shows it."""

    part: int  # its number
    attempt: int
    progress: PartProgress

    def to_dict(self) -> JsonObject:
        return {"part": self.part, "attempt": self.attempt, **self.progress.to_dict()}

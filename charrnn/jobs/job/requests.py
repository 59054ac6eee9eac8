"""What a person asks for, before anything of it is read: a schedule keeps it, and asks for it again and again.

Each has a JSON round trip. Paths are read when it is submitted.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from charrnn.errors import InputError
from charrnn.jobs.job.file_ref import is_url
from charrnn.jobs.job.json_object import JsonObject
from charrnn.jobs.job.specs import GenerateSpec, TrainSpec
from charrnn.jobs.job.states import Priority
from charrnn.options import NetworkOptions, SamplingOptions, TrainingOptions
from charrnn.text.documents import UTF_8, check_storable

STANDARD_INPUT = "-"
RNG_SEEDS = 1_000_000  # of those that are drawn: short enough to be typed


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """A training of a new version of a model on text files.

    Attributes:
        paths: files, folders of *.txt, patterns, and s3:// files and folders below settings.corpus_roots.
        network: None for the default one, or that of `start`.
        rng_seed: of the job; if None, that of a schedule's slot, else another one is drawn each time. It is stored with
            the job. `training.rng_seed` stays 0.
        validation: files to measure the loss on; else about 5 % of the text, whole files where there are several. Only
            for a model's first training: it keeps its validation text.
        start: a version to go on from, as `name`, `name@3` or `name@alias`; it must not have been trained on the
            validation text.
        margin: nats per character by which it must be better than the champion to take its place.
        keep: delete versions older than the newest so many afterwards, see `Models.delete_older`.
        label: to find the job by.
    """

    QUEUE: ClassVar[str] = TrainSpec.QUEUE

    model: str
    paths: tuple[str, ...]
    network: NetworkOptions | None = None
    training: TrainingOptions = field(default_factory=TrainingOptions)
    rng_seed: int | None = None
    validation: tuple[str, ...] = ()
    encoding: str = UTF_8
    start: str | None = None
    margin: float = 0.0
    keep: int | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        if self.training.rng_seed:
            raise InputError("rng_seed is of the request, and not of its training. Give it to the request")

    def absolute(self) -> TrainRequest:
        """The same from any folder."""
        return replace(self, paths=tuple(map(_absolute, self.paths)), validation=tuple(map(_absolute, self.validation)))

    def to_dict(self) -> JsonObject:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: JsonObject) -> TrainRequest:
        parts = {
            "paths": tuple(values["paths"]),
            "validation": tuple(values["validation"]),
            "network": values["network"] and NetworkOptions.from_dict(values["network"]),
            "training": TrainingOptions.from_dict(values["training"]),
        }
        return cls(**{**values, **parts})


@dataclass(frozen=True, kw_only=True)
class GenerateRequest:
    """Seeds x temperatures x samples to be sampled from a model.

    Attributes:
        model: `name` for its champion, `name@3` for a version, `name@alias`; None for what a training makes.
        rng_seed: of the job; if None, that of a key or of a schedule's slot, else another one is drawn each time. It is
            stored with the job. `sampling.rng_seed` stays 0.
        seeds: a file's path, or "-" for standard input; None for those that are given beside the request, or a single
            empty one.
        seeds_format: of the file, one of `rows.seed_file.FORMATS`; by its name if None.
        random_seeds: as many openings of the text that the model was trained on, in the place of seeds.
        priority: of its parts among those that wait.
        part_rows: rows that are done under one lease, about 20 seconds of work if None; no text depends on it.
        label: to find the job by.
    """

    QUEUE: ClassVar[str] = GenerateSpec.QUEUE

    model: str | None
    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    rng_seed: int | None = None
    seeds: str | None = None
    seeds_format: str | None = None
    random_seeds: int | None = None
    priority: Priority = Priority.NORMAL
    part_rows: int | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        if self.sampling.rng_seed:
            raise InputError("rng_seed is of the request, and not of its sampling. Give it to the request")
        if self.random_seeds is not None and self.model is None:
            raise InputError("--random-seeds are of the text of a model that is trained. Name it with -m")
        if self.seeds_format is not None and self.seeds is None:
            raise InputError("--seeds-format is of a file. Name it with --seeds")
        if self.seeds is not None and self.random_seeds is not None:
            raise InputError("--random-seeds stands in the place of --seeds. Leave one of them out")

    def absolute(self) -> GenerateRequest:
        """The same from any folder.

        Raises:
            InputError: of seeds that come from standard input.
        """
        if self.seeds == STANDARD_INPUT:
            raise InputError("A schedule reads its seeds each time. Name a file with --seeds")
        return self if self.seeds is None else replace(self, seeds=_absolute(self.seeds))

    def to_dict(self) -> JsonObject:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: JsonObject) -> GenerateRequest:
        parts = {
            "sampling": SamplingOptions.from_dict(values["sampling"]),
            "priority": Priority(values["priority"]),
        }
        return cls(**{**values, **parts})


Request = TrainRequest | GenerateRequest
REQUESTS: dict[str, type[TrainRequest] | type[GenerateRequest]] = {
    request.QUEUE: request for request in (TrainRequest, GenerateRequest)
}


def draw_rng_seed() -> int:
    return secrets.randbelow(RNG_SEEDS)


def rng_seed_of(text: str) -> int:
    """A random seed that a text stands for: to ask for the same again is to draw the same."""
    return int(hashlib.sha256(text.encode(errors="replace")).hexdigest()[:8], 16) % RNG_SEEDS


def _absolute(path: str) -> str:
    """Links stay: what they lead to may change. URLs too, and an empty path, to be refused."""
    check_storable("A path", path)
    return str(Path(path).absolute()) if path and not is_url(path) else path

"""What a person asks for, before anything of it is read: a schedule keeps it, and asks for it again and again.

Each has a JSON round trip and submits itself. Paths are read when it does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from charrnn.errors import InputError
from charrnn.jobs.job.specs import GenerateSpec, TrainSpec
from charrnn.jobs.job.states import Priority
from charrnn.jobs.rows.seed_file import STANDARD_INPUT, SeedFile
from charrnn.jobs.submit.corpora import is_url
from charrnn.options import NetworkOptions, SamplingOptions, TrainingOptions
from charrnn.text.documents import UTF_8, check_storable

if TYPE_CHECKING:
    from charrnn.jobs.client import Client
    from charrnn.jobs.rows.seeds import Seed
    from charrnn.jobs.submit.sampling import Submitted

RNG_SEEDS = 1_000_000  # of those that are drawn: short enough to be typed


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """As the arguments of Client.train."""

    QUEUE: ClassVar[str] = TrainSpec.QUEUE

    model: str
    paths: tuple[str, ...]
    network: NetworkOptions | None
    training: TrainingOptions
    rng_seed: int | None  # None: another one each time
    held_out: tuple[str, ...] = ()
    encoding: str = UTF_8
    start: str | None = None
    margin: float = 0.0
    keep: int | None = None
    label: str | None = None

    def submit(self, client: Client, drawn: int, **facts: Any) -> Submitted[TrainSpec]:
        """Submit it, by the random seed `drawn` if it has none of its own; `facts` are Client.train's."""
        rng_seed = drawn if self.rng_seed is None else self.rng_seed
        return client.train(
            self.model,
            self.paths,
            self.network,
            replace(self.training, rng_seed=rng_seed),
            held_out=self.held_out,
            encoding=self.encoding,
            start=self.start,
            margin=self.margin,
            keep=self.keep,
            label=self.label,
            **facts,
        )

    def absolute(self) -> TrainRequest:
        """The same from any folder."""
        return replace(self, paths=tuple(map(_absolute, self.paths)), held_out=tuple(map(_absolute, self.held_out)))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainRequest:
        parts = {
            "paths": tuple(values["paths"]),
            "held_out": tuple(values["held_out"]),
            "network": values["network"] and NetworkOptions.from_dict(values["network"]),
            "training": TrainingOptions.from_dict(values["training"]),
        }
        return cls(**{**values, **parts})


@dataclass(frozen=True, kw_only=True)
class GenerateRequest:
    """As the arguments of Client.submit, with the seeds in a file."""

    QUEUE: ClassVar[str] = GenerateSpec.QUEUE

    model: str | None
    sampling: SamplingOptions
    rng_seed: int | None  # None: another one each time
    seeds: str | None = None  # a file's path, or "-"; None: a single empty seed
    seeds_format: str | None = None
    random_seeds: int | None = None  # in their place: openings of the text that the model was trained on
    priority: Priority = Priority.NORMAL
    part_rows: int | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        if self.random_seeds is not None and self.model is None:
            raise InputError("--random-seeds are of the text of a model that is trained. Name it with -m")
        if self.seeds_format is not None and self.seeds is None:
            raise InputError("--seeds-format is of a file. Name it with --seeds")
        if self.seeds is not None and self.random_seeds is not None:
            raise InputError("--random-seeds stands in the place of --seeds. Leave one of them out")

    @cached_property
    def file(self) -> SeedFile | None:
        """Of its seeds, to be read once."""
        return None if self.seeds is None else SeedFile(self.seeds, self.seeds_format)

    def submit(self, client: Client, drawn: int, **facts: Any) -> Submitted[GenerateSpec]:
        """Submit it, by the random seed `drawn` if it has none of its own; `facts` are Client.submit's."""
        rng_seed = drawn if self.rng_seed is None else self.rng_seed
        seeds: Iterable[Seed] | None = self.file
        if self.random_seeds is not None and self.model is not None:
            seeds = client.random_seeds(self.model, self.random_seeds, rng_seed)
        return client.submit(
            self.model,
            seeds,
            replace(self.sampling, rng_seed=rng_seed),
            priority=self.priority,
            part_rows=self.part_rows,
            label=self.label,
            **facts,
        )

    def absolute(self) -> GenerateRequest:
        """The same from any folder.

        Raises:
            InputError: of seeds that come from standard input.
        """
        if self.seeds == STANDARD_INPUT:
            raise InputError("A schedule reads its seeds each time. Name a file with --seeds")
        return self if self.seeds is None else replace(self, seeds=_absolute(self.seeds))

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GenerateRequest:
        parts = {
            "sampling": SamplingOptions.from_dict(values["sampling"]),
            "priority": Priority(values["priority"]),
        }
        return cls(**{**values, **parts})


Request = TrainRequest | GenerateRequest
REQUESTS: dict[str, type[TrainRequest] | type[GenerateRequest]] = {
    request.QUEUE: request for request in (TrainRequest, GenerateRequest)
}


def rng_seed_of(text: str) -> int:
    """A random seed that a text stands for: to ask for the same again is to draw the same."""
    return int(hashlib.sha256(text.encode(errors="replace")).hexdigest()[:8], 16) % RNG_SEEDS


def _absolute(path: str) -> str:
    """Links stay: what they lead to may change. URLs too, and an empty path, to be refused."""
    check_storable("A path", path)
    return str(Path(path).absolute()) if path and not is_url(path) else path

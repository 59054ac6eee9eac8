"""What a job asks for, as it is stored: frozen values with a JSON round trip and a version."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import ClassVar

from charrnn.errors import InputError
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.json_object import JsonObject
from charrnn.options import NetworkOptions, SamplingOptions, TrainingOptions

SPEC_VERSION = 1
"""Raised when a worker of before could not do the work; it leaves such parts to others."""

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
MAX_PART_ROWS = 1_000_000
MAX_SOURCES = 100
MAX_KEEP = 1_000_000  # versions


def check_name(what: str, name: str) -> None:
    """Refuse a name that is not fit for a path, an URL and a shell.

    Raises:
        InputError: with the expected form.
    """
    if not NAME.fullmatch(name):
        raise InputError(
            f"{what} {name!r} is not valid. Expected 1 to 64 of a-z, 0-9, '.', '_' and '-', a letter or digit first"
        )


@dataclass(frozen=True, kw_only=True)
class TrainSpec:
    """Train a new version of a model."""

    QUEUE: ClassVar[str] = "train"

    model: str
    corpus: FileRef  # the text to train on, without what is held out
    characters: int  # of it
    validation: FileRef  # as charrnn.text.validation makes it
    validation_characters: int
    vocabulary: str
    network: NetworkOptions
    training: TrainingOptions
    start: str | None  # the version to go on from
    sources: tuple[str, ...] = ()  # files that the corpus was read from: the first MAX_SOURCES
    num_sources: int = 0
    margin: float = 0.0  # nats by which it must be better than the champion
    keep: int | None = None  # newest versions, when this one is stored; older ones are deleted

    @property
    def parts(self) -> int:
        return 1

    @property
    def needs(self) -> tuple[str, int] | None:
        """The model and version that it goes on from."""
        model, _, number = (self.start or "").partition("@")
        return (model, int(number)) if number else None

    def to_dict(self) -> JsonObject:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: JsonObject) -> TrainSpec:
        parts = {
            "corpus": FileRef(**values["corpus"]),
            "validation": FileRef(**values["validation"]),
            "network": NetworkOptions.from_dict(values["network"]),
            "training": TrainingOptions.from_dict(values["training"]),
            "sources": tuple(values.get("sources", ())),
        }
        return cls(**{**values, **parts})


@dataclass(frozen=True, kw_only=True)
class GenerateSpec:
    """Sample seeds x temperatures x samples from one version of a model."""

    QUEUE: ClassVar[str] = "generate"

    model: str
    version: int | None  # None while the training that makes it is awaited
    seeds: FileRef
    num_seeds: int
    rows: int
    characters: int  # to sample at most
    sampling: SamplingOptions  # but for what a seed asks for itself
    batch: int  # slots; stored, as is the precision, since a row's text may depend on it
    part_rows: int

    @property
    def parts(self) -> int:
        return -(-self.rows // self.part_rows)

    @property
    def needs(self) -> tuple[str, int] | None:
        """The model and version that it samples from."""
        return None if self.version is None else (self.model, self.version)

    @property
    def name(self) -> str:
        """Of the version, as results give it."""
        return f"{self.model}@{self.version}" if self.version else self.model

    def to_dict(self) -> JsonObject:
        return asdict(self)

    @classmethod
    def from_dict(cls, values: JsonObject) -> GenerateSpec:
        parts = {"seeds": FileRef(**values["seeds"]), "sampling": SamplingOptions.from_dict(values["sampling"])}
        return cls(**{**values, **parts})


SPECS: dict[str, type[TrainSpec] | type[GenerateSpec]] = {spec.QUEUE: spec for spec in (TrainSpec, GenerateSpec)}

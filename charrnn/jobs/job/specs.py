"""Specs: the full description of a job's work as it is stored. They can be converted to JSON and back."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from charrnn.checks import check_integer, check_string
from charrnn.errors import InputError
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.json_object import JsonObject, check_types, stored
from charrnn.options import NetworkOptions, SamplingOptions, TrainingOptions
from charrnn.sampling.defaults import CPU, GPU

SINCE: Mapping[str, int] = {}
"""The spec version that brought what is newer than version 1, which is that of the first release.

A key is a field (`SamplingOptions.min_p`), a choice (`NetworkOptions.cell=rwkv`), an option of a seed (`Seed.min_p`),
or `Checkpoint`, if older releases cannot resume from the checkpoints that this one writes. The version that a job needs
is computed from the names that it uses, and a worker claims only jobs that it can read. `tests/data/golden` has what
each release knew.
"""

SPEC_VERSION = max(SINCE.values(), default=1)
"""The highest version that this release can read."""

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
MAX_LABEL = 200  # characters of a job's label
MAX_SOURCES = 100
MAX_KEEP = 1_000_000  # versions
MAX_BATCH = 65_536  # slots


def check_name(what: str, name: str) -> None:
    """Check that a name can be used in a path, an URL and a shell.

    Raises:
        InputError: it cannot; the message has the expected form.
    """
    check_string(what, name)
    if not NAME.fullmatch(name):
        raise InputError(
            f"{what} {name!r} is not valid. Expected 1 to 64 of a-z, 0-9, '.', '_' and '-', starting with a letter or "
            f"digit"
        )


@dataclass(frozen=True, kw_only=True)
class TrainSpec:
    """Train a new version of a model."""

    QUEUE: ClassVar[str] = "train"

    model: str
    corpus: FileRef  # the text to train on, without the validation text
    characters: int  # number of characters of the corpus
    validation: FileRef  # validation text, in the form that charrnn.text.validation makes
    validation_characters: int
    validation_source: str = ""  # what the validation text was made of
    reserved: bool = True  # whether the validation text is left out of the corpus
    baseline: float | None = None  # its loss under an n-gram model of the corpus, in nats per character
    vocabulary: str
    network: NetworkOptions
    training: TrainingOptions
    start: str | None  # the version to fine-tune
    sources: tuple[str, ...] = ()  # files that the corpus was read from: the first MAX_SOURCES
    num_sources: int = 0
    source_bytes: int = 0  # of all files
    left_out_characters: int = 0  # copies of the validation text in the files
    num_lines: int = 0  # of the corpus, if each line is a text of its own
    margin: float = 0.0  # nats per character by which it must be better than the champion
    keep: int | None = None  # number of newest versions to keep when this one is stored; older ones are deleted

    @property
    def parts(self) -> int:
        return 1

    @property
    def needs(self) -> tuple[str, int] | None:
        """The model and version that it fine-tunes."""
        model, _, number = (self.start or "").partition("@")
        return (model, int(number)) if number else None

    def to_dict(self) -> JsonObject:
        return stored(self, SINCE)

    @classmethod
    def from_dict(cls, values: JsonObject) -> TrainSpec:
        """Return the spec that `to_dict` made JSON of.

        Raises:
            InputError: a newer release stored it, or it is damaged.
        """
        with _reading(cls.QUEUE):
            parts = {
                "corpus": FileRef(**values["corpus"]),
                "validation": FileRef(**values["validation"]),
                "network": NetworkOptions.from_dict(values["network"]),
                "training": TrainingOptions.from_dict(values["training"]),
                "sources": tuple(values.get("sources", ())),
            }
            spec = cls(**{**values, **parts})
            check_types(spec)
            return spec


@dataclass(frozen=True, kw_only=True)
class GenerateSpec:
    """Sample seeds x temperatures x samples from one version of a model."""

    QUEUE: ClassVar[str] = "generate"

    model: str
    version: int | None  # None while the job waits for the training job that will make it
    seeds: FileRef
    num_seeds: int
    rows: int
    characters: int  # maximum number of characters to sample
    sampling: SamplingOptions  # options that a seed may override for its rows
    batches: Mapping[str, int]  # batch size in slots by kind of device; stored, since a row's text may depend on it
    part_rows: int
    gpu_rows: int  # most rows that a GPU claims at once, as several parts

    @property
    def parts(self) -> int:
        return -(-self.rows // self.part_rows)

    @property
    def needs(self) -> tuple[str, int] | None:
        """The model and version that it samples from."""
        return None if self.version is None else (self.model, self.version)

    @property
    def name(self) -> str:
        """The name of the version, as results give it."""
        return f"{self.model}@{self.version}" if self.version else self.model

    def to_dict(self) -> JsonObject:
        return stored(self, SINCE)

    @classmethod
    def from_dict(cls, values: JsonObject) -> GenerateSpec:
        """Return the spec that `to_dict` made JSON of.

        Raises:
            InputError: a newer release stored it, or it is damaged.
        """
        with _reading(cls.QUEUE):
            parts = {"seeds": FileRef(**values["seeds"]), "sampling": SamplingOptions.from_dict(values["sampling"])}
            for kind in (CPU, GPU):
                check_integer(f"batches.{kind}", values["batches"][kind], 1, MAX_BATCH)
            spec = cls(**{**values, **parts})
            check_types(spec)
            for name in ("num_seeds", "rows", "characters", "part_rows", "gpu_rows"):
                if getattr(spec, name) < 1:
                    raise ValueError(f"{name} is {getattr(spec, name)}")
            return spec


@contextmanager
def _reading(kind: str) -> Iterator[None]:
    try:
        yield
    except (InputError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"This release cannot read the spec of the {kind} job: {error!s:.200}. A newer release stored it, or it is "
            f"damaged. Upgrade charrnn-jobs"
        ) from error


SPECS: dict[str, type[TrainSpec] | type[GenerateSpec]] = {spec.QUEUE: spec for spec in (TrainSpec, GenerateSpec)}
QUEUES = tuple(SPECS)


def read_spec(kind: str, values: JsonObject) -> TrainSpec | GenerateSpec:
    """Return the spec of a job of this kind.

    Raises:
        InputError: a newer release stored it, or it is damaged.
    """
    if kind not in SPECS:
        raise InputError(f"This release knows no {kind} jobs. Upgrade charrnn-jobs")
    return SPECS[kind].from_dict(values)

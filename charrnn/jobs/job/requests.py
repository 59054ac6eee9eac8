"""Requests: what a user submits, before any file is read. A schedule stores a request and submits it each time.

Each can be converted to JSON and back. Its paths are read when it is submitted.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from charrnn.checks import check_path, check_paths, check_string, check_type
from charrnn.errors import InputError
from charrnn.jobs.job.file_ref import is_url
from charrnn.jobs.job.json_object import JsonObject, stored
from charrnn.jobs.job.specs import SINCE, GenerateSpec, TrainSpec
from charrnn.jobs.job.states import Priority
from charrnn.options import ERROR, GROW, KEEPS_NETWORK, NO_VALIDATION, SamplingOptions, chosen_options
from charrnn.sizes import AUTO_SIZE, fit
from charrnn.text.documents import check_storable
from charrnn.text.encodings import UTF_8
from charrnn.text.plain import LF

STANDARD_INPUT = "-"
RNG_SEEDS = 1_000_000  # random seeds to draw from: few enough to be short to type


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """A request to train a new version of a model on text files.

    Attributes:
        paths: files, folders of *.txt, patterns, and s3:// files and folders below settings.corpus_roots.
        options: fields of `NetworkOptions` and `TrainingOptions`, such as units=256 and epochs=4. Those left out are
            chosen by the length of the text, see `charrnn.sizes`.
        size: size of the network, one of `charrnn.sizes.SIZES`.
        preset: a key of `charrnn.options.PRESETS`.
        rng_seed: random seed of the job. If it is None, it is derived from a schedule's slot or drawn each time. It is
            stored with the job.
        validation: files to use as validation text, or "none" alone to reserve nothing. By default, about 5% of the
            text is reserved, see `text.validation`. A model keeps the validation text of its first training job.
        encoding: encoding of files without a byte order mark, any text encoding of Python.
        newlines: one of `text.plain.NEWLINES`: whether CRLF and CR become newlines.
        start: a version to fine-tune, as `name`, `name@3` or `name@alias`. It must not have been trained on the
            validation text.
        unknown: policy for characters outside its vocabulary, one of `options.UNKNOWN_IN_TEXT`.
        margin: nats per character by which the version must be better than the champion to replace it.
        keep: number of newest versions to keep after the training job; see `Models.delete_older`.
        label: a label to find the job by.
    """

    QUEUE: ClassVar[str] = TrainSpec.QUEUE

    model: str
    paths: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    size: str = AUTO_SIZE
    preset: str | None = None
    rng_seed: int | None = None
    validation: tuple[str, ...] = ()
    encoding: str = UTF_8
    newlines: str = LF
    start: str | None = None
    unknown: str = GROW
    margin: float = 0.0
    keep: int | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        check_string("model", self.model)
        check_type("options", self.options, Mapping, "a mapping, such as {'epochs': 4}")
        check_string("encoding", self.encoding)
        for name in ("start", "preset"):
            check_type(name, getattr(self, name), str | None, "a string")
        for name in ("paths", "validation"):
            object.__setattr__(self, name, check_paths(name, getattr(self, name)))
        if "rng_seed" in self.options:
            raise InputError("options cannot set rng_seed. Set rng_seed of the request instead")
        chosen = chosen_options(self.preset, self.options, continues=self.start is not None)
        if self.start is not None and self.size != AUTO_SIZE:
            raise InputError(f"{KEEPS_NETWORK}. Leave out `size`")
        fit(chosen, 0, size=self.size)
        object.__setattr__(self, "options", chosen)

    def absolute(self) -> TrainRequest:
        """Return the request with absolute paths, so that it means the same in any folder."""
        reserved = self.validation != (NO_VALIDATION,)
        validation = tuple(map(_absolute, self.validation)) if reserved else self.validation
        return replace(self, paths=tuple(map(_absolute, self.paths)), validation=validation)

    def to_dict(self) -> JsonObject:
        return stored(self, SINCE)

    @classmethod
    def from_dict(cls, values: JsonObject) -> TrainRequest:
        parts = {
            "paths": tuple(values["paths"]),
            "validation": tuple(values["validation"]),
        }
        return cls(**{**values, **parts})


@dataclass(frozen=True, kw_only=True)
class GenerateRequest:
    """A request to sample seeds x temperatures x samples from a model.

    Attributes:
        model: `name` for its champion, `name@3` for a version, or `name@alias`. None: the version that a training job
            will make, or if there is none to wait for, the model of the settings, or else the only one.
        rng_seed: random seed of the job. If it is None, it is derived from an idempotency key or a schedule's slot, or
            drawn each time. It is stored with the job. `sampling.rng_seed` must be 0.
        seeds: path of the seeds file, or "-" for standard input. None: the seeds are given beside the request, or there
            is a single empty one.
        seeds_format: format of the file, one of `rows.seed_formats.FORMATS`; None: decided by its name.
        seed_column: column of a CSV or Parquet file with the seeds; None: seed.
        id_column: column with their ids; None: id, if there is one.
        on_bad_seed: one of `rows.seeds.ON_BAD_SEED`: a seed that cannot be used is an error, or it is skipped.
        random_seeds: number of random places in the model's training text to use as seeds.
        priority: priority of its parts among the waiting ones.
        part_rows: rows to sample under one lease; None: about 20 seconds of work. It changes no text.
        label: a label to find the job by.
    """

    QUEUE: ClassVar[str] = GenerateSpec.QUEUE

    model: str | None = None
    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    rng_seed: int | None = None
    seeds: str | None = None
    seeds_format: str | None = None
    seed_column: str | None = None
    id_column: str | None = None
    on_bad_seed: str = ERROR
    random_seeds: int | None = None
    priority: Priority = Priority.NORMAL
    part_rows: int | None = None
    label: str | None = None

    def __post_init__(self) -> None:
        check_type("model", self.model, str | None, "a string")
        check_type("sampling", self.sampling, SamplingOptions, "SamplingOptions")
        check_type("priority", self.priority, Priority, "a Priority, such as Priority.HIGH")
        if self.seeds is not None:
            object.__setattr__(self, "seeds", check_path("seeds", self.seeds))
        if self.sampling.rng_seed:
            raise InputError("sampling.rng_seed must be 0. Set rng_seed of the request instead")
        for name in ("seeds_format", "seed_column", "id_column"):
            if getattr(self, name) is not None and self.seeds is None:
                raise InputError(f"`{name}` requires a seeds file. Set `seeds`, or leave out `{name}`")
        if self.seeds is not None and self.random_seeds is not None:
            raise InputError("`random_seeds` and `seeds` cannot be combined. Leave one of them out")

    def absolute(self) -> GenerateRequest:
        """Return the request with an absolute path, so that it means the same in any folder.

        Raises:
            InputError: the seeds come from standard input.
        """
        if self.seeds == STANDARD_INPUT:
            raise InputError(
                "A schedule cannot read seeds from standard input, since it reads them each time. Use a file"
            )
        return self if self.seeds is None else replace(self, seeds=_absolute(self.seeds))

    def to_dict(self) -> JsonObject:
        return stored(self, SINCE)

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


OPTION_NAMES = {"start": "from", "temperatures": "temperature", "preview_temperatures": "preview-temperature"}
"""The options of the command line whose names are not those of their fields."""


def option_name(field: str) -> str:
    """Return the option of the command line for a field of a request or of its options."""
    return f"--{OPTION_NAMES.get(field, field).replace('_', '-')}"


def with_options(reason: str) -> str:
    """Return a message with the parameters of the library, which stand in backticks, as options: `encoding` as
    --encoding."""
    return re.sub(r"`([a-z_]+)`", lambda found: option_name(found[1]), reason)


def draw_rng_seed() -> int:
    return secrets.randbelow(RNG_SEEDS)


def rng_seed_of(text: str) -> int:
    """Return a random seed derived from a text, so that the same request gives the same random numbers."""
    return int(hashlib.sha256(text.encode(errors="replace")).hexdigest()[:8], 16) % RNG_SEEDS


def _absolute(path: str) -> str:
    """Return an absolute path. Symbolic links are not resolved, since their targets may change.

    URLs stay as they are, and so does an empty path, which is refused later.
    """
    check_storable("A path", path)
    return str(Path(path).absolute()) if path and not is_url(path) else path

"""What a generate job becomes before it is stored: its version, its batch, its parts, what it will take."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from charrnn.errors import InputError
from charrnn.jobs.job.file_ref import FileRef
from charrnn.jobs.job.sizing import batch_speed, check_part_rows, choose_part_rows, device_kind, result_bytes
from charrnn.jobs.job.specs import GenerateSpec, TrainSpec
from charrnn.jobs.rows.seeds import Seed, SeedWriter, to_json
from charrnn.jobs.store import lifecycle, registry
from charrnn.jobs.store.store import Store
from charrnn.options import AUTO, SamplingOptions, choose_batch, choose_precision
from charrnn.text.documents import check_storable

MAX_KEY = 200  # characters

Spec = TypeVar("Spec", TrainSpec, GenerateSpec)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a generate job takes, about."""

    result_bytes: int  # in the store's files
    export_bytes: int  # as JSON Lines
    seconds: float | None  # with the devices that live now; None where the model's speed is not known yet


@dataclass(frozen=True, kw_only=True)
class Submitted(Generic[Spec]):
    """A job as it was stored, or would be with `dry_run`; then `id` is None."""

    id: int | None
    spec: Spec
    estimate: Estimate | None = None  # of a generate job
    existed: bool = False  # its key stood for a job that was there

    @property
    def parts(self) -> int:
        return self.spec.parts


@dataclass(frozen=True, kw_only=True)
class Target:
    """The version that a job samples from, which may not be made yet."""

    model: str
    version: int | None
    characters: str
    precision: str


@dataclass(frozen=True)
class Fleet:
    """The devices that could work on a job now, as far as its model's speed on them is known."""

    devices: int
    characters_per_s: float | None  # of the slowest, with a full batch

    @classmethod
    def of(cls, store: Store, model: str, devices: Collection[str]) -> Fleet:
        known = store.speeds(model)
        live = [known[kind] for kind in map(device_kind, devices) if kind in known]
        return cls(len(devices), min(live or known.values(), default=None))


def find_target(store: Store, model: str | None, after: int | None) -> Target:
    """The version that `model` means, or that the training `after` makes.

    Raises:
        InputError: neither is given, or both and they differ; or `after` makes no version.
        NotFoundError: no such model or job.
    """
    if after is not None:
        return _awaited(store, model, after)
    if model is None:
        raise InputError("Of which model? Give its name, or with `after` the training that makes it")
    version = registry.resolve(store, model)
    return Target(
        model=version.model, version=version.version, characters=version.characters, precision=version.precision
    )


def _awaited(store: Store, model: str | None, after: int) -> Target:
    with store.write() as connection:  # it locks the training, as will be done again when the job is stored
        lifecycle.awaited_version(connection, after)
    training = TrainSpec.from_dict(store.job(after)["spec"])
    if model not in (None, training.model):
        raise InputError(f"Job {after} trains {training.model}, and not {model}. Leave out the model")
    return Target(model=training.model, version=None, characters=training.vocabulary, precision=AUTO)


def as_seeds(given: Iterable[Seed | str] | None) -> Iterator[Seed]:
    """Seeds as they may be given: texts too, and None for a single empty one."""
    if isinstance(given, str):
        raise InputError(f"Seeds must be several, such as [{given!r}]. Received: {given!r}")
    for seed in [""] if given is None else given:
        if not isinstance(seed, str | Seed):
            raise InputError(f"A seed must be a text or a Seed. Received: {seed!r:.80}")
        yield Seed(seed) if isinstance(seed, str) else seed


def make_spec(target: Target, writer: SeedWriter, seeds: FileRef, fleet: Fleet, part_rows: int | None) -> GenerateSpec:
    """The job of the seeds that were written.

    Raises:
        InputError: more parts than a job may have.
    """
    batch, sampling = choose_batch(writer.rows), writer.sampling
    if part_rows is None:
        speed = fleet.characters_per_s and batch_speed(fleet.characters_per_s, batch)
        part_rows = choose_part_rows(writer.rows, writer.characters, batch, fleet.devices, speed)
    check_part_rows(writer.rows, part_rows)
    return GenerateSpec(
        model=target.model,
        version=target.version,
        seeds=seeds,
        num_seeds=writer.num_seeds,
        rows=writer.rows,
        characters=writer.characters,
        sampling=replace(sampling, precision=choose_precision(sampling.precision, target.precision, batch)),
        batch=batch,
        part_rows=part_rows,
    )


def estimate(spec: GenerateSpec, seed_bytes: int, fleet: Fleet) -> Estimate:
    """What a job takes whose seeds, each as often as it is used, have so many bytes."""
    stored, export = result_bytes(spec.rows, spec.characters, seed_bytes, logprobs=spec.sampling.logprobs)
    seconds = None
    if fleet.characters_per_s:
        seconds = spec.characters / batch_speed(fleet.characters_per_s, spec.batch) / max(fleet.devices, 1)
    return Estimate(result_bytes=stored + spec.seeds.size, export_bytes=export, seconds=seconds)


def check_key(key: str | None) -> None:
    """Refuse what no database takes, or nobody types.

    Raises:
        InputError: an empty key, or over 200 characters.
    """
    if key is not None:
        check_storable("The key", key)
        if not 0 < len(key) <= MAX_KEY:
            raise InputError(f"A key must have 1 to {MAX_KEY} characters. Received: {len(key):,}")


def request_hash(model: str | None, after: int | None, sampling: SamplingOptions, seeds: str) -> str:
    """Of all that the results depend on, as it was asked for; `seeds` is their sha256."""
    return hashlib.sha256(to_json([model, after, sampling.to_dict(), seeds]).encode()).hexdigest()
